"""Failed jobs by the kind of their error: many that differ in a number are one."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

# A status tells kinds apart; a count of bytes, a position, a time or a place does not.
_NUMBER = re.compile(r"(?<![A-Za-z0-9_.-])(?![45][0-9]{2}(?![0-9.]))[0-9][0-9.,:]*(?<![.,:])")
_MASK = "N"


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorKind:
    """How many jobs failed in the same way.

    `message` says what happened, with N for a number in which they differ; `example` is what the
    service said to one of them, empty if it said nothing.
    """

    message: str
    jobs: int
    example: str = ""


def by_kind(found: Iterable[ErrorKind]) -> tuple[ErrorKind, ...]:
    """Those that differ in numbers alone as one, the most frequent first."""
    kinds: dict[str, list[ErrorKind]] = {}
    for one in found:
        kinds.setdefault(_NUMBER.sub(_MASK, one.message), []).append(one)
    merged = (
        ErrorKind(
            message=masked if len({one.message for one in alike}) > 1 else alike[0].message,
            jobs=sum(one.jobs for one in alike),
            example=next((one.example for one in alike if one.example), ""),
        )
        for masked, alike in kinds.items()
    )
    return tuple(sorted(merged, key=lambda kind: (-kind.jobs, kind.message)))
