"""The JSON object in what a judge or an attacker wrote, behind notes and inside fences."""

from collections.abc import Iterator
from json import JSONDecodeError, JSONDecoder
from typing import Any

# Control characters stand in strings, and NaN in fields that nobody reads.
_DECODER = JSONDecoder(strict=False)
_BROKEN_MAX = 200
"""Braces that begin no object: more of them are no notes beside an answer."""


def find_object(text: str, *fields: str) -> dict[str, Any] | None:
    """The last object of a text that has one of these fields, else its last object, else None.

    The last, because models try out and explain before they answer, and not after.
    """
    found = list(_objects(text))
    having = [one for one in found if not one.keys().isdisjoint(fields)]
    return next(reversed(having or found), None)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The objects that stand in a text, without those inside of others."""
    place, broken = text.find("{"), 0
    while place >= 0 and broken < _BROKEN_MAX:
        try:
            value, after = _DECODER.raw_decode(text, place)
        except (JSONDecodeError, RecursionError):
            broken += 1
            after = place + 1
        else:
            yield value
        place = text.find("{", after)
