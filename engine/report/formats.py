"""Rows as a table for people; as CSV, JSON, JSON lines and Parquet for programs."""

import csv
import re
from collections.abc import Awaitable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TextIO

from engine.core.errors import UsageError
from engine.core.model import listed_reasons
from engine.report.document import row_document, row_json
from engine.report.parquet import AxisType, write_parquet
from engine.report.table import Rows, write_table
from engine.report.tally import Tally
from engine.report.terminal import plain

# Where a spreadsheet may take a cell for a formula, also in full-width forms, and after what some of them
# take for the start of a cell: where a comma is a decimal point, lists are separated by semicolons.
_FORMULA = re.compile(r"""(^|[;|])(?=[\s"']*[=+\-@\uff1d\uff0b\uff0d\uff20])""")
_NUMERIC = (int, float)
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


class Format(StrEnum):
    """How rows are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"


ENDINGS = {
    ".txt": Format.TABLE,
    ".csv": Format.CSV,
    ".json": Format.JSON,
    ".jsonl": Format.JSONL,
    ".parquet": Format.PARQUET,
}
"""What a file's ending says of its format."""


class _Writer(Protocol):
    def __call__(self, rows: Rows, stream: TextIO, tally: Tally) -> Awaitable[None]: ...


def format_of(file: Path) -> Format:
    """The format that a file's ending stands for; raises UsageError for an ending that stands for none."""
    form = ENDINGS.get(file.suffix.lower())
    if form is None:
        raise UsageError(
            f"cannot tell from the name {file.name} which format to write: end it in"
            f" {', '.join(ENDINGS)}, or say it with --format"
        )
    return form


async def write_rows(
    rows: Rows,
    form: Format,
    stream: TextIO,
    *,
    run: str,
    axes: Mapping[str, AxisType],
    tally: Tally,
    width: int = 80,
) -> None:
    """Write all that `rows()` gives of a run, one after the other, and count it in `tally`.

    `rows` may be called more than once. `axes` are the columns of axes with their types, `width` is that
    of a table, in terminal cells. Parquet goes to the bytes below `stream`.
    """
    match form:
        case Format.TABLE:
            await write_table(rows, stream, tally, run=run, width=width)
        case Format.PARQUET:
            await write_parquet(rows, stream, tally, run=run, axes=axes)
        case _:
            await _PLAIN[form](rows, stream, tally)


async def _write_csv(rows: Rows, stream: TextIO, tally: Tally) -> None:
    """RFC 4180, with a header; what is not known is empty."""
    writer = csv.writer(stream)
    names: list[str] = []
    async for row in rows():
        values = row_document(row)
        if not names:
            names = list(values)
            writer.writerow([csv_cell(name) for name in names])
        writer.writerow([csv_cell(_flat(values.get(name))) for name in names])
        tally.add(row)


async def _write_json(rows: Rows, stream: TextIO, tally: Tally) -> None:
    stream.write("[")
    async for row in rows():
        stream.write(",\n" if tally.rows else "\n")
        stream.write(row_json(row))
        tally.add(row)
    stream.write("\n]\n" if tally.rows else "]\n")


async def _write_jsonl(rows: Rows, stream: TextIO, tally: Tally) -> None:
    async for row in rows():
        stream.write(row_json(row) + "\n")
        tally.add(row)


_PLAIN: Mapping[Format, _Writer] = {
    Format.CSV: _write_csv,
    Format.JSON: _write_json,
    Format.JSONL: _write_jsonl,
}


def _flat(value: Any) -> Any:
    return listed_reasons(value) if isinstance(value, dict) else value


def csv_cell(value: Any) -> Any:
    """A value that no spreadsheet runs: what looks like a formula gets an apostrophe in front."""
    if value is None or isinstance(value, _NUMERIC):
        return value
    text = plain(str(value))
    return text if _NUMBER.fullmatch(text) else _FORMULA.sub(r"\1'", text)
