"""The interface of all formats of results: what a format is given, and what it provides."""

import codecs
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, BinaryIO, ClassVar, Generic, TypeAlias, TypeVar

from engine.core.errors import UsageError
from engine.core.rows import digest_column
from engine.core.values import Value, ValueType, as_type
from engine.report.columns import AxisColumns, ColumnType, Labelled
from engine.report.document import line_json

T = TypeVar("T", bound=Labelled)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet(ABC, Generic[T]):
    """Records of a run, such as its rows or findings, and the columns that they have.

    `rows()` reads the records one after the other, and may be called more than once: however many there are,
    a format holds no more than a few thousand. `width` is that of a terminal, in its cells, and `encoding`
    the one that it takes; only what is made for people looks at them.
    """

    noun: ClassVar[str]
    """What its records are called, in the plural."""
    known: ClassVar[Mapping[str, ColumnType]]
    """The columns that all sheets of this class have, in their order, with their types."""
    categories: ClassVar[Mapping[str, Sequence[str]]] = {}
    """The texts of known columns that have only a few, by column."""

    run: str
    rows: Callable[[], AsyncIterator[T]]
    axes: AxisColumns
    """The columns that identify the cell of a record."""
    values: Mapping[str, ValueType] = field(default_factory=dict)
    """The columns of further values that the job kind reports."""
    width: int = sys.maxsize
    encoding: str = "utf-8"

    @property
    def columns(self) -> dict[str, ColumnType]:
        """All columns in their order, with their types; any value may be None."""
        own = {**self.axes.types, **_without(self.known, self.axes.types)}
        return own | _without(self.values, own)

    @abstractmethod
    def to_document(self, row: T) -> dict[str, Any]:
        """The values of a record by column, as JSON takes them: contents of axes and times as texts included.

        Nothing looks into each of a million records again: contents of axes are shared between them.
        """

    def to_line(self, row: T) -> str:
        """The document of a record as one line of JSON, as `line_json` encodes it; raises ValueError as that does."""
        return line_json(self.to_document(row))

    def to_flat_document(self, row: T) -> dict[str, Any]:
        """The document of a record with the contents of axes as in frames: lists and objects as JSON texts."""
        found = self.to_document(row)
        for contents in self.axes.contents.values():
            found |= contents.cells_of(row)
        return found

    def readers(self) -> dict[str, Callable[[T], Any]]:
        """How each column is read from a record, as a value of the column's type; times in seconds."""
        found: dict[str, Callable[[T], Any]] = {
            name: partial(_read_label, name) for name in self.axes.types
        }
        for contents in self.axes.contents.values():
            found |= {name: partial(contents.read, name=name) for name in contents.types}
        for axis in self.axes.types:
            if digest_column(axis) in self.axes.types:
                found[digest_column(axis)] = partial(_read_digest, axis)
        for name in _without(self.known, self.axes.types):
            found[name] = self.known_reader(name)
        for name, kind in _without(self.values, found).items():
            found[name] = partial(_read_value, self.value_name(name), kind)
        return found

    @abstractmethod
    def known_reader(self, name: str) -> Callable[[T], Any]:
        """How one of the columns in `known` is read from a record."""

    def value_name(self, column: str) -> str:
        """The name of the value that a column in `values` shows."""
        return column

    @abstractmethod
    def count_characters(self, row: T) -> int:
        """About how many characters the texts of a record have, which are what its memory depends on."""


WriteSheet: TypeAlias = Callable[[Sheet[Any], BinaryIO], Awaitable[None]]


def _without(columns: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    return {name: kind for name, kind in columns.items() if name not in others}


def _read_label(name: str, row: Labelled) -> Any:
    return row.labels.get(name)


def _read_digest(axis: str, row: Labelled) -> str | None:
    return row.digests.get(axis)


def _read_value(name: str, kind: ValueType, row: Any) -> Value | None:
    return as_type(row.values.get(name), kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFormat:
    """A format of results, defined as FORMAT in a module of `engine.report.formats`.

    `name` is what `--format` takes, and `ending` what the names of its files end in. `write` writes a
    sheet to a stream of bytes (`text_to` makes it one of text) and leaves it open.
    """

    name: str
    ending: str
    write: WriteSheet
    is_text: bool = True
    """Whether its output can be shown on a terminal."""


async def write_sheet(form: RowFormat, sheet: Sheet[Any], stream: BinaryIO) -> None:
    """Write a sheet in a format, page by page; the stream stays open.

    Raises UsageError for a binary format on a terminal, and if a package that the format needs is missing.
    """
    if not form.is_text and stream.isatty():
        raise UsageError(
            f"{form.name} cannot be shown on a terminal: name a file with --output FILE{form.ending}"
        )
    await form.write(sheet, stream)


def text_to(stream: BinaryIO, encoding: str = "utf-8") -> codecs.StreamWriter:
    """Wrap a stream of bytes as one of text; it buffers nothing and need not be closed.

    Characters that the encoding lacks are written as `?`. Raises LookupError for an unknown encoding.
    """
    return codecs.getwriter(encoding)(stream, "replace")
