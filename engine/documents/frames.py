"""The rows of data frames, of whichever library."""

from collections.abc import Iterable, Mapping
from math import isnan
from typing import Any


def rows_of_frame(value: Any) -> Iterable[Any] | None:
    """The rows of a data frame of pandas, polars or pyarrow, each a mapping by column; None if it is none.

    The missing values of pandas (NaN, NaT, NA) are None.
    """
    # pyarrow and polars before pandas, whose to_dict polars has as well.
    for convert in ("to_pylist", "to_dicts"):
        if callable(method := getattr(value, convert, None)):
            rows: Iterable[Any] = method()
            return rows
    if callable(to_dict := getattr(value, "to_dict", None)):
        return map(_without_missing, to_dict("records"))
    return None


def _without_missing(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if _is_missing(value) else value for name, value in row.items()}


def _is_missing(value: Any) -> bool:
    if type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and isnan(value)
