"""The columns of rows as programs read them: their names, types and values, for files and frames alike.

A column is of one type whatever the rows are, and any of its values may be None.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from itertools import chain
from typing import Any, Protocol, Self, TypeAlias

from engine.core.axes import (
    ArgumentAxis,
    AxisValue,
    CaseAxis,
    IntegerAxis,
    NumberAxis,
    RecordAxis,
)
from engine.core.canonical import digest
from engine.core.matrix import MatrixAxis
from engine.core.rows import Row, digest_column, short_digest
from engine.core.values import INTEGER_MAX, Value, ValueType, as_type, column_type

ColumnType: TypeAlias = ValueType | type[datetime]
"""The type of a column; a time is in UTC, and a row has it in seconds since the Unix epoch."""

KNOWN: Mapping[str, ColumnType] = {
    "asked": bool,
    "state": str,
    "passed": int,
    "failed": int,
    "total": int,
    "failure_rate": float,
    "ci_low": float,
    "ci_high": float,
    "interval": str,
    "cases": int,
    "first_failed": int,
    "cases_failed": int,
    "unanswered": int,
    "unanswered_reasons": str,
    "lowest_rate": float,
    "highest_rate": float,
    "identity": str,
    "attempts": int,
    "seconds": float,
    "answered_at": datetime,
    "source": str,
    "error": str,
}
"""The columns of every row, in their order, with their types."""


class Labelled(Protocol):
    """A record of a sheet: it says by labels and digests, by the field of an axis, what it belongs to."""

    @property
    def labels(self) -> Mapping[str, Any]: ...

    @property
    def digests(self) -> Mapping[str, str | None]: ...


@dataclass(frozen=True, kw_only=True)
class AxisContents:
    """What rows show of an axis in place of its labels: the columns of its contents.

    An argument's column has its content. A case or record has a column for each field of its content, beside
    the one with its label.
    """

    field: str
    has_digest: bool
    """Whether the digest of a content has a column, too."""
    types: Mapping[str, ValueType]
    """These columns in their order, with their types."""
    json_texts: frozenset[str]
    """The columns whose values have no common type: they have each as JSON text."""
    documents: Mapping[str | None, Mapping[str, Any]]
    """The values of these columns as JSON values, by the digest that rows have of a content."""

    @cached_property
    def _cells(self) -> Mapping[str | None, Mapping[str, Value | None]]:
        return {
            key: {name: self._to_cell(name, value) for name, value in document.items()}
            for key, document in self.documents.items()
        }

    @property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """The texts of each column of texts, in the order of the file, but for that of labels."""
        cells = self._cells.values()
        return {
            name: _distinct(one.get(name) for one in cells)
            for name, kind in self.types.items()
            if kind is str and any(name in one for one in cells)
        }

    def document_of(self, row: Labelled) -> dict[str, Any]:
        """The values of a row in these columns, as JSON values."""
        return {name: self._find(row, name, self.documents) for name in self.types}

    def cells_of(self, row: Labelled) -> dict[str, Value | None]:
        """The values of a row in these columns, in the columns' types."""
        return {name: self.read(row, name) for name in self.types}

    def read(self, row: Labelled, name: str) -> Value | None:
        """The value of a row in one of these columns, in the column's type."""
        value: Value | None = self._find(row, name, self._cells)
        return value

    def _to_cell(self, name: str, value: Any) -> Value | None:
        return _to_json_text(value) if name in self.json_texts else as_type(value, self.types[name])

    def _find(self, row: Labelled, name: str, known: Mapping[str | None, Mapping[str, Any]]) -> Any:
        values = known.get(row.digests.get(self.field))
        if values is not None and name in values:
            return values[name]
        # A case has its label beside its fields. The content of an argument is unknown only if another process
        # has changed the sweep meanwhile: then its label is the best that can be said of it.
        label = row.labels.get(self.field)
        return as_type(label, self.types[name]) if name == self.field else None


PastValues: TypeAlias = Mapping[str, Sequence[AxisValue]]
"""The values that only earlier versions of a sweep had, by the field of their axis."""


@dataclass(frozen=True, kw_only=True)
class AxisColumns:
    """The columns that identify the cell of a row."""

    types: Mapping[str, ValueType]
    """These columns in their order, with their types."""
    contents: Mapping[str, AxisContents] = field(default_factory=dict)
    """The axes whose contents rows show, by field."""
    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The texts of each column that are known without its rows, in the order of the file."""

    @classmethod
    def of(cls, axes: Sequence[MatrixAxis], past: PastValues | None = None) -> Self:
        """The fields of the axes, `repeat`, and a digest for each axis of prompts, documents or cases.

        `past` has the values that only earlier versions of the sweep had, for rows that include them.
        """
        values = {axis.field: [*axis.values, *(past or {}).get(axis.field, ())] for axis in axes}
        types: dict[str, ValueType] = {}
        contents: dict[str, AxisContents] = {}
        categories: dict[str, Sequence[str]] = {}
        taken = Row.column_names(list(values))
        for axis in axes:
            types[axis.field] = _label_type(axis)
            if types[axis.field] is str:
                categories[axis.field] = _distinct(value.label for value in values[axis.field])
            if isinstance(axis.axis, ArgumentAxis | CaseAxis | RecordAxis):
                found = _contents_of(axis.axis, values[axis.field], taken)
                contents[axis.field] = found
                types |= found.types
                taken |= {name.lower() for name in found.types}
                categories |= found.categories
        types["repeat"] = int
        for axis in axes:
            # The content of an argument says more than its digest.
            of = contents.get(axis.field)
            if axis.is_large and (of is None or of.has_digest):
                name = digest_column(axis.field)
                types[name] = str
                categories[name] = _distinct(
                    short_digest(digest(value.content)) for value in values[axis.field]
                )
        return cls(types=types, contents=contents, categories=categories)

    def without(self, column: str) -> Self:
        """These columns but one, for records that have several values of it."""
        types = {name: kind for name, kind in self.types.items() if name != column}
        return replace(self, types=types)


def _label_type(axis: MatrixAxis) -> ValueType:
    match axis.axis:
        case IntegerAxis():
            return int
        case NumberAxis():
            return float
        case _:
            return str


def _contents_of(
    axis: ArgumentAxis | CaseAxis | RecordAxis, values: Iterable[AxisValue], taken: Collection[str]
) -> AxisContents:
    """The columns of an axis' contents; `taken` are the names of other columns, in lower case.

    A field of a case with such a name is called after its axis as well, as in `case_model`, and so is every
    field of a record, as in `input_text`.
    """
    documents = {short_digest(digest(value.content)): value.content for value in values}
    if isinstance(axis, ArgumentAxis):
        by_column = {key: {axis.field: content} for key, content in documents.items()}
        names = {axis.field: axis.field}
    else:
        names = _name_fields(axis, dict.fromkeys(chain.from_iterable(documents.values())), taken)
        by_column = {
            key: {names[name]: value for name, value in content.items()}
            for key, content in documents.items()
        }
    columns = {
        name: _common_type(one.get(name) for one in by_column.values()) for name in names.values()
    }
    types = {name: kind or str for name, kind in columns.items()}
    return AxisContents(
        field=axis.field,
        has_digest=not isinstance(axis, ArgumentAxis),
        types=types if isinstance(axis, ArgumentAxis) else {axis.field: str, **types},
        json_texts=frozenset(name for name, kind in columns.items() if kind is None),
        documents=by_column,
    )


def _name_fields(
    axis: CaseAxis | RecordAxis, names: Iterable[str], taken: Collection[str]
) -> dict[str, str]:
    """The names of the columns of a case's or record's fields, by field: no two are equal, in any case."""
    used, found = set(taken), {}
    for name in names:
        column = f"{axis.field}_{name}" if isinstance(axis, RecordAxis) else name
        while column.lower() in used:
            column = f"{axis.field}_{column}"
        used.add(column.lower())
        found[name] = column
    return found


def _common_type(values: Iterable[Any]) -> ValueType | None:
    """The type of a column of JSON values, any of which may be None; None if they have no common one."""
    kinds = {_scalar_type(value) for value in values if value is not None}
    scalars = [kind for kind in kinds if kind is not None]
    if len(scalars) < len(kinds):
        return None
    if len(kinds) > 1 and kinds != {int, float}:
        return None
    return column_type(scalars)


def _scalar_type(value: Any) -> ValueType | None:
    match value:
        case bool():
            return bool
        case int():
            return int if abs(value) <= INTEGER_MAX else None
        case float():
            return float
        case str():
            return str
        case _:
            return None


def _distinct(texts: Iterable[Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if isinstance(text, str)))


def _to_json_text(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)
