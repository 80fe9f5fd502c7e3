"""Rows as an Arrow IPC file, written in batches."""

from typing import Any, BinaryIO

from engine.report.frames import ArrowSheet, require_package
from engine.report.sheet import RowFormat, Sheet


async def write(sheet: Sheet[Any], stream: BinaryIO) -> None:
    """Write an Arrow IPC file (not a stream) with one record batch for each batch of rows, uncompressed.

    Memory does not grow with the run, and a reader can map the file into its memory. Without rows the file
    has its columns and their categories only. Raises UsageError, before anything is written, if pyarrow is
    not installed.
    """
    arrow = ArrowSheet(sheet)
    ipc = require_package("pyarrow.ipc", "frames")
    # In a file, categories can be added later but not replaced.
    options = ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with ipc.new_file(stream, arrow.schema, options=options) as writer:
        async for batch in arrow.batches():
            writer.write_batch(batch)


FORMAT = RowFormat(name="arrow", ending=".arrow", write=write, is_text=False)
