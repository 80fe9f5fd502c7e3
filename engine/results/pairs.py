"""Paired differences: two values of an axis compared over the cells and cases that both have."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, TypeAlias

from engine.core.differences import PairedDifference, judge
from engine.core.rows import digest_column
from engine.core.samples import CaseKey, CaseTally
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
    levels = _tally_levels(seen, axis, threshold)
    names = _name_levels(axis, list(levels))
    asked = {level: _find_asked(tallies) for level, tallies in levels.items()}
    sums = {level: _sum_cases(tallies) for level, tallies in levels.items()}
    for a, b in combinations(levels, 2):
        if asked[a] == asked[b]:
            shared = [(counts, sums[b][case]) for case, counts in sums[a].items()]
        else:
            shared = list(_shared_cases(levels[a], levels[b]))
        compared = compare_pairs(shared)
        if compared is not None:
            yield names[a], names[b], compared


Tallies: TypeAlias = dict[tuple[Any, ...], dict[CaseKey, CaseTally]]
"""The tests by case of each combination of labels on the other axes."""


def _tally_levels(seen: Observations, axis: str, threshold: float | None) -> dict[Level, Tallies]:
    """The tests of each value of an axis."""
    at = seen.axes.index(axis)
    levels: dict[Level, Tallies] = {}
    for setting, by_case in seen.each_tallies(seen.at(threshold), [axis]):
        identity = tuple(zip(setting.labels, setting.digests, strict=True))
        level, rest = identity[at], identity[:at] + identity[at + 1 :]
        levels.setdefault(level, {})[rest] = dict(by_case)
    return levels


def _find_asked(tallies: Tallies) -> frozenset[tuple[tuple[Any, ...], frozenset[CaseKey]]]:
    """The cases with a first answer in each combination: levels for which they are equal share all of them."""
    return frozenset(
        (rest, frozenset(case for case, tally in by_case.items() if tally.first))
        for rest, by_case in tallies.items()
        if by_case
    )


def _sum_cases(tallies: Tallies) -> dict[CaseKey, Counts]:
    """(failed, total) first answers of each case, over all combinations."""
    sums: dict[CaseKey, Counts] = {}
    for by_case in tallies.values():
        for case, tally in by_case.items():
            if tally.first:
                failed, total = sums.get(case, (0, 0))
                sums[case] = failed + tally.first_failed, total + tally.first
    return sums


def _shared_cases(a: Tallies, b: Tallies) -> Iterator[tuple[Counts, Counts]]:
    """(failed, total) first answers of each case on either side, over the combinations in which both have it."""
    sums: dict[CaseKey, list[int]] = {}
    for rest, of_a in a.items():
        of_b = b.get(rest, {})
        for case, one in of_a.items():
            other = of_b.get(case)
            if other is not None and one.first and other.first:
                counts = (one.first_failed, one.first, other.first_failed, other.first)
                before = sums.setdefault(case, [0, 0, 0, 0])
                sums[case] = list(map(int.__add__, before, counts))
    for failed_a, total_a, failed_b, total_b in sums.values():
        yield (failed_a, total_a), (failed_b, total_b)


def _name_levels(axis: str, levels: Sequence[Level]) -> dict[Level, str]:
    """The labels of the values, with their digest if several have the same."""
    labels = [label for label, _ in levels]
    return {
        (label, digest): str(label)
        if labels.count(label) == 1
        else f"{label} ({digest_column(axis)} {digest})"
        for label, digest in levels
    }
