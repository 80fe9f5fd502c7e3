"""One spelling for each value, so that equal contents have equal digests however they were written."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

# Beyond it a float no longer stands for exactly one whole number.
_EXACT_INTEGERS = 2**53


def canonical(value: Any) -> bytes:
    """JSON in UTF-8 with sorted keys, no white space, and whole floats written as integers.

    Raises ValueError for what has no such spelling: NaN, infinities, lone surrogates.
    """
    text = json.dumps(
        _normalise(value),
        ensure_ascii=False,
        allow_nan=False,
        sort_keys=True,
        separators=(",", ":"),
    )
    return text.encode("utf-8")


def digest(value: Any) -> str:
    """SHA-256 of the canonical spelling, in hexadecimal."""
    return sha256(canonical(value)).hexdigest()


def _normalise(value: Any) -> Any:
    match value:
        case float() if value.is_integer() and abs(value) < _EXACT_INTEGERS:
            return int(value)
        case float():
            # Subclasses such as numpy's would spell themselves in their own way.
            return float(value)
        case str():
            return value
        case Mapping():
            return {key: _normalise(item) for key, item in value.items()}
        case Sequence():
            return [_normalise(item) for item in value]
        case _:
            return value
