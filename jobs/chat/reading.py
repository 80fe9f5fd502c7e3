"""Reads the body of a chat completion: a reply, or the error that says why there is none."""

from collections.abc import Mapping
from typing import Any

from engine.kinds import JobError, Permanent, Took, Transient
from jobs.chat.finishes import Finish, read_finish
from jobs.chat.messages import read_message
from jobs.chat.streams import is_stream, read_stream
from jobs.chat.target import ONLY_THOUGHTS, Reply, printable
from jobs.http import Redactor, Unanswered, error_from_document, plain, read_json

_NAME_MAX = 60
_TOKENS_MAX = 100_000_000
"""Larger numbers are ignored."""
_COST_MAX = 10_000.0
"""Larger amounts are ignored; in US dollars."""
_COST_HEADER = "x-litellm-response-cost"
_NOTHING_SECRET = Redactor()
_NO_HEADERS: Mapping[str, str] = {}


def read_reply(
    body: bytes,
    *,
    where: str,
    redact: Redactor = _NOTHING_SECRET,
    headers: Mapping[str, str] = _NO_HEADERS,
    now: float = 0.0,
) -> Reply:
    """Read the reply in the body of a 200; `headers` and `now` serve to find an error's Retry-After.

    Raises Permanent for what would not change on a retry (moderation, a token limit reached before the reply
    began), Transient for a body that is not a chat completion, and the error that `jobs.http.meanings`
    assigns to an error in place of a reply. Every error keeps the body.
    """
    try:
        document = _document(body, where)
        return _read(document, where, redact, headers, now)
    except (Permanent, Transient) as error:
        # The answer was paid for, so it is stored for the user to look at.
        error.unread = body
        raise


def _document(body: bytes, where: str) -> Any:
    try:
        return read_stream(body, where) if is_stream(body) else read_json(body, where)
    except Transient as error:
        error.reason = error.reason or Unanswered.UNREADABLE
        raise


def _read(
    document: Any, where: str, redact: Redactor, headers: Mapping[str, str], now: float
) -> Reply:
    error_document: Any = document
    if isinstance(document, Mapping):
        choice = _first(document.get("choices"))
        message = None if choice is None else choice.get("message")
        inside = None if choice is None else choice.get("error")
        if not (document.get("error") or inside) and choice and isinstance(message, Mapping):
            took = _took(document.get("usage"), headers)
            try:
                return _reply(document, choice, message, where, redact, took)
            except JobError as error:
                error.took = None if took == Took() else took
                raise
        # Without the model's text, which could contain the name of an error.
        error_document = {name: value for name, value in document.items() if name != "choices"}
        if inside and not document.get("error"):
            error_document = {"error": inside}
    raise error_from_document(
        where,
        error_document,
        headers=headers,
        now=now,
        redact=redact,
        default_reason=Unanswered.UNREADABLE,
    )


def _first(choices: Any) -> Mapping[str, Any] | None:
    if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
        return choices[0]
    return None


def _reply(
    document: Mapping[str, Any],
    choice: Mapping[str, Any],
    message: Mapping[str, Any],
    where: str,
    redact: Redactor,
    took: Took,
) -> Reply:
    finish, name = read_finish(choice)
    name = None if name is None else printable(name)
    detail = f"finish_reason: {'none' if name is None else plain(name, redact, _NAME_MAX)}"
    if finish is Finish.WITHHELD:
        raise Permanent(
            f"{Unanswered.MODERATED.words} ({where})", detail=detail, reason=Unanswered.MODERATED
        )
    if finish is Finish.BROKEN_OFF:
        raise Transient(
            f"{Unanswered.BROKEN_OFF.words} ({where})", detail=detail, reason=Unanswered.BROKEN_OFF
        )
    content, thought = read_message(message)
    # Redacted again, because the bytes may spell a key in other ways.
    text, in_text = redact.redact_reply(printable(content))
    thinking, in_thinking = redact.redact_reply(printable(thought))
    if not text.strip():
        if finish is Finish.TRUNCATED:
            raise Permanent(
                f"{Unanswered.TOKEN_LIMIT.words} ({where})",
                detail=ONLY_THOUGHTS if thinking else "",
                reason=Unanswered.TOKEN_LIMIT,
            )
        if message.get("tool_calls") or message.get("function_call"):
            raise Permanent(
                f"{Unanswered.TOOL_CALL.words} ({where})",
                detail=detail,
                reason=Unanswered.TOOL_CALL,
            )
        only = f"{ONLY_THOUGHTS}; " if thinking else ""
        raise Transient(
            f"{Unanswered.EMPTY.words} ({where})",
            detail=f"{only}{detail}",
            reason=Unanswered.EMPTY,
        )
    model, usage = document.get("model"), document.get("usage")
    return Reply(
        text=text,
        truncated=finish is Finish.TRUNCATED,
        finish_reason=name,
        model=printable(model) if isinstance(model, str) else None,
        total_tokens=_tokens(usage, "total_tokens") or None,
        input_tokens=took.input_tokens,
        output_tokens=took.output_tokens,
        cost=took.cost,
        thinking=thinking or None,
        redacted=tuple(sorted(in_text | in_thinking)),
    )


def _took(usage: Any, headers: Mapping[str, str]) -> Took:
    return Took(
        input_tokens=_tokens(usage, "prompt_tokens"),
        output_tokens=_tokens(usage, "completion_tokens"),
        cost=_cost(usage, headers),
    )


def _tokens(usage: Any, name: str) -> int | None:
    """A number of tokens that the endpoint reports; None if it is missing or impossible."""
    count = usage.get(name) if isinstance(usage, Mapping) else None
    if isinstance(count, bool) or not isinstance(count, int):
        return None
    return count if 0 <= count <= _TOKENS_MAX else None


def _cost(usage: Any, headers: Mapping[str, str]) -> float | None:
    """The cost of the call in US dollars, which OpenRouter reports in `usage` and LiteLLM in a header."""
    reported = usage.get("cost") if isinstance(usage, Mapping) else None
    if reported is None:
        reported = headers.get(_COST_HEADER)
    if isinstance(reported, bool) or not isinstance(reported, int | float | str):
        return None
    try:
        cost = float(reported)
    except (ValueError, OverflowError):
        return None
    return cost if 0 <= cost <= _COST_MAX else None
