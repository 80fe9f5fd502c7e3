"""Rows as one JSON list of objects."""

from typing import Any, BinaryIO

from engine.report.sheet import RowFormat, Sheet, text_to


async def write(sheet: Sheet[Any], stream: BinaryIO) -> None:
    """Write one row per line, so that a reader need not hold the whole list in memory.

    Without rows the list is empty. Raises ValueError for a value that JSON lacks (`line_json`); what has
    been written by then is not a whole list.
    """
    text = text_to(stream)
    before = "[\n"
    async for row in sheet.rows():
        text.write(before + sheet.to_line(row))
        before = ",\n"
    text.write("[]\n" if before == "[\n" else "\n]\n")


FORMAT = RowFormat(name="json", ending=".json", write=write)
