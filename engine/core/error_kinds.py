"""Kinds of errors: messages that differ only in numbers and ids are of one kind."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

# Names of a single request, case or object.
_ID = re.compile(
    r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"  # a UUID
    r"|\b0x[0-9a-f]+\b"
    r"|\b(?=[a-f]*[0-9])[0-9a-f]{8,}\b"  # a digest
    r"|\b[a-z]+(?:_[a-z]+)*-[0-9]{2,}\b"  # a case of a group
    r"|\b(?:req|request|msg|resp|chatcmpl|gen|run|trace)[_-](?=[a-z_-]*[0-9])[a-z0-9_-]{6,}\b",
    re.IGNORECASE,
)
_SOME_ID = "…"
# An HTTP status distinguishes kinds; a count of bytes, a position or a time does not.
_NUMBER = re.compile(r"(?<![A-Za-z0-9_.-])(?![45][0-9]{2}(?![0-9.]))[0-9][0-9.,:]*(?<![.,:])")
_MASK = "N"
_PLACE = re.compile(r'^ +(File ".*", line [0-9]+, in .*)$', re.MULTILINE)
"""The place of a call in one of Python's tracebacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorKind:
    """Jobs that failed in the same way.

    `message` says what happened, with N in place of numbers and … in place of ids in which they
    differ. `example` is the service's explanation for one of them, empty if it gave none.
    """

    message: str
    jobs: int
    example: str = ""

    @property
    def text(self) -> str:
        """What happened, with the service's explanation for one of the jobs."""
        if not self.example:
            return self.message
        return f"{self.message}{': ' if self.jobs == 1 else ', such as: '}{_shown(self.example)}"


def _shown(explanation: str) -> str:
    """The service's explanation; of a traceback only the innermost place."""
    places = _PLACE.findall(explanation)
    return str(places[-1]) if places else explanation


def mask(message: str) -> str:
    """Replace the numbers and ids of a message, so that all messages of a kind are equal."""
    return _NUMBER.sub(_MASK, _ID.sub(_SOME_ID, message))


def by_kind(found: Iterable[ErrorKind]) -> tuple[ErrorKind, ...]:
    """Merge those that differ only in numbers and ids, adding up their jobs.

    The most frequent kind comes first; of several explanations the first one is the example.
    """
    kinds: dict[str, list[ErrorKind]] = {}
    for one in found:
        kinds.setdefault(mask(one.message), []).append(one)
    merged = (
        ErrorKind(
            message=masked if len({one.message for one in alike}) > 1 else alike[0].message,
            jobs=sum(one.jobs for one in alike),
            example=next((one.example for one in alike if one.example), ""),
        )
        for masked, alike in kinds.items()
    )
    return tuple(sorted(merged, key=lambda kind: (-kind.jobs, kind.message)))
