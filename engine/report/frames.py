"""Sheets as Arrow: the one schema and the record batches of all data frames and files of columns."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

from engine.core.errors import UsageError
from engine.report.columns import ColumnType
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
    read: Callable[[Any], Any]
    categories: _Categories | None = None

    def to_array(self, rows: Sequence[Any]) -> Any:
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

    sheet: Sheet[Any]
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
        rows: list[Any] = []
        size, is_first = 0, True
        async for row in self.sheet.rows():
            rows.append(row)
            size += self.sheet.count_characters(row)
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

    def _to_batch(self, rows: Sequence[Any]) -> "pyarrow.RecordBatch":
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


def _columns_of(sheet: Sheet[Any]) -> Iterator[_Column]:
    """The columns of a sheet in its order; texts of axes, states and sources are categories."""
    readers = sheet.readers()
    for name, kind in sheet.columns.items():
        read = _in_microseconds(readers[name]) if kind is datetime else readers[name]
        texts: Iterable[str] | None = sheet.categories.get(name)
        if name in sheet.axes.types and kind is str:
            texts = sheet.axes.categories.get(name, ())
        categories = None if texts is None else _Categories(texts)
        yield _Column(name, _arrow_type(kind, is_category=categories is not None), read, categories)


def _in_microseconds(read: Callable[[Any], float | None]) -> Callable[[Any], int | None]:
    def read_time(row: Any) -> int | None:
        seconds = read(row)
        return None if seconds is None else to_microseconds(seconds)

    return read_time


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
