"""Numbers and arrays of numpy as values of Python; numpy is not imported for it."""

from typing import Any


def without_numpy(value: Any) -> Any:
    """Return a value with the numbers and arrays of numpy that it holds as numbers and lists."""
    if type(value).__module__ == "numpy" and callable(convert := getattr(value, "tolist", None)):
        return convert()
    # Only plain containers: a copy of any other would not be of the caller's class.
    if type(value) in (list, tuple):
        return type(value)(map(without_numpy, value))
    if type(value) is dict:
        return {without_numpy(key): without_numpy(one) for key, one in value.items()}
    return value
