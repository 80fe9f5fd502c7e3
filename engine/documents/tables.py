"""Tables in files: CSV, TSV, JSON Lines, and lists in JSON, YAML and TOML."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import Any

from engine.core.errors import Place, Problem
from engine.core.listing import quantity
from engine.core.placeholders import describe, fill, placeholders_in
from engine.documents.document import JSON, TOML, YAML, Document
from engine.documents.malformed import Malformed
from engine.documents.places import child_path
from engine.documents.reading import FILE_BYTES_MAX

TEXT_COLUMNS = (
    "text",
    "prompt",
    "content",
    "system_prompt",
    "system",
    "instruction",
    "instructions",
)
"""Usual names of a column of prompts."""
NAME_COLUMNS = ("name", "id", "key", "label", "title")
"""Usual names of a column of names."""

ROWS_MAX = 100_000
_COLUMNS_SHOWN = 12
_COLUMN_SHOWN = 40
_DELIMITERS = (",", ";", "\t")
# A first line that Excel understands: it names the separator.
_SEPARATOR_LINE = re.compile(r'"?sep=([,;|\t])"?\n', re.IGNORECASE)
_HEADER_CELL = re.compile(r"\w[\w .-]{0,60}")


class TableFormat(StrEnum):
    """The formats of tables."""

    CSV = "csv"
    TSV = "tsv"
    JSONL = "jsonl"
    JSON = "json"
    YAML = "yaml"
    TOML = "toml"


_BY_SUFFIX = {
    **{f".{one}": one for one in TableFormat},
    ".tab": TableFormat.TSV,
    ".ndjson": TableFormat.JSONL,
    ".yml": TableFormat.YAML,
}


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its place in the file, such as `line 5` or `[4]`, and its cells by column."""

    place: str
    cells: Mapping[str, Any]

    def text(self, column: str) -> str:
        """Return a cell as text, a number as Python writes it.

        Raises Malformed, which names the column, if the cell is missing or blank, or neither text nor a
        number.
        """
        cell = self.cells.get(column)
        if isinstance(cell, int | float) and not isinstance(cell, bool):
            return f"{cell}"
        if not isinstance(cell, str | None):
            raise Malformed(f"{column} must be text")
        if cell is None or not cell.strip():
            raise Malformed(f"{column} is empty")
        return cell


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a reader returns; `columns` is empty in formats without a header, `path` is that of the list."""

    rows: Iterator[Row]
    columns: tuple[str, ...] = ()
    document: Document | None = None
    path: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """The columns and rows of a file, without blank rows.

    A table that is a list in a document has that `document`, and the `path` of the list in it.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    document: Document | None = None
    path: str = ""

    def problem(self, file: str, place: str, message: str) -> Problem:
        """A mistake in the row of this place, with the line and column at which the row begins in `file`.

        `place` is that of a Row, such as `line 3` or `[2]`. Nothing is read.
        """
        line = place.removeprefix("line ")
        if line.isdecimal():
            return Problem("", message, place=Place(file, int(line), 1))
        if self.document is None:
            return Problem(place, message)
        [found] = self.document.locate(file, [Problem(f"{self.path}{place}", message)])
        return found

    def find_column(self, asked: str) -> str:
        """Return the column with this name, whatever its case, spaces and hyphens.

        Raises Malformed, with the columns of the table, if there is none or more than one.
        """
        if asked in self.columns:
            return self._only(asked)
        same = [name for name in self.columns if fold_name(name) == fold_name(asked)]
        if len(same) != 1:
            raise Malformed(f"there is no column {asked:.100}; {self.describe_columns()}")
        return same[0]

    def find_usual_column(
        self, known: Sequence[str], key: str, *, apart_from: str | None = None
    ) -> str | None:
        """Return the only column with one of the `known` names; None if there is none.

        Raises Malformed if there are several; `key` is the sweep's key that can name one.
        """
        found = [name for name in self.columns if fold_name(name) in known and name != apart_from]
        if len(found) > 1:
            raise Malformed(
                f"the columns {' and '.join(found)} could be meant: name one with `{key}`;"
                f" {self.describe_columns()}"
            )
        return found[0] if found else None

    def fill_in(self, text: str, row: Row, *, apart_from: str | None, otherwise: str) -> str:
        """Replace each placeholder of a text with this row's cell in the column that it names.

        Raises Malformed for a placeholder that names no column, with `otherwise` as another way
        out, and for a cell that contains a placeholder itself.
        """
        by_name = {fold_name(name): name for name in self.columns if name != apart_from}
        found = placeholders_in(text)
        if unknown := [one for one in found if fold_name(one.name) not in by_name]:
            raise Malformed(
                f"contains the placeholder {describe(unknown)}, which is no column of the table: add it,"
                f" {otherwise}; {self.describe_columns()}"
            )
        values = {one.name: row.text(by_name[fold_name(one.name)]) for one in found}
        for name, value in values.items():
            if inner := placeholders_in(value):
                raise Malformed(f"{name} contains the placeholder {describe(inner)} itself")
        return fill(text, values)

    def describe_columns(self) -> str:
        """The names of the columns, for the end of an error message."""
        shown = [
            f"{name[:_COLUMN_SHOWN]}..."
            if len(name) > _COLUMN_SHOWN
            else name or "(without a name)"
            for name in self.columns[:_COLUMNS_SHOWN]
        ]
        hidden = len(self.columns) - len(shown)
        more = f" and {hidden} more" if hidden else ""
        return f"the columns are {', '.join(' '.join(name.split()) for name in shown)}{more}"

    def _only(self, name: str) -> str:
        if self.columns.count(name) > 1:
            raise Malformed(f"two columns are called {name:.100}")
        return name


def fold_name(name: str) -> str:
    """Normalise a column's name for comparison: case, spaces and hyphens make no difference."""
    return re.sub(r"[\s-]+", "_", name.strip()).casefold()


def table_format(file: PurePath) -> TableFormat | None:
    """The format of a table by its file's suffix, in upper or lower case; None for other files."""
    return _BY_SUFFIX.get(file.suffix.lower())


def guess_table_format(text: str) -> TableFormat | None:
    """The format of a text that is almost certainly a table, whatever its file's suffix; else None.

    The whole text is parsed, so one with a mistake is no table.
    """
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) > 1 and all(line.lstrip().startswith("{") for line in lines):
        likely = TableFormat.JSONL
    elif text.lstrip().startswith("["):
        likely = TableFormat.JSON
    elif len(lines) > 1 and _is_header(lines[0]):
        likely = TableFormat.CSV
    else:
        return None
    try:
        read_table(text, likely)
    except Malformed:
        return None
    return likely


def read_table(text: str, written_as: TableFormat) -> Table:
    """Parse a table of 1 to ROWS_MAX rows; its columns are those of the header, or the keys of its rows in order.

    Raises Malformed, with the place of the mistake. Cells are not checked; `Row.text` does that.
    """
    if "\0" in text:
        raise Malformed("it contains NUL characters")
    parts = _READERS[written_as](text)
    columns = parts.columns
    found: list[Row] = []
    for row in parts.rows:
        if len(found) == ROWS_MAX:
            raise Malformed(f"{row.place}: more than {ROWS_MAX:,} rows")
        found.append(row)
    if not found:
        raise Malformed("it has no rows")
    if not columns:
        columns = tuple(dict.fromkeys(name for row in found for name in row.cells))
    return Table(columns, tuple(found), parts.document, parts.path)


def _read_delimited(text: str, delimiter: str | None = None) -> _Parts:
    skipped = 0
    if separator := _SEPARATOR_LINE.match(text):
        delimiter, text, skipped = separator[1], text[separator.end() :], 1
    records = _records(text, delimiter or _delimiter_of(text), skipped)
    _, header = next(records, ("", []))
    while header and not header[-1].strip():
        header.pop()
    if not header:
        raise Malformed("it is empty")
    columns = tuple(name.strip() for name in header)
    return _Parts(_rows(columns, records), columns)


def _rows(columns: tuple[str, ...], records: Iterator[tuple[str, list[str]]]) -> Iterator[Row]:
    for place, cells in records:
        while len(cells) > len(columns) and not cells[-1].strip():
            cells.pop()
        if len(cells) != len(columns):
            raise Malformed(
                f"{place}: has {quantity(len(cells), 'cell')}, the first line {len(columns)};"
                " a cell with separators or line breaks in it must stand in quotes"
            )
        yield Row(place, dict(zip(columns, cells, strict=True)))


def _records(text: str, delimiter: str, skipped: int) -> Iterator[tuple[str, list[str]]]:
    """The records that are not blank, each with the line in which it begins."""
    # The csv module's limit holds for the whole process; the size of this text is limited already.
    csv.field_size_limit(max(csv.field_size_limit(), FILE_BYTES_MAX))
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True
    )
    while True:
        place = f"line {reader.line_num + 1 + skipped}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if reader.line_num >= text.count("\n") and "unexpected end" in str(error):
                raise Malformed(f"{place}: a quote is opened and never closed") from None
            raise Malformed(f"{place}: not CSV: {error}") from None
        if any(cell.strip() for cell in cells):
            yield place, cells


def _delimiter_of(text: str) -> str:
    """The delimiter with which the first line has the most known names, or else the most cells."""

    def score(delimiter: str) -> tuple[int, int]:
        try:
            _, cells = next(_records(text, delimiter, 0))
        except (StopIteration, Malformed):
            return 0, 0
        known = sum(fold_name(cell) in (*TEXT_COLUMNS, *NAME_COLUMNS) for cell in cells)
        return known, len(cells)

    return max(_DELIMITERS, key=score)


def _is_header(line: str) -> bool:
    cells = re.split(r"[,;\t]", line)
    return (
        len(cells) > 1
        and all(_HEADER_CELL.fullmatch(cell.strip().strip('"')) for cell in cells)
        and any(fold_name(cell.strip('" ')) in TEXT_COLUMNS for cell in cells)
    )


def _json_lines(text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield f"line {number}", JSON.read(line)
        except Malformed as error:
            message = str(error)
            rest = message.removeprefix("line 1")
            raise Malformed(f"line {number}{': ' if rest == message else ''}{rest}") from None


def _read_lines(text: str) -> _Parts:
    return _Parts(_as_rows(_json_lines(text)))


def _read_document(document: Document) -> _Parts:
    """The rows of a list, or of a list that is a mapping's only value; any other mapping is one row."""
    listed, path = document.require_sound(), ""
    if isinstance(listed, Mapping):
        entries = list(listed.items())
        if len(entries) != 1 or not isinstance(entries[0][1], list):
            return _Parts(_as_rows([("", listed)]), document=document)
        [(key, listed)] = entries
        path = child_path("", key)
    if listed is None:
        raise Malformed("it is empty")
    if not isinstance(listed, list):
        raise Malformed("must hold a list")
    numbered = ((f"[{number}]", entry) for number, entry in enumerate(listed))
    return _Parts(_as_rows(numbered), document=document, path=path)


def _as_rows(entries: Iterable[tuple[str, Any]]) -> Iterator[Row]:
    return (Row(place, _cells(place, entry)) for place, entry in entries)


def _cells(place: str, entry: Any) -> Mapping[str, Any]:
    if isinstance(entry, str):
        return {TEXT_COLUMNS[0]: entry}
    if isinstance(entry, Mapping):
        return entry
    raise Malformed(f"{place}: must be a mapping or text")


_READERS: Mapping[TableFormat, Callable[[str], _Parts]] = {
    TableFormat.CSV: _read_delimited,
    TableFormat.TSV: lambda text: _read_delimited(text, "\t"),
    TableFormat.JSONL: _read_lines,
    TableFormat.JSON: lambda text: _read_document(JSON.document(text)),
    TableFormat.YAML: lambda text: _read_document(YAML.document(text)),
    TableFormat.TOML: lambda text: _read_document(TOML.document(text)),
}
