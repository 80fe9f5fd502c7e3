"""Values as every reader of JSON takes them, whatever a model or a service has written."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from math import isfinite
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")
_INTEGER_MAX = 2**63 - 1
_MOST_NESTED = 40
"""Parsers refuse what is nested some 200 times, and frames and viewers less."""
_TOO_DEEP = "[nested too deeply to be shown]"


def clean_text(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot represent, replaced by U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def clean(value: Any, nested: int = 0) -> Any:
    """A value as JSON in UTF-8 that parsers of any language read.

    Texts are cleaned, numbers beyond 64 bits and floats that JSON lacks become texts, and so does what is
    nested too deeply.
    """
    match value:
        case str():
            return clean_text(value)
        case None | bool():
            return value
        case int():
            return value if abs(value) <= _INTEGER_MAX else str(value)
        case float():
            return value if isfinite(value) else str(value)
        case Mapping() | list() | tuple() if nested == _MOST_NESTED:
            return _TOO_DEEP
        case Mapping():
            return {clean_text(str(key)): clean(one, nested + 1) for key, one in value.items()}
        case list() | tuple():
            return [clean(one, nested + 1) for one in value]
        case _:
            return clean_text(str(value))


def describe(value: Any) -> str:
    """A cleaned value as a nested Markdown list, for reading."""
    return "\n".join(_lines(value, ""))


def _lines(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, one in value.items():
            if isinstance(one, Mapping | list):
                yield f"{indent}- {name}:"
                yield from _lines(one, f"{indent}  ")
            else:
                yield f"{indent}- {name}: {_word(one)}"
    elif isinstance(value, list):
        for one in value:
            yield from _item_lines(one, indent)
    else:
        yield f"{indent}- {_word(value)}"


def _item_lines(one: Any, indent: str) -> Iterator[str]:
    """An item of a list: its plain fields on one line, the others below."""
    if not isinstance(one, Mapping):
        yield from _lines(one, indent)
        return
    nested = {name: part for name, part in one.items() if isinstance(part, Mapping | list) and part}
    plain = [f"{name}: {_word(part)}" for name, part in one.items() if name not in nested]
    yield f"{indent}- {', '.join(plain)}"
    yield from _lines(nested, f"{indent}  ")


def _word(value: Any) -> str:
    """A plain value on one line: a line break would end the list."""
    if isinstance(value, str):
        return " ".join(value.split())
    return json.dumps(value)


def time_text(seconds: float) -> str:
    """A time in seconds since the Unix epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def identify(*parts: Any, length: int = 22) -> str:
    """Hexadecimal digits that are equal whenever the parts are, and otherwise differ."""
    return sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:length]
