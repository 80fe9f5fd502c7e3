"""From the body of a chat completion to a reply, or to the error that says why there is none."""

import json
from collections.abc import Mapping
from typing import Any

from engine.job import JobError, Permanent, QuotaExceeded, RateLimited, Transient, Unauthorized
from jobs.chat.target import Reply, printable
from jobs.http import Redactor, Unanswered, plain, read_json

_MODERATED_FINISHES = frozenset({"content_filter", "safety", "blocklist", "prohibited_content"})
_MODERATED_WORDS = ("content_filter", "content_policy", "moderation", "responsible_ai", "flagged")
_TRANSIENT_STATUSES = frozenset({408, 409, 425})
_TOKENS_MAX = 100_000_000
"""No call takes more."""
_NOTHING_SECRET = Redactor()


def read_reply(body: bytes, *, where: str, redact: Redactor = _NOTHING_SECRET) -> Reply:
    """The reply in the body of a 200.

    Raises Permanent for what will not change when it is asked again (moderation, a token limit that
    leaves no room, what is no chat completion), and RateLimited, QuotaExceeded, Unauthorized or
    Transient for the rest.
    """
    try:
        document = read_json(body, where)
    except Transient as error:
        error.reason = Unanswered.UNREADABLE
        raise
    if isinstance(document, Mapping):
        if document.get("error"):
            raise _reported(document["error"], where, redact)
        choice = _first(document.get("choices"))
        if choice is not None and choice.get("error"):
            raise _reported(choice["error"], where, redact)
        message = None if choice is None else choice.get("message")
        if choice is not None and isinstance(message, Mapping):
            return _reply(document, choice, message, where, redact)
    raise Permanent(
        f"{where}: {Unanswered.UNREADABLE.words}",
        detail=_excerpt(document, redact),
        reason=Unanswered.UNREADABLE,
    )


def is_moderated(explanation: str) -> bool:
    """Whether an endpoint's words say that moderation stood in the way."""
    return any(word in explanation.lower() for word in _MODERATED_WORDS)


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
) -> Reply:
    finish = choice.get("finish_reason")
    finish = printable(finish) if isinstance(finish, str) else None
    if finish is not None and finish.lower() in _MODERATED_FINISHES:
        raise Permanent(
            f"{where}: {Unanswered.MODERATED.words}", detail=finish, reason=Unanswered.MODERATED
        )
    # Once more than in the bytes: those of a stream hold what was said in pieces.
    text, redacted = redact.said(printable(_text(message)))
    if not text.strip():
        if finish == "length":
            raise Permanent(
                f"{where}: {Unanswered.TOKEN_LIMIT.words}", reason=Unanswered.TOKEN_LIMIT
            )
        raise Transient(
            f"{where}: {Unanswered.EMPTY.words}",
            detail=f"finish_reason: {finish}",
            reason=Unanswered.EMPTY,
        )
    model = document.get("model")
    return Reply(
        text=text,
        truncated=finish == "length",
        finish_reason=finish,
        model=printable(model) if isinstance(model, str) else None,
        total_tokens=_total_tokens(document.get("usage")),
        redacted=tuple(sorted(redacted)),
    )


def _total_tokens(usage: Any) -> int | None:
    """What the endpoint says that the call took; None where that is missing or cannot be."""
    total = usage.get("total_tokens") if isinstance(usage, Mapping) else None
    if isinstance(total, bool) or not isinstance(total, int):
        return None
    return total if 0 < total <= _TOKENS_MAX else None


def _text(message: Mapping[str, Any]) -> str:
    """What the model said: content as text or as parts, or a refusal that is spelt as one."""
    content = message.get("content")
    if isinstance(content, str) and content.strip():
        return content
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        joined = "".join(part for part in parts if isinstance(part, str))
        if joined.strip():
            return joined
    refusal = message.get("refusal")
    return refusal if isinstance(refusal, str) else ""


def _reported(error: Any, where: str, redact: Redactor) -> JobError:
    """An error inside a 200, by its code where it has one."""
    detail = _excerpt(error, redact)
    if is_moderated(json.dumps(error)):
        return Permanent(
            f"{where}: {Unanswered.MODERATED.words}", detail=detail, reason=Unanswered.MODERATED
        )
    message, reason = f"{where}: {Unanswered.ERROR.words}", Unanswered.ERROR
    status = _status(error)
    match status:
        case 401:
            return Unauthorized(message, detail=detail, status=status)
        case 402:
            return QuotaExceeded(message, detail=detail, status=status)
        case 429:
            return RateLimited(message, detail=detail, status=status)
        case int() if 400 <= status < 500 and status not in _TRANSIENT_STATUSES:
            return Permanent(message, detail=detail, status=status, reason=reason)
        case _:
            return Transient(message, detail=detail, status=status, reason=reason)


def _status(error: Any) -> int | None:
    code = error.get("code") if isinstance(error, Mapping) else None
    if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) == 3:
        return int(code)
    return code if isinstance(code, int) and 100 <= code <= 599 else None


def _excerpt(value: Any, redact: Redactor) -> str:
    if isinstance(value, Mapping) and isinstance(value.get("message"), str):
        value = value["message"]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return plain(text, redact)
