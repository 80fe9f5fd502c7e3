"""Conversion of the engine's values to JSON."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from engine.core.rows import Row, digest_column
from engine.report.columns import AxisContents, Labelled
from engine.report.times import utc_text

_NONE: Mapping[str, AxisContents] = MappingProxyType({})


def document(value: Any) -> Any:
    """Convert a value of dataclasses, mappings and sequences to types that JSON has.

    Enums become their values, keys become texts. Any other value is returned as it is.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: document(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): document(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [document(part) for part in value]
    return value


_MEASURED = tuple(
    name for name in Row.known_columns() if name not in ("asked", "state", "source", "error")
)
_read_measured = attrgetter(*_MEASURED)
_COLUMNS = ("asked", "state", *_MEASURED, "source", "error")
_KNOWN = frozenset(_COLUMNS)
_NUMBERS = _COLUMNS[: _COLUMNS.index("identity")]
_HASHABLE = tuple(name for name in _NUMBERS if name != "unanswered_reasons")
_read_numbers = attrgetter(*_HASHABLE)
_ANSWER = _COLUMNS[_COLUMNS.index("identity") :]
_read_answer = attrgetter(*_ANSWER)

_ENCODER = json.JSONEncoder(allow_nan=False)


def row_document(
    row: Row, values: Iterable[str] = (), contents: Mapping[str, AxisContents] = _NONE
) -> dict[str, Any]:
    """Convert a row to one flat object: its axes, what is known of the cell, its `values`; unknown is None.

    Of the axes in `contents` it has the contents in place of the labels. Its values are what JSON takes: a
    run has a million of them, and nothing looks into each again.
    """
    found = axis_document(row, contents)
    found["asked"] = row.asked
    found["state"] = str(row.state)
    found.update(zip(_MEASURED, _read_measured(row), strict=True))
    if row.unanswered_reasons is not None:
        found["unanswered_reasons"] = dict(row.unanswered_reasons)
    if row.answered_at is not None:
        found["answered_at"] = utc_text(row.answered_at)
    found["source"] = row.source.value
    found["error"] = row.error
    for name in values:
        found.setdefault(name, row.values.get(name))
    return found


def row_line(
    row: Row, values: Iterable[str] = (), contents: Mapping[str, AxisContents] = _NONE
) -> str:
    """The object of `row_document` as `line_json` encodes it.

    Most rows have numbers that another one has, and all rows of an answer have its time, so that part of the line is
    encoded once. Raises ValueError as `line_json` does.
    """
    axes = axis_document(row, contents)
    if row.unanswered_reasons or not axes or not _KNOWN.isdisjoint(axes):
        return line_json(row_document(row, values, contents))
    own = {name: row.values.get(name) for name in values if name not in axes and name not in _KNOWN}
    return (
        f"{_ENCODER.encode(axes)[:-1]}, {_numbers_json(row.unanswered_reasons is None, *_read_numbers(row))},"
        f" {_answer_json(*_read_answer(row))}{f', {_ENCODER.encode(own)[1:-1]}' if own else ''}}}"
    )


@lru_cache(4_096, typed=True)
def _numbers_json(has_no_reasons: bool, *numbers: Any) -> str:
    """The columns of a row from `asked` to `highest_rate`, of which none is a time; without the braces."""
    found: dict[str, Any] = dict.fromkeys(_NUMBERS)
    found.update(zip(_HASHABLE, numbers, strict=True))
    found["state"] = str(found["state"])
    if not has_no_reasons:
        found["unanswered_reasons"] = {}
    return _ENCODER.encode(found)[1:-1]


@lru_cache(typed=True)
def _answer_json(*answer: Any) -> str:
    """The columns of a row from `identity` to `error`, without the braces."""
    found = dict(zip(_ANSWER, answer, strict=True))
    if found["answered_at"] is not None:
        found["answered_at"] = utc_text(found["answered_at"])
    found["source"] = found["source"].value
    return _ENCODER.encode(found)[1:-1]


def axis_document(row: Labelled, contents: Mapping[str, AxisContents] = _NONE) -> dict[str, Any]:
    """The axes of a record by column, with the contents of those in `contents`, and the digests."""
    found = dict(row.labels)
    if contents:
        found = {}
        for name, label in row.labels.items():
            if (of := contents.get(name)) is None:
                found[name] = label
            else:
                found |= of.document_of(row)
    for name, digest in row.digests.items():
        if name not in contents or contents[name].has_digest:
            found[digest_column(name)] = digest
    return found


def line_json(found: Mapping[str, Any]) -> str:
    """Convert the object of a row to one line of JSON in ASCII, without a line break.

    Raises ValueError for a NaN or an infinity, which JSON lacks.
    """
    return _ENCODER.encode(found)


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """Convert a value to JSON in ASCII, which is safe on any terminal.

    It is on one line if `indent` is None. Raises ValueError for a NaN or an infinity, which JSON lacks.
    """
    return json.dumps(document(value), indent=indent, allow_nan=False)
