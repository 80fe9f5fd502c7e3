"""Rows as comma-separated values, safe from being run as formulas by a spreadsheet."""

import csv
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, BinaryIO

from engine.core.model import describe_reasons
from engine.core.terminal import plain
from engine.report.sheet import RowFormat, Sheet, text_to

# Beginnings of formulas, also in full-width forms. A cell may also begin after ; or |, because lists are
# separated by semicolons in locales with a decimal comma.
_FORMULA = re.compile(r"""(^|[;|])(?=[\s"']*[=+\-@\uff1d\uff0b\uff0d\uff20])""")
_NUMERIC = (int, float)
_SHORT = 100
"""The most characters of a text that is remembered with the cell that it becomes."""
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


async def write(sheet: Sheet[Any], stream: BinaryIO) -> None:
    """Write the rows as RFC 4180 in UTF-8, with a header; a sheet without rows gives an empty stream.

    Unknown values are empty, reasons of unanswered questions are one text, and no text can run as a formula
    (`csv_cell`). Rows are read once and written as they come.
    """
    writer = csv.writer(text_to(stream))
    names: list[str] = []
    async for row in sheet.rows():
        if not names:
            names = list(sheet.columns)
            writer.writerow([csv_cell(name) for name in names])
        values = sheet.to_flat_document(row)
        writer.writerow(
            [
                value if value is None or type(value) in _NUMERIC else _to_cell(value)
                for value in map(values.get, names)
            ]
        )


def _to_cell(value: Any) -> Any:
    """A value that is no plain number: most of a million rows have one of a few short texts."""
    if isinstance(value, str):
        return _short_cell(value) if len(value) <= _SHORT else csv_cell(value)
    return csv_cell(describe_reasons(value) if isinstance(value, Mapping) else value)


def csv_cell(value: Any) -> Any:
    """A value that no spreadsheet runs: an apostrophe is put before what looks like a formula.

    Also after a `;` or `|` within the text, at which a spreadsheet may separate cells. None and numbers are
    returned as they are, other values as text without control characters; a text that is a number gets no
    apostrophe.
    """
    if value is None or isinstance(value, _NUMERIC):
        return value
    text = plain(str(value))
    return text if _NUMBER.fullmatch(text) else _FORMULA.sub(r"\1'", text)


@lru_cache(8_192)
def _short_cell(text: str) -> Any:
    return csv_cell(text)


FORMAT = RowFormat(name="csv", ending=".csv", write=write)
