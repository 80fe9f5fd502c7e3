"""Paired differences: two values of an axis compared over the cells and cases that both have."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, TypeAlias

from engine.core.case_tallies import CaseKey, FirstAnswers
from engine.core.differences import PairedDifference, judge
from engine.core.rows import digest_column
from engine.core.samples import Setting
from engine.core.statistics import (
    Counts,
    PairedComparison,
    cases_needed,
    compare_pairs,
    detectable_difference,
    holm,
)
from engine.results.observations import Observations

Level: TypeAlias = tuple[Any, str | None]
"""A value of an axis: its label, and the digest of its content if it has one."""


def pairs_of(seen: Observations, axis: str) -> list[PairedDifference]:
    """Compare all pairs of values on an axis, at each threshold, by threshold and in the order of the sweep.

    Pairs without a case that both answered are left out.
    """
    found = []
    for threshold in seen.thresholds:
        compared = list(_compare_levels(seen, axis, threshold))
        corrected = holm([one.p for _, _, one in compared])
        for (a, b, one), p_corrected in zip(compared, corrected, strict=True):
            interval = one.interval
            needed = cases_needed(interval.difference, interval.sd**2)
            found.append(
                PairedDifference(
                    axis=axis,
                    a=a,
                    b=b,
                    threshold=threshold,
                    cases=one.cases,
                    rate_a=one.rate_a,
                    rate_b=one.rate_b,
                    difference=interval.difference,
                    low=interval.low,
                    high=interval.high,
                    p=one.p,
                    p_corrected=p_corrected,
                    verdict=judge(interval.difference, p_corrected),
                    detectable=detectable_difference(interval.sd, one.cases),
                    cases_needed=None if needed is None else int(needed) + 1,
                )
            )
    return found


def _compare_levels(
    seen: Observations, axis: str, threshold: float | None
) -> Iterator[tuple[str, str, PairedComparison]]:
    """Each pair of values with a case in common: their names, and the comparison."""
    found = _Axis(seen, axis, threshold)
    names = _name_levels(axis, list(found.levels))
    sums = {level: one.first.counts() for level, one in found.levels.items()}
    for (a, of_a), (b, of_b) in combinations(found.levels.items(), 2):
        compared = compare_pairs(found.shared_counts(of_a, of_b, sums[a], sums[b]))
        if compared is not None:
            yield names[a], names[b], compared


class _Level:
    """The first answers at one value of an axis.

    Combinations of values on the other axes have numbers, and so have sets of cases: equal ones, equal numbers.
    """

    def __init__(self) -> None:
        self.first = FirstAnswers()
        self.settings: dict[int, Setting] = {}
        """The setting of each combination that has answers."""
        self.asked: dict[int, int] = {}
        """The set of cases that each of them asked."""


class _Axis:
    """The values of an axis, compared at one threshold."""

    def __init__(self, seen: Observations, axis: str, threshold: float | None) -> None:
        self.levels: dict[Level, _Level] = {}
        self._at = seen.axes.index(axis)
        self._keys = seen.keys([axis])
        self._combinations: dict[tuple[Any, ...], int] = {}
        self._sets: dict[frozenset[CaseKey], int] = {}
        self._sets_by_names: dict[tuple[CaseKey, tuple[str, ...]], int] = {}
        for setting in seen.at(threshold):
            self._add(setting)

    def _add(self, setting: Setting) -> None:
        at, labels, digests = self._at, setting.labels, setting.digests
        name = labels[at], digests[at]
        if (level := self.levels.get(name)) is None:
            level = self.levels[name] = _Level()
        rest = labels[:at], labels[at + 1 :], digests[:at], digests[at + 1 :]
        number = self._combinations.setdefault(rest, len(self._combinations))
        asked = self._add_first_answers(level, setting)
        if asked is not None:
            level.settings[number] = setting
            level.asked[number] = asked

    def _add_first_answers(self, level: _Level, setting: Setting) -> int | None:
        """Add the first answers of a setting; returns the number of the set of its cases, None without any."""
        scope, case = self._keys(setting)
        if case is None and (rounds := setting.cases.rounds) is not None:
            if not rounds.answers:
                return None
            level.first.add_rounds(scope, rounds)
            key = scope, rounds.names
            if (number := self._sets_by_names.get(key)) is None:
                cases = frozenset((*scope, name) for name in rounds.names)
                number = self._sets_by_names[key] = self._number_of(cases)
            return number
        counts = self._count(setting)
        for one, (failed, total) in counts.items():
            level.first.add(one, failed, total)
        return self._number_of(frozenset(counts)) if counts else None

    def _number_of(self, cases: frozenset[CaseKey]) -> int:
        return self._sets.setdefault(cases, len(self._sets))

    def _count(self, setting: Setting) -> dict[CaseKey, Counts]:
        """(failed, total) first answers of each case of a setting."""
        tallies = setting.tallies(*self._keys(setting))
        return {case: (one.first_failed, one.first) for case, one in tallies if one.first}

    def shared_counts(
        self,
        a: _Level,
        b: _Level,
        sums_a: Mapping[CaseKey, Counts],
        sums_b: Mapping[CaseKey, Counts],
    ) -> list[tuple[Counts, Counts]]:
        """(failed, total) first answers of each case at either value, over the combinations in which both have it.

        `sums_a` and `sums_b` are those over all combinations.
        """
        if a.asked == b.asked:
            return [(counts, sums_b[case]) for case, counts in sums_a.items()]
        left_a, left_b = dict(sums_a), dict(sums_b)
        for number in {number for number, _ in a.asked.items() ^ b.asked.items()}:
            of_a, of_b = (
                self._count(one.settings[number]) if number in one.settings else {}
                for one in (a, b)
            )
            _subtract(left_a, {case: of_a[case] for case in of_a.keys() - of_b.keys()})
            _subtract(left_b, {case: of_b[case] for case in of_b.keys() - of_a.keys()})
        return [(counts, left_b[case]) for case, counts in left_a.items() if counts[1]]


def _subtract(counts: dict[CaseKey, Counts], other: Mapping[CaseKey, Counts]) -> None:
    for case, (failed, total) in other.items():
        before = counts[case]
        counts[case] = before[0] - failed, before[1] - total


def _name_levels(axis: str, levels: Sequence[Level]) -> dict[Level, str]:
    """The labels of the values, with their digest if several have the same."""
    labels = [label for label, _ in levels]
    return {
        (label, digest): str(label)
        if labels.count(label) == 1
        else f"{label} ({digest_column(axis)} {digest})"
        for label, digest in levels
    }
