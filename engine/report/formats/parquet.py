"""Rows as a Parquet file, written in batches."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from engine.core.errors import UsageError
from engine.core.rows import Row
from engine.core.values import ValueType, as_type
from engine.report.document import row_document, to_json
from engine.report.sheet import RowFormat, Sheet

if TYPE_CHECKING:
    import pyarrow  # type: ignore[import-untyped]

ROW_GROUP = 10_000
"""The number of rows that are held in memory and written as one row group."""


async def write(sheet: Sheet, stream: BinaryIO) -> None:
    """Write one row group of at most ROW_GROUP rows at a time, so that memory does not grow with the run.

    All columns are nullable, mappings are stored as JSON, and the file's metadata names the run. Without
    rows the file has its columns only. Raises UsageError, before anything is written, if pyarrow is not
    installed.
    """
    try:
        import pyarrow
        from pyarrow.parquet import ParquetWriter  # type: ignore[import-untyped]
    except ImportError:
        raise UsageError(
            "Parquet needs pyarrow, which is not installed: run `pip install 'nightsweep[frames]'`"
        ) from None
    columns = [(name, sheet.values.get(name)) for name in sheet.columns]
    schema = _schema(sheet)
    batch: list[dict[str, Any]] = []
    with ParquetWriter(stream, schema, compression="zstd") as writer:
        async for row in sheet.rows():
            batch.append(_values(row, columns))
            if len(batch) == ROW_GROUP:
                writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
                batch = []
        if batch:
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))


def _schema(sheet: Sheet) -> "pyarrow.Schema":
    """The schema of a run's rows; all columns are nullable, and the metadata names the run."""
    import pyarrow

    types = {
        str: pyarrow.string(),
        int: pyarrow.int64(),
        float: pyarrow.float64(),
        bool: pyarrow.bool_(),
    }
    schema = pyarrow.schema([(name, types[kind]) for name, kind in sheet.columns.items()])
    return schema.with_metadata({"nightsweep.run": sheet.run})


def _values(row: Row, columns: Iterable[tuple[str, ValueType | None]]) -> dict[str, Any]:
    """The values of a row by column; those of the job kind are converted to their column's type."""
    known = row_document(row, [name for name, _ in columns])
    return {
        name: _value(known[name] if kind is None else as_type(known[name], kind))
        for name, kind in columns
    }


def _value(value: Any) -> Any:
    """A value as Parquet stores it: mappings as JSON, text as valid UTF-8."""
    if isinstance(value, Mapping):
        return to_json(value, indent=None)
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


FORMAT = RowFormat(name="parquet", ending=".parquet", write=write, is_text=False)
