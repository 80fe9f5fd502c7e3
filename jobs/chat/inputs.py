"""The inputs of a chat sweep: the text that is asked, and fields that scorers compare replies with."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, TypeAlias

TEXT = "text"
TEXT_FIELDS = (TEXT, "input", "prompt", "question", "content", "message")
"""The fields that may hold the text, if it is not named otherwise."""
NAME = "id"
NAME_FIELDS = (NAME, "name", "label", "key", "title")
"""The fields that may name an input; the first that it has does."""
_LABEL_MAX = 60
_DIGITS = 6

Input: TypeAlias = Mapping[str, Any]
"""The text of an input under TEXT, and its other fields."""
CheckInput: TypeAlias = Callable[[Input], None]
"""Raises ValueError if an input lacks what a scorer needs."""


def read_input(written: Mapping[str, Any], checks: Sequence[CheckInput]) -> tuple[str, Input]:
    """The name and the content of one input of a sweep file or a table.

    Without a name it is called after its text. Raises ValueError, saying what to do, if it has no text
    or fails one of the checks.
    """
    fields = dict(written)
    text = fields.pop(_text_field(fields))
    if isinstance(text, int | float) and not isinstance(text, bool):
        text = f"{text}"
    if not isinstance(text, str):
        raise ValueError("its text must be text")
    if not text.strip():
        raise ValueError("its text is empty")
    named_by = next((field for field in NAME_FIELDS if not is_missing(fields.get(field))), None)
    name = _label_of(text) if named_by is None else _name_in(fields.pop(named_by), named_by)
    content = {TEXT: text, **fields}
    for check in checks:
        check(content)
    return name, content


def is_missing(value: Any) -> bool:
    """Whether a field of an input has no value: blank cells of a table count as missing."""
    return value is None or (isinstance(value, str) and not value.strip())


def _text_field(fields: Mapping[str, Any]) -> str:
    if TEXT in fields:
        return TEXT
    found = [field for field in TEXT_FIELDS if field in fields]
    if not found:
        raise ValueError(
            f"has no text: give it a field `{TEXT}`, or name the column of a table with `column`"
        )
    if len(found) > 1:
        raise ValueError(
            f"{' and '.join(found)} could be its text: call the field `{TEXT}`, or name the column of"
            " a table with `column`"
        )
    return found[0]


def _name_in(value: Any, field: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"its {field} must be text or a number")
    return " ".join(f"{value}".split())


def _label_of(text: str) -> str:
    """The beginning of a text on one line; with some digits of its digest if it is not the whole text."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if line == text and len(line) <= _LABEL_MAX:
        return line
    digits = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{line[:_LABEL_MAX].rstrip()} #{digits}".strip()
