"""Rows as Arrow: the one schema and the record batches of all data frames and files of columns."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from engine.core.errors import UsageError
from engine.core.rows import Row, Source, digest_column
from engine.core.states import State
from engine.core.values import Value, ValueType, as_type
from engine.report.columns import KNOWN, AxisColumns, ColumnType
from engine.report.document import to_json
from engine.report.sheet import Sheet
from engine.report.times import to_microseconds

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow  # type: ignore[import-untyped]

BATCH_ROWS = 10_000
"""The number of rows that are held in memory and become one record batch, fewer if their values are long."""
BATCH_CHARACTERS = 64 * 1024 * 1024
"""About the most that the texts in the values of a batch may take."""

_CATEGORIES: Mapping[str, Sequence[str]] = {"state": tuple(State), "source": tuple(Source)}


def require_package(name: str, extra: str = "frames") -> Any:
    """Import a package that an extra of this distribution installs.

    Raises UsageError with the command that installs it if it is missing or broken.
    """
    try:
        return import_module(name)
    except ImportError as error:
        is_missing = isinstance(error, ModuleNotFoundError) and error.name == name
        why = "which is not installed" if is_missing else f"which cannot be imported ({error})"
        raise UsageError(
            f"this needs {name}, {why}: run `pip install 'nightsweep[{extra}]'`"
        ) from None


def require_packages(extra: str) -> None:
    """Check that what an extra installs, pyarrow and the package that it is named after, can be imported.

    Raises UsageError as `require_package` does.
    """
    for name in (extra, "pyarrow"):
        require_package(name, extra)


class _Categories:
    """The texts of a column of categories, each with its number; those that are new are added at the end."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._codes: dict[str, int] = {}
        self._texts: dict[str, int] = {}
        self._array: Any = None
        for text in texts:
            self._add(text)

    def encode(self, values: Iterable[str | None]) -> Any:
        """Values, by their numbers, as an array with all categories."""
        import pyarrow

        known, add = self._codes, self._add
        numbers = [
            None if value is None else (known[value] if value in known else add(value))
            for value in values
        ]
        if self._array is None or len(self._array) < len(self._texts):
            self._array = pyarrow.array(list(self._texts), pyarrow.string())
        indices = pyarrow.array(numbers, pyarrow.int32())
        return pyarrow.DictionaryArray.from_arrays(indices, self._array)

    def _add(self, text: str) -> int:
        # Two texts that UTF-8 cannot say may be one category.
        number = self._texts.setdefault(_to_utf8(text), len(self._texts))
        self._codes[text] = number
        return number


@dataclass(slots=True)
class _Column:
    """A column of a sheet: its type, how it is read from a row, and its categories if it is one of them."""

    name: str
    type: Any
    read: Callable[[Row], Any]
    categories: _Categories | None = None

    def to_array(self, rows: Sequence[Row]) -> Any:
        """The values of these rows."""
        import pyarrow

        values = map(self.read, rows)
        if self.categories is not None:
            return self.categories.encode(values)
        listed = list(values)
        try:
            return pyarrow.array(listed, self.type)
        except UnicodeError:
            return pyarrow.array([value and _to_utf8(value) for value in listed], self.type)


@dataclass(slots=True)
class ArrowSheet:
    """A sheet as Arrow: its schema, and its rows in record batches of at most BATCH_ROWS."""

    sheet: Sheet
    schema: "pyarrow.Schema" = field(init=False)
    """All columns in the order of the sheet, nullable; its metadata names the run as `nightsweep.run`."""
    _columns: list[_Column] = field(init=False)

    def __post_init__(self) -> None:
        pyarrow = require_package("pyarrow")
        self._columns = list(_columns_of(self.sheet))
        schema = pyarrow.schema([(column.name, column.type) for column in self._columns])
        self.schema = schema.with_metadata({"nightsweep.run": self.sheet.run})

    async def batches(self) -> AsyncIterator["pyarrow.RecordBatch"]:
        """Yield the rows, page by page; without any, one batch of none.

        Each batch has all categories of the columns, whether its rows have them or not. A later batch has more
        only if another process changes the sweep meanwhile.
        """
        rows: list[Row] = []
        size, is_first = 0, True
        async for row in self.sheet.rows():
            rows.append(row)
            size += sum(len(value) for value in row.values.values() if isinstance(value, str))
            if len(rows) == BATCH_ROWS or size > BATCH_CHARACTERS:
                yield self._to_batch(rows)
                rows, size, is_first = [], 0, False
        if rows or is_first:
            yield self._to_batch(rows)

    async def to_table(self) -> "pyarrow.Table":
        """All rows as one table, which memory has to hold."""
        import pyarrow

        batches = [batch async for batch in self.batches()]
        return pyarrow.Table.from_batches(batches, schema=self.schema).unify_dictionaries()

    def _to_batch(self, rows: Sequence[Row]) -> "pyarrow.RecordBatch":
        import pyarrow

        arrays = [column.to_array(rows) for column in self._columns]
        return pyarrow.RecordBatch.from_arrays(arrays, schema=self.schema)


def to_pandas(table: "pyarrow.Table") -> "pandas.DataFrame":
    """A table as a frame of nullable columns: Int64, Float64, boolean, string, category, datetime64[us, UTC].

    Raises UsageError if pandas is not installed.
    """
    made_of, arrow = require_package("pandas", "pandas"), require_package("pyarrow")
    types = {
        arrow.int64(): made_of.Int64Dtype(),
        arrow.float64(): made_of.Float64Dtype(),
        arrow.bool_(): made_of.BooleanDtype(),
        arrow.string(): made_of.StringDtype(),
    }
    frame: pandas.DataFrame = table.to_pandas(types_mapper=types.get)
    return frame


def to_polars(table: "pyarrow.Table") -> "polars.DataFrame":
    """A table as a frame of Int64, Float64, Boolean, String, Categorical and Datetime columns.

    Raises UsageError if polars is not installed.
    """
    frame: polars.DataFrame = require_package("polars", "polars").from_arrow(table)
    return frame


def _columns_of(sheet: Sheet) -> Iterator[_Column]:
    """The columns of a sheet in its order; texts of axes, states and sources are categories."""
    readers = _axis_readers(sheet.axes)
    for name, kind in sheet.columns.items():
        texts: Iterable[str] | None = _CATEGORIES.get(name)
        if name in KNOWN:
            read = _known_reader(name)
        elif name in readers:
            read = readers[name]
            texts = sheet.axes.categories.get(name, ()) if kind is str else None
        else:
            read = partial(_read_value, name, sheet.values[name])
        categories = None if texts is None else _Categories(texts)
        yield _Column(name, _arrow_type(kind, is_category=categories is not None), read, categories)


def _axis_readers(axes: AxisColumns) -> dict[str, Callable[[Row], Any]]:
    """How the columns that identify a cell are read from a row, by column."""
    readers: dict[str, Callable[[Row], Any]] = {
        name: partial(_read_label, name) for name in axes.types
    }
    for contents in axes.contents.values():
        readers |= {name: partial(contents.read, name=name) for name in contents.types}
    return readers | {
        digest_column(axis): partial(_read_digest, axis)
        for axis in axes.types
        if digest_column(axis) in axes.types
    }


def _known_reader(name: str) -> Callable[[Row], Any]:
    match name:
        case "unanswered_reasons":
            return _read_reasons
        case "answered_at":
            return _read_time
        case _:
            return attrgetter(name)


def _read_label(name: str, row: Row) -> Any:
    return row.labels.get(name)


def _read_digest(axis: str, row: Row) -> str | None:
    return row.digests.get(axis)


def _read_value(name: str, kind: ValueType, row: Row) -> Value | None:
    return as_type(row.values.get(name), kind)


def _read_reasons(row: Row) -> str | None:
    reasons = row.unanswered_reasons
    return None if reasons is None else to_json(reasons, indent=None)


def _read_time(row: Row) -> int | None:
    return None if row.answered_at is None else to_microseconds(row.answered_at)


def _arrow_type(kind: ColumnType, *, is_category: bool) -> Any:
    import pyarrow

    if is_category:
        return pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    types = {
        str: pyarrow.string(),
        int: pyarrow.int64(),
        float: pyarrow.float64(),
        bool: pyarrow.bool_(),
        datetime: pyarrow.timestamp("us", tz="UTC"),
    }
    return types[kind]


def _to_utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
