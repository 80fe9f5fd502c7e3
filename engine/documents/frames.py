"""The rows of data frames, of whichever library."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isnan
from typing import Any


def rows_of_frame(value: Any) -> Iterable[Any] | None:
    """The rows of a data frame of pandas, polars or pyarrow, each a mapping by column; None if it is none.

    The missing values of pandas (NaN, NaT, NA) are None. In a column that has some, whole numbers are integers
    again: pandas made them floats.
    """
    # pyarrow and polars before pandas, whose to_dict polars has as well.
    for convert in ("to_pylist", "to_dicts"):
        if callable(method := getattr(value, convert, None)):
            rows: Iterable[Any] = method()
            return rows
    if hasattr(value, "columns") and callable(to_dict := getattr(value, "to_dict", None)):
        return _without_missing(to_dict("records"))
    return None


def _without_missing(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    lacking = {name for row in rows for name, value in row.items() if _is_missing(value)}
    for row in rows:
        yield {
            name: _restore_integer(value) if name in lacking else value
            for name, value in row.items()
        }


def _restore_integer(value: Any) -> Any:
    if _is_missing(value):
        return None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_missing(value: Any) -> bool:
    if type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and isnan(value)
