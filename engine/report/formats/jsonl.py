"""Rows as JSON Lines: one object per line."""

from typing import Any, BinaryIO

from engine.report.sheet import RowFormat, Sheet, text_to


async def write(sheet: Sheet[Any], stream: BinaryIO) -> None:
    """Write the objects of the format `json`, one per line; without rows nothing is written.

    Raises ValueError for a value that JSON lacks, after the lines of the rows before it.
    """
    text = text_to(stream)
    async for row in sheet.rows():
        text.write(sheet.to_line(row) + "\n")


FORMAT = RowFormat(name="jsonl", ending=".jsonl", write=write)
