"""Rows as a Parquet file, written in batches."""

from typing import Any, BinaryIO

from engine.report.frames import ArrowSheet, require_package
from engine.report.sheet import RowFormat, Sheet


async def write(sheet: Sheet[Any], stream: BinaryIO) -> None:
    """Write one row group for each batch of rows, so that memory does not grow with the run.

    All columns are nullable, mappings are stored as JSON, and the file's metadata names the run. Without
    rows the file has its columns only. Raises UsageError, before anything is written, if pyarrow is not
    installed.
    """
    arrow = ArrowSheet(sheet)
    parquet = require_package("pyarrow.parquet", "frames")
    with parquet.ParquetWriter(stream, arrow.schema, compression="zstd") as writer:
        async for batch in arrow.batches():
            if batch.num_rows:
                writer.write_batch(_with_own_categories(batch))


def _with_own_categories(batch: Any) -> Any:
    """A batch whose categories are those of its rows: each row group has a copy of them."""
    pyarrow = require_package("pyarrow")
    arrays = [
        column.dictionary_decode().dictionary_encode()
        if pyarrow.types.is_dictionary(column.type)
        else column
        for column in batch.columns
    ]
    return pyarrow.RecordBatch.from_arrays(arrays, schema=batch.schema)


FORMAT = RowFormat(name="parquet", ending=".parquet", write=write, is_text=False)
