"""Tallies of cases: how many tests each has, and how many of them failed."""

from array import array
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import add
from typing import NamedTuple, TypeAlias

from engine.core.statistics import Counts

CaseKey: TypeAlias = tuple[Hashable, ...]
"""Identifies a case in a run: cases of different groups are different cases, whatever their names."""


class CaseTally(NamedTuple):
    """The tests of one case, summed over any number of answers."""

    tests: int
    failed: int
    first: int
    """First answers, before any variations."""
    first_failed: int


class Rounds(NamedTuple):
    """Answers that each asked the same cases once, without variations."""

    names: tuple[str, ...]
    """The cases; no two are equal."""
    answers: int
    """How many there are."""
    failed: Sequence[int]
    """In how many of them each case failed."""


class CaseTable:
    """Tallies of cases by name; settings that asked the same cases share their names."""

    __slots__ = ("_counts", "_failed", "_names", "_rounds")

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        # Most answers ask each case once: of them only the number and the failures are kept, by case.
        self._rounds = 0
        self._failed: Sequence[int] = ()
        self._counts: dict[str, CaseTally] | None = None

    def __len__(self) -> int:
        counts = self._counts or {}
        return len(self._names) + sum(name not in self._names for name in counts)

    def __iter__(self) -> Iterator[tuple[str, CaseTally]]:
        rest = dict(self._counts or {})
        for name, failed in zip(self._names, self._failed, strict=True):
            tally = _tally_rounds(self._rounds, failed)
            yield name, add_tallies(tally, rest.pop(name)) if name in rest else tally
        yield from rest.items()

    @property
    def rounds(self) -> Rounds | None:
        """All of its tests, if each answer asked each of the same cases once; None otherwise."""
        if self._counts is not None:
            return None
        return Rounds(self._names, self._rounds, self._failed)

    def add_rounds(self, added: Rounds) -> None:
        """Add answers that asked each of some cases once, in place."""
        names, answers, failures = added
        if not self._rounds:
            self._names, self._rounds, self._failed = names, answers, array("I", failures)
        elif names is self._names or names == self._names:
            self._rounds += answers
            self._failed = array("I", map(add, self._failed, failures))
        else:
            self.add(
                {
                    name: _tally_rounds(answers, failed)
                    for name, failed in zip(names, failures, strict=True)
                }
            )

    def add(self, tallies: Mapping[str, CaseTally]) -> None:
        """Add tallies by name, in place."""
        counts = self._counts = {} if self._counts is None else self._counts
        for name, tally in tallies.items():
            before = counts.get(name)
            counts[name] = tally if before is None else add_tallies(before, tally)


@lru_cache(16_384)
def _tally_rounds(rounds: int, failed: int) -> CaseTally:
    """The tally of a case that was asked once in each of so many answers: few are different."""
    return CaseTally(rounds, failed, rounds, failed)


def add_tallies(one: CaseTally, other: CaseTally) -> CaseTally:
    """The sum of two tallies."""
    return CaseTally(one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3])


class FirstAnswers:
    """The first answers to cases, summed over any number of settings."""

    def __init__(self) -> None:
        self._counts: dict[CaseKey, Counts] = {}
        # Settings mostly ask the same cases: of these, the number of answers and the failures by case.
        self._rounds: dict[tuple[CaseKey, tuple[str, ...]], tuple[int, list[int]]] = {}

    def add(self, case: CaseKey, failed: int, total: int) -> None:
        """Add first answers to a case, in place, of which some failed."""
        before = self._counts.get(case, (0, 0))
        self._counts[case] = before[0] + failed, before[1] + total

    def add_rounds(self, scope: CaseKey, rounds: Rounds) -> None:
        """Add answers that asked each of some cases once, in place; their names are unique in the scope."""
        key = scope, rounds.names
        if (before := self._rounds.get(key)) is None:
            self._rounds[key] = rounds.answers, list(rounds.failed)
        else:
            answers, failed = before
            summed = list(map(add, failed, rounds.failed))
            self._rounds[key] = answers + rounds.answers, summed

    def counts(self) -> dict[CaseKey, Counts]:
        """(failed, total) first answers of each case."""
        found = dict(self._counts)
        for (scope, names), (answers, failed) in self._rounds.items():
            for name, one in zip(names, failed, strict=True):
                case = (*scope, name)
                before = found.get(case, (0, 0))
                found[case] = before[0] + one, before[1] + answers
        return found
