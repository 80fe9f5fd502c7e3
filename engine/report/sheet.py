"""The interface of all formats of results: what a format is given, and what it provides."""

import codecs
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeAlias

from engine.core.errors import UsageError
from engine.core.rows import Row, Rows
from engine.core.values import ValueType
from engine.report.columns import KNOWN, AxisColumns, ColumnType
from engine.report.document import row_document


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """The rows of a run and the columns that they have.

    `rows()` reads them one after the other, and may be called more than once: however many there are,
    a format holds no more than a few thousand. `width` is that of a terminal, in its cells, and
    `encoding` the one that it takes; only what is made for people looks at them.
    """

    run: str
    rows: Rows
    axes: AxisColumns
    """The columns that identify the cell of a row."""
    values: Mapping[str, ValueType] = field(default_factory=dict)
    """The columns of further values that the job kind reports for its answers."""
    width: int = sys.maxsize
    encoding: str = "utf-8"

    @property
    def columns(self) -> dict[str, ColumnType]:
        """All columns in their order, with their types; any value may be None."""
        own = {**self.axes.types, **KNOWN}
        return own | {name: kind for name, kind in self.values.items() if name not in own}

    def to_document(self, row: Row) -> dict[str, Any]:
        """The values of a row by column, as JSON takes them: contents of axes and times as texts included.

        Nothing looks into each of a million rows again: contents of axes are shared between them.
        """
        return row_document(row, self.values, self.axes.contents)

    def to_flat_document(self, row: Row) -> dict[str, Any]:
        """The document of a row with the contents of axes as in frames: lists and objects as JSON texts."""
        found = self.to_document(row)
        for contents in self.axes.contents.values():
            found |= contents.cells_of(row)
        return found


WriteSheet: TypeAlias = Callable[[Sheet, BinaryIO], Awaitable[None]]


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


async def write_sheet(form: RowFormat, sheet: Sheet, stream: BinaryIO) -> None:
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
