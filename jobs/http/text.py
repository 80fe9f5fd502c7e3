"""Text and JSON from the other side, made safe to keep: nothing here trusts what it reads."""

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
    rule_broken,
    spellings,
)

T = TypeVar("T")

DETAIL_CHARACTERS = 500
_DEEPEST = 200

# Controls, and the marks that reorder or hide text on a terminal; lone surrogates cannot be stored.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]+"
)
_SPACES = re.compile(r"\s+")
_MARKUP = re.compile(r"<(script|style)\b.*?(</\1\s*>|$)|<[^<>]{0,300}>", re.IGNORECASE | re.DOTALL)


REDACTED_EVENT = "redacted"
"""The kind of the event that tells of a key in an answer."""

Cleaned = TypeVar("Cleaned", str, bytes)


class Redactor:
    """Takes known secrets out of texts; its own repr does not show them.

    `secrets` holds them under names that may be shown, such as their references.
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
        """Take this out as well from now on, also as JSON, URLs and base64 would spell it."""
        texts = {(text, _encoded(text)) for text in spellings(secret)}
        keys = {(text, _encoded(text), name) for text in key_spellings(secret)}
        # The longest first: one secret may be part of another.
        self._texts = sorted(texts.union(self._texts), key=lambda each: (-len(each[0]), each))
        self._keys = sorted(keys.union(self._keys), key=lambda each: (-len(each[0]), each))

    def __call__(self, text: str) -> str:
        """A text about requests, such as an error's, with each secret replaced by `[redacted]`."""
        for secret, _ in self._texts:
            if secret in text:
                text = text.replace(secret, REDACTED)
        return text

    def torn(self, content: bytes) -> bytes:
        """Bytes that broke off, without the beginning of a secret at their end."""
        cut = max((_overlap(content, secret) for _, secret in self._texts), default=0)
        return content[: len(content) - cut]

    def body(self, content: bytes) -> tuple[bytes, frozenset[str]]:
        """The bytes of an answer without keys, and the names of those that were in it.

        What models say is in there: taken out is only what is surely a key (`engine.kinds.key_spellings`).
        """
        return _without(
            content, ((secret, name) for _, secret, name in self._keys), REDACTED.encode()
        )

    def said(self, text: str) -> tuple[str, frozenset[str]]:
        """The same for a text that a model wrote."""
        return _without(text, ((secret, name) for secret, _, name in self._keys), REDACTED)


async def note_redacted(context: JobContext, where: str, names: Collection[str]) -> None:
    """Tell in the run's event log that an answer held keys, which were taken out of it; which, and where."""
    if names:
        await context.note(REDACTED_EVENT, redaction_told(where, names))


def redaction_told(where: str, names: Collection[str]) -> str:
    """That an answer held keys, for people."""
    keys = ", ".join(sorted(names))
    return f"{where}: the answer held the key of {keys}; it was taken out before it was read"


def _without(
    content: Cleaned, keys: Iterable[tuple[Cleaned, str]], instead: Cleaned
) -> tuple[Cleaned, frozenset[str]]:
    found = set()
    for key, name in keys:
        if key in content:
            found.add(name)
            content = content.replace(key, instead)
    return content, frozenset(found)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def plain(text: str, redact: Redactor, limit: int = DETAIL_CHARACTERS) -> str:
    """One printable line of at most `limit` characters without markup, controls and secrets."""
    # Twice: a key may hold what is taken for markup, or be echoed with controls inside. The cut last:
    # half a key is a leak.
    text = redact(_printable(redact(text)))
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _overlap(content: bytes, secret: bytes) -> int:
    """How many bytes at the end of `content` are the beginning of `secret`."""
    longest = min(len(content), len(secret))
    return next((n for n in range(longest, 0, -1) if content.endswith(secret[:n])), 0)


def _printable(text: str) -> str:
    if "<" in text:
        text = _MARKUP.sub(" ", text)
    return _SPACES.sub(" ", _UNPRINTABLE.sub("", _SPACES.sub(" ", text))).strip()


def read_json(body: bytes, where: str) -> Any:
    """The value of a JSON document.

    Proxies and servers garble answers, so whatever one can be sure of is read: a byte order mark, NaN and
    Infinity, control characters in strings, lone surrogates, and bytes that are no UTF-8, which become
    U+FFFD. Raises Transient, naming `where` and holding the body, for the rest: nesting beyond 200
    levels and integers of 4,300 digits among it.
    """
    try:
        return from_json(body)
    except ValueError as error:
        # The parser's text holds positions only, nothing of the document.
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


def read_as(adapter: TypeAdapter[T], body: bytes, where: str) -> T:
    """The value of a JSON document of a known shape.

    Raises Transient like `read_json`, and Permanent, holding the body, if the document is JSON of another
    shape.
    """
    try:
        return _validated(adapter, body, where)
    except ValidationError as error:
        # Positions and rules only: what the document held may be anything.
        problems = error.errors(include_url=False, include_context=False, include_input=False)
    found = "; ".join(
        f"{'.'.join(map(str, problem['loc']))}: {rule_broken(problem)}" for problem in problems[:4]
    )
    raise Permanent(
        f"the answer breaks the contract ({where})", detail=found[:DETAIL_CHARACTERS], unread=body
    )


def _validated(adapter: TypeAdapter[T], body: bytes, where: str) -> T:
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        if error.errors(include_url=False, include_input=False)[0]["type"] != "json_invalid":
            raise
    return adapter.validate_python(read_json(body, where))


@asynccontextmanager
async def keeping_unread(context: JobContext) -> AsyncIterator[None]:
    """Keep the bytes of an answer in the block that cannot be read: it was paid for."""
    try:
        yield
    except JobError as error:
        if error.unread is not None:
            await context.keep_unread(error.message, error.unread)
        raise
