"""Canonical JSON: equal values have equal digests, however they were written."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

# Larger floats do not represent a single whole number.
_EXACT_INTEGERS = 2**53


def canonical(value: Any) -> bytes:
    """JSON in UTF-8 with sorted keys, no white space, and whole floats written as integers.

    Raises ValueError for NaN, infinities and lone surrogates, which JSON in UTF-8 cannot represent.
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
    """SHA-256 of the canonical JSON, as 64 hexadecimal digits; raises ValueError as `canonical` does."""
    return sha256(canonical(value)).hexdigest()


def _normalise(value: Any) -> Any:
    match value:
        case float() if value.is_integer() and abs(value) < _EXACT_INTEGERS:
            return int(value)
        case float():
            # Subclasses such as numpy's have their own repr.
            return float(value)
        case str():
            return value
        case Mapping():
            return {key: _normalise(item) for key, item in value.items()}
        case Sequence():
            return [_normalise(item) for item in value]
        case _:
            return value
