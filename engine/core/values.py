"""Values that a job kind gives a result beside its counts: names, and numbers, texts or booleans."""

import json
import re
from collections.abc import Collection, Mapping
from math import isfinite
from typing import Any, TypeAlias

Value: TypeAlias = str | int | float | bool
ValueType: TypeAlias = type[str] | type[int] | type[float] | type[bool]

MAX_BYTES = 16_384
"""What the values of one result may take as JSON: all of them are read for each row."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INTEGER_MAX = 2**63 - 1
"""The largest that a column of 64-bit integers holds."""


def check_values(values: Mapping[str, Any], taken: Collection[str]) -> dict[str, Value]:
    """The values of a result as they are kept; `taken` are the lower-case names that are columns already.

    What is None, NaN or infinite is not known, and is left out. Raises ValueError for a name that is no
    ASCII identifier or taken, for a value of another type, and where all together are too large.
    """
    checked: dict[str, Value] = {}
    for name, value in values.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f"the value's name {name!r} is not an identifier of ASCII letters, digits and _"
            )
        if name.lower() in taken:
            raise ValueError(f"the value {name!r} has the name of another column: rename it")
        if _is_known(name, value):
            checked[name] = value
    if (size := len(json.dumps(checked))) > MAX_BYTES:
        raise ValueError(
            f"the values take {size:,} bytes as JSON, more than {MAX_BYTES:,}:"
            " leave what is long to the answer's bytes"
        )
    return checked


def _is_known(name: str, value: object) -> bool:
    match value:
        case None:
            return False
        case bool() | str():
            return True
        case int():
            if abs(value) > _INTEGER_MAX:
                raise ValueError(f"the value {name!r} is an integer of more than 64 bits")
            return True
        case float():
            return isfinite(value)
        case _:
            raise ValueError(
                f"the value {name!r} is a {type(value).__name__}: give an int, float, str, bool or None"
            )


def column_type(kinds: Collection[ValueType]) -> ValueType:
    """Return the type of a column whose values have these types: text if they have no common type."""
    found = set(kinds)
    if found == {int, float}:
        return float
    return found.pop() if len(found) == 1 else str


def as_type(value: Value | None, kind: ValueType) -> Value | None:
    """A value as a column of one type takes it: other values as JSON in a column of text, and else None.

    A run that goes on may bring values of another type after its columns were looked up.
    """
    match value:
        case None:
            return None
        case bool():
            is_same = kind is bool
        case int() if kind is float:
            return float(value)
        case _:
            is_same = isinstance(value, kind)
    if is_same:
        return value
    return json.dumps(value) if kind is str else None
