"""Conversion of the engine's values to JSON."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
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
    for name in _MEASURED:
        found[name] = getattr(row, name)
    if row.unanswered_reasons is not None:
        found["unanswered_reasons"] = dict(row.unanswered_reasons)
    if row.answered_at is not None:
        found["answered_at"] = utc_text(row.answered_at)
    found["source"] = row.source.value
    found["error"] = row.error
    for name in values:
        found.setdefault(name, row.values.get(name))
    return found


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
