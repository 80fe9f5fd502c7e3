"""Conversion of the engine's values to JSON."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from engine.core.rows import Row, digest_column


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


def row_document(row: Row, values: Iterable[str] = ()) -> dict[str, Any]:
    """Convert a row to one flat object: its axes, what is known of the cell, its `values`; unknown is None.

    Its values are what JSON takes: a run has a million of them, and nothing looks into each again.
    """
    found = dict(row.labels)
    for name, digest in row.digests.items():
        found[digest_column(name)] = digest
    found["asked"] = row.asked
    found["state"] = str(row.state)
    for name in _MEASURED:
        found[name] = getattr(row, name)
    if row.unanswered_reasons is not None:
        found["unanswered_reasons"] = dict(row.unanswered_reasons)
    found["source"] = row.source.value
    found["error"] = row.error
    for name in values:
        found.setdefault(name, row.values.get(name))
    return found


def row_json(row: Row, values: Iterable[str] = ()) -> str:
    """Convert a row to one line of JSON in ASCII: the object of `row_document`, without a line break.

    Raises ValueError for a NaN or an infinity, which JSON lacks.
    """
    return _ENCODER.encode(row_document(row, values))


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """Convert a value to JSON in ASCII, which is safe on any terminal.

    It is on one line if `indent` is None. Raises ValueError for a NaN or an infinity, which JSON lacks.
    """
    return json.dumps(document(value), indent=indent, allow_nan=False)
