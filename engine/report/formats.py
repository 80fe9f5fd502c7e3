"""Rows as text: a table for people, CSV, JSON and JSON lines for programs."""

import csv
import re
from collections.abc import Awaitable, Mapping
from enum import StrEnum
from typing import Any, Protocol, TextIO

from engine.core.model import listed_reasons
from engine.report.document import row_document, to_json
from engine.report.table import Rows, write_table
from engine.report.tally import Tally
from engine.report.terminal import plain

# Where a spreadsheet may take a cell for a formula, also in full-width forms, and after what some of them
# take for the start of a cell: where a comma is a decimal point, lists are separated by semicolons.
_FORMULA = re.compile(r"""(^|[;|])(?=[\s"']*[=+\-@\uff1d\uff0b\uff0d\uff20])""")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


class Format(StrEnum):
    """How rows are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"


class _Writer(Protocol):
    def __call__(self, rows: Rows, stream: TextIO) -> Awaitable[Tally]: ...


async def write_rows(rows: Rows, form: Format, stream: TextIO, *, width: int = 80) -> Tally:
    """Write all that `rows()` gives, one after the other, and return how many said what.

    `rows` may be called more than once. `width` is that of a table, in terminal cells.
    """
    if form is Format.TABLE:
        return await write_table(rows, stream, width=width)
    writers: Mapping[Format, _Writer] = {
        Format.CSV: _write_csv,
        Format.JSON: _write_json,
        Format.JSONL: _write_jsonl,
    }
    return await writers[form](rows, stream)


async def _write_csv(rows: Rows, stream: TextIO) -> Tally:
    """RFC 4180, with a header; what is not known is empty."""
    tally, writer = Tally(), csv.writer(stream)
    names: list[str] = []
    async for row in rows():
        values = row_document(row)
        if not names:
            names = list(values)
            writer.writerow([csv_cell(name) for name in names])
        writer.writerow([csv_cell(_flat(values.get(name))) for name in names])
        tally.add(row)
    return tally


async def _write_json(rows: Rows, stream: TextIO) -> Tally:
    tally = Tally()
    stream.write("[")
    async for row in rows():
        stream.write(",\n" if tally.cells else "\n")
        stream.write(to_json(row_document(row), indent=None))
        tally.add(row)
    stream.write("\n]\n" if tally.cells else "]\n")
    return tally


async def _write_jsonl(rows: Rows, stream: TextIO) -> Tally:
    tally = Tally()
    async for row in rows():
        stream.write(to_json(row_document(row), indent=None) + "\n")
        tally.add(row)
    return tally


def _flat(value: Any) -> Any:
    return listed_reasons(value) if isinstance(value, Mapping) else value


def csv_cell(value: Any) -> Any:
    """A value that no spreadsheet runs: what looks like a formula gets an apostrophe in front."""
    if value is None or isinstance(value, int | float):
        return value
    text = plain(str(value))
    return text if _NUMBER.fullmatch(text) else _FORMULA.sub(r"\1'", text)
