"""Find the JSON object in the text of a judge or an attacker, after notes or inside code fences."""

from collections.abc import Iterator
from json import JSONDecodeError, JSONDecoder
from typing import Any

# Models write control characters in strings, and NaN in fields that are not read.
_DECODER = JSONDecoder(strict=False)
_BROKEN_MAX = 200
"""Braces that start no object, after which the search stops: such a text holds no answer."""


def find_object(text: str, *fields: str) -> dict[str, Any] | None:
    """The last object of a text that has one of these fields, else its last object, else None.

    Models write drafts and explanations before their answer, so the last object is the answer.
    """
    found = list(find_objects(text))
    having = [one for one in found if not one.keys().isdisjoint(fields)]
    return next(reversed(having or found), None)


def find_objects(text: str) -> Iterator[dict[str, Any]]:
    """The top-level objects in a text, without those nested in others."""
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
