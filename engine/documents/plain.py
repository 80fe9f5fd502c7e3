"""Conversion of parsed or given objects to plain values of JSON's types, within limits of size."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from math import isfinite
from typing import Any

from engine.core.errors import Problem
from engine.documents.malformed import Malformed
from engine.documents.places import child_path

DEPTH_MAX = 32
NODES_MAX = 1_000_000
TOO_DEEP = f"nested more than {DEPTH_MAX} levels deep"
_INTEGER_MAX = 2**63 - 1


def to_plain(value: Any, problems: list[Problem]) -> Any:
    """Copy a value into JSON's types; dates and times become text in ISO 8601.

    What JSON cannot hold becomes None and is added to `problems`. Raises TooLarge for more than
    32 levels or a million values.
    """
    return _Copy(problems).of(value, "", 0)


class TooLarge(Malformed):
    """Too many levels or values; `path` names the first one beyond the limit."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message, path=path)


class _Copy:
    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems
        self._nodes = 0

    def of(self, value: Any, path: str, depth: int) -> Any:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise TooLarge(f"more than {NODES_MAX:,} values", path)
        if depth >= DEPTH_MAX and isinstance(value, Mapping | list | tuple):
            raise TooLarge(TOO_DEEP, path)
        match value:
            case None | bool():
                return value
            case int() | float():
                return self._number(value, path)
            case str():
                return self._text(value, path)
            case datetime() | date() | time():
                return value.isoformat()
            case Mapping():
                return self._mapping(value, path, depth)
            case Sequence() if not isinstance(value, bytes | bytearray):
                return [
                    self.of(item, f"{path}[{place}]", depth + 1) for place, item in enumerate(value)
                ]
            case _:
                self._refuse(path, f"a {type(value).__name__} cannot be used in a sweep")
                return None

    def _mapping(self, value: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
        copy = {}
        for key, item in value.items():
            if not isinstance(key, str):
                self._refuse(path, f"the key {key!r:.100} must be text: write it in quotes")
                continue
            if _is_encodable(key):
                copy[key] = self.of(item, child_path(path, key), depth + 1)
            else:
                self._refuse(path, "a key holds characters that are not valid text")
        return copy

    def _number(self, value: int | float, path: str) -> int | float | None:
        if isinstance(value, int):
            if abs(value) > _INTEGER_MAX:
                self._refuse(path, "the number is too large")
                return None
            return int(value)
        if not isfinite(value):
            self._refuse(path, "must be a finite number")
            return None
        return float(value)

    def _text(self, value: str, path: str) -> str | None:
        if not _is_encodable(value):
            self._refuse(path, "holds characters that are not valid text")
            return None
        return str(value)

    def _refuse(self, path: str, message: str) -> None:
        self._problems.append(Problem(path, message))


def _is_encodable(text: str) -> bool:
    """Whether a text has neither NUL, which databases refuse, nor a lone surrogate."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
