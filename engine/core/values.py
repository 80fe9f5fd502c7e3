"""Named values in a result besides its counts: numbers, texts and booleans of a job kind."""

import json
import re
from collections.abc import Collection, Mapping
from math import isfinite
from typing import Any, TypeAlias

Value: TypeAlias = str | int | float | bool
ValueType: TypeAlias = type[str] | type[int] | type[float] | type[bool]

MAX_BYTES = 262_144
"""The largest size of a result's values as JSON, in bytes: every row reads all of them."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
INTEGER_MAX = 2**63 - 1
"""The largest number in a column of 64-bit integers."""


def check_values(values: Mapping[str, Any], taken: Collection[str]) -> dict[str, Value]:
    """The values of a result as they are kept; `taken` are the lower-case names that are columns already.

    None, NaN and infinities are unknown and left out. Raises ValueError for a name that is taken or
    not an ASCII identifier, for a value of another type, and if all values together are too large.
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
            if abs(value) > INTEGER_MAX:
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
    """Convert a value to a column's type: others become JSON in a column of text, and None elsewhere.

    A running run may add values of another type after its columns were determined.
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
