"""Rows as JSON, one object a line."""

from typing import BinaryIO

from engine.report.document import row_json
from engine.report.sheet import RowFormat, Sheet, text_to


async def write(sheet: Sheet, stream: BinaryIO) -> None:
    """The objects that the format `json` lists."""
    text = text_to(stream)
    async for row in sheet.rows():
        text.write(row_json(row, sheet.values) + "\n")


FORMAT = RowFormat(name="jsonl", ending=".jsonl", write=write)
