"""The engine's values as JSON."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from engine.core.status import Row


def document(value: Any) -> Any:
    """A value made of dataclasses, mappings and sequences, as what JSON knows."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: document(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): document(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [document(part) for part in value]
    return value


def digest_column(axis: str) -> str:
    """The name of the column that tells two texts under one label of an axis apart."""
    return f"{axis}_digest"


def row_document(row: Row) -> dict[str, Any]:
    """A row as one flat object: its axes, then what is known of the cell; None is not known."""
    known = document(row)
    labels = known.pop("labels")
    digests = {digest_column(name): digest for name, digest in known.pop("digests").items()}
    source = known.pop("source")
    error = known.pop("error")
    return {**labels, **digests, **known, "source": source, "error": error}


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """JSON in ASCII: safe on any terminal, whatever the strings in it hold."""
    return json.dumps(document(value), indent=indent, allow_nan=False)
