"""Rows as a Parquet file, written in batches."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

from engine.core.axes import IntegerAxis, NumberAxis
from engine.core.errors import UsageError
from engine.core.rows import Row
from engine.report.document import digest_column, row_document, to_json
from engine.report.table import Rows
from engine.report.tally import Tally

if TYPE_CHECKING:
    import pyarrow  # type: ignore[import-untyped]

    from engine.core.matrix import MatrixAxis

AxisType: TypeAlias = type[str] | type[int] | type[float]

ROW_GROUP = 10_000
"""Rows that are held in memory and written as one row group."""

KNOWN: Mapping[str, type[str] | type[int] | type[float] | type[bool]] = {
    "asked": bool,
    "state": str,
    "passed": int,
    "failed": int,
    "total": int,
    "failure_rate": float,
    "ci_low": float,
    "ci_high": float,
    "unanswered": int,
    "unanswered_reasons": str,
    "lowest_rate": float,
    "highest_rate": float,
    "identity": str,
    "source": str,
    "error": str,
}
"""What is known of a cell and what is in it, in the order of the columns."""


def axis_columns(axes: "Sequence[MatrixAxis]") -> dict[str, AxisType]:
    """The columns that say which cell a row is about, in their order, and what is in them."""
    labels: dict[str, AxisType] = {axis.field: _axis_type(axis) for axis in axes}
    digests: dict[str, AxisType] = {
        digest_column(axis.field): str for axis in axes if axis.is_large
    }
    return {**labels, "repeat": int, **digests}


def _axis_type(axis: "MatrixAxis") -> AxisType:
    match axis.axis:
        case IntegerAxis():
            return int
        case NumberAxis():
            return float
        case _:
            return str


async def write_parquet(
    rows: Rows, stream: TextIO, tally: Tally, *, run: str, axes: Mapping[str, AxisType]
) -> None:
    """Write rows to the bytes below `stream`, a row group at a time, and count them.

    Raises UsageError where pyarrow is not installed, or the stream is a terminal.
    """
    try:
        import pyarrow
        from pyarrow.parquet import ParquetWriter  # type: ignore[import-untyped]
    except ImportError:
        raise UsageError(
            "Parquet needs pyarrow, which is not installed: run `pip install 'nightsweep[frames]'`"
        ) from None
    if stream.isatty():
        raise UsageError(
            "Parquet cannot be shown on a terminal: name a file with --output FILE.parquet"
        )
    schema = _schema({**axes, **KNOWN}, run)
    batch: list[dict[str, Any]] = []
    with ParquetWriter(stream.buffer, schema, compression="zstd") as writer:
        async for row in rows():
            tally.add(row)
            batch.append(_values(row, schema.names))
            if len(batch) == ROW_GROUP:
                writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
                batch = []
        if batch:
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))


def _schema(columns: Mapping[str, type], run: str) -> "pyarrow.Schema":
    """The schema of a run's rows: any value may be null, and the file says which run it is of."""
    import pyarrow

    types = {
        str: pyarrow.string(),
        int: pyarrow.int64(),
        float: pyarrow.float64(),
        bool: pyarrow.bool_(),
    }
    schema = pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])
    return schema.with_metadata({"nightsweep.run": run})


def _values(row: Row, names: Iterable[str]) -> dict[str, Any]:
    known = row_document(row)
    return {name: _value(known.get(name)) for name in names}


def _value(value: Any) -> Any:
    """A value as a column takes it: what has parts as JSON, text as UTF-8 can say it."""
    if isinstance(value, Mapping):
        return to_json(value, indent=None)
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
