"""Makes text and JSON from a server safe to store and show; the input may be anything."""

import json
import re
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from engine.kinds import (
    REDACTED,
    JobContext,
    JobError,
    Permanent,
    Transient,
    key_spellings,
    redact_spellings,
    rule_broken,
    spellings,
)

T = TypeVar("T")

DETAIL_CHARACTERS = 500
_DEEPEST = 200

# Control characters, marks that reorder or hide text on a terminal, and lone surrogates, which cannot be stored.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]+"
)
_SPACES = re.compile(r"\s+")
_MARKUP = re.compile(r"<(script|style)\b.*?(</\1\s*>|$)|<[^<>]{0,300}>", re.IGNORECASE | re.DOTALL)


REDACTED_EVENT = "redacted"
"""The kind of the event for a key that was removed from an answer."""

Cleaned = TypeVar("Cleaned", str, bytes)


class Redactor:
    """Removes known secrets from texts; its repr does not show them.

    `secrets` maps names that may be shown, such as references, to secrets.
    """

    __slots__ = ("_keys", "_texts")

    def __init__(self, secrets: Mapping[str, str] | None = None) -> None:
        self._texts: list[tuple[str, bytes]] = []
        self._keys: list[tuple[str, bytes, str]] = []
        for name, secret in (secrets or {}).items():
            self.add(name, secret)

    def __repr__(self) -> str:
        return f"Redactor({len(self._texts)} spellings)"

    def add(self, name: str, secret: str) -> None:
        """Remove this secret too, also as JSON, URLs and base64 spell it.

        `name` stands for it where it may be shown. Texts that were cleaned before are not changed.
        """
        texts = {(text, _encode(text)) for text in spellings(secret)}
        keys = {(text, _encode(text), name) for text in key_spellings(secret)}
        # The longest first, because one secret may be part of another.
        self._texts = sorted(texts.union(self._texts), key=lambda each: (-len(each[0]), each))
        self._keys = sorted(keys.union(self._keys), key=lambda each: (-len(each[0]), each))

    def __call__(self, text: str) -> str:
        """A message about requests with each secret replaced by `[redacted]`."""
        return redact_spellings(text, [secret for secret, _ in self._texts])

    def cut_partial_secret(self, content: bytes) -> bytes:
        """Incomplete bytes without the beginning of a secret at their end, which redaction would not find."""
        cut = max((_overlap(content, secret) for _, secret in self._texts), default=0)
        return content[: len(content) - cut]

    def redact_body(self, content: bytes) -> tuple[bytes, frozenset[str]]:
        """The body of an answer without keys, and the names of the keys that were in it.

        It contains model output, so only what is surely a key is removed (`engine.kinds.key_spellings`).
        """
        return _remove(
            content, ((secret, name) for _, secret, name in self._keys), REDACTED.encode()
        )

    def redact_reply(self, text: str) -> tuple[str, frozenset[str]]:
        """A text that a model wrote without keys, and the names of the keys that were in it.

        Like `redact_body`, it removes only what is surely a key.
        """
        return _remove(text, ((secret, name) for secret, _, name in self._keys), REDACTED)


async def note_redacted(context: JobContext, where: str, names: Collection[str]) -> None:
    """Note in the run's event log that keys were removed from an answer, if there were any.

    `names` are those of the keys, which may be shown.
    """
    if names:
        await context.note(REDACTED_EVENT, redaction_message(where, names))


def redaction_message(where: str, names: Collection[str]) -> str:
    """The text of that event, with the names in alphabetical order and no secret."""
    keys = ", ".join(sorted(names))
    return f"{where}: the answer contained the key of {keys}, which was removed before the answer was read"


def _remove(
    content: Cleaned, keys: Iterable[tuple[Cleaned, str]], replacement: Cleaned
) -> tuple[Cleaned, frozenset[str]]:
    found = set()
    for key, name in keys:
        if key in content:
            found.add(name)
            content = content.replace(key, replacement)
    return content, frozenset(found)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def plain(text: str, redact: Redactor, limit: int = DETAIL_CHARACTERS) -> str:
    """One printable line of at most `limit` characters without markup, controls and secrets.

    A longer text ends in an ellipsis; it is cut last, because half a secret would stay.
    """
    # Redacted twice: a key may contain what looks like markup, or be echoed with markup in it. Cut last,
    # because half a key is a leak.
    text = redact(_printable(redact(text)))
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _overlap(content: bytes, secret: bytes) -> int:
    """The number of bytes at the end of `content` that are the beginning of `secret`."""
    longest = min(len(content), len(secret))
    return next((n for n in range(longest, 0, -1) if content.endswith(secret[:n])), 0)


def _printable(text: str) -> str:
    if "<" in text:
        text = _MARKUP.sub(" ", text)
    return _SPACES.sub(" ", _UNPRINTABLE.sub("", _SPACES.sub(" ", text))).strip()


def read_json(body: bytes, where: str) -> Any:
    """Parse a JSON document, leniently, because servers and proxies garble answers.

    A byte order mark, NaN and Infinity, control characters in strings, lone surrogates, and bytes that are
    not UTF-8 (which become U+FFFD) are accepted. Raises Transient, with `where` and the body, for anything
    else, such as nesting beyond 200 levels or integers of 4,300 digits.
    """
    try:
        return from_json(body)
    except ValueError as error:
        # The parser's message has positions, and no text of the document.
        problem = str(error)
    with suppress(ValueError, RecursionError):
        value = json.loads(body.decode(json.detect_encoding(body), "replace"), strict=False)
        if _is_shallow(value):
            return value
    raise Transient(
        f"the answer is not JSON that can be read ({where})",
        detail=f"{len(body)} bytes: {problem}",
        unread=body,
    )


def _is_shallow(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return True
    return False


def _inside(value: Any) -> Iterable[Any]:
    match value:
        case dict():
            return value.values()
        case list():
            return value
    return ()


def read_json_as(adapter: TypeAdapter[T], body: bytes, where: str) -> T:
    """Parse a JSON document as the type of `adapter`.

    Raises Transient as `read_json` does, and Permanent, with the body, if the document is of another type.
    """
    try:
        return _validate(adapter, body, where)
    except ValidationError as error:
        # Positions and rules, and no text of the document, which may be anything.
        problems = error.errors(include_url=False, include_context=False, include_input=False)
    found = "; ".join(
        f"{'.'.join(map(str, problem['loc']))}: {rule_broken(problem)}" for problem in problems[:4]
    )
    raise Permanent(
        f"the answer breaks the contract ({where})", detail=found[:DETAIL_CHARACTERS], unread=body
    )


def _validate(adapter: TypeAdapter[T], body: bytes, where: str) -> T:
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        if error.errors(include_url=False, include_input=False)[0]["type"] != "json_invalid":
            raise
    return adapter.validate_python(read_json(body, where))


@asynccontextmanager
async def keep_unread_on_error(context: JobContext) -> AsyncIterator[None]:
    """Store the bytes of an answer that the block cannot read, because it was paid for.

    Only those of a JobError with `unread` bytes; every error is raised again.
    """
    try:
        yield
    except JobError as error:
        if error.unread is not None:
            await context.keep_unread(error.message, error.unread)
        raise
