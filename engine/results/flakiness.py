"""Flaky cases: those that a setting asked more than once, and whose first answers do not all agree."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from heapq import nsmallest
from operator import itemgetter

from engine.core.flakiness import Flakiness, FlakyCase
from engine.core.samples import CaseKey, Setting
from engine.core.statistics import (
    Counts,
    RatePrecision,
    VarianceComponents,
    any_failure_in_k,
    rate_precision,
    variance_components,
)
from engine.results.observations import Observations, case_name

WISHED_HALF_WIDTH = 0.1
"""The half width of an interval that says enough for most decisions: 10 points."""


def find_flaky(seen: Observations, threshold: float | None, *, most: int = 1_000) -> Flakiness:
    """Compare the repeats of each case in each setting at a threshold; lists at most `most` flaky cases."""
    counts: Counter[tuple[int, int]] = Counter()
    by_case: dict[CaseKey, tuple[int, int]] = {}
    flaky: list[tuple[float, int, int, Setting, CaseKey]] = []
    for setting, tallies in seen.each_tallies(seen.at(threshold)):
        for key, tally in tallies:
            failed, of = tally.first_failed, tally.first
            if of < 2:
                continue
            counts[failed, of] += 1
            before = by_case.get(key, (0, 0))
            by_case[key] = (before[0] + failed, before[1] + of)
            if 0 < failed < of:
                flaky.append((abs(failed / of - 0.5), failed, of, setting, key))
    repeats = max((of for _, of in counts), default=0)
    whole = {failed: times for (failed, of), times in counts.items() if of == repeats}
    spread = variance_components(list(counts.elements()))
    return Flakiness(
        threshold=threshold,
        always=sum(times for (failed, of), times in counts.items() if failed == of),
        sometimes=len(flaky),
        never=sum(times for (failed, _), times in counts.items() if failed == 0),
        repeats=repeats,
        any_failure=_mean_chance(whole, repeats, repeats),
        any_failure_in_one=_mean_chance(whole, repeats, 1),
        spread=spread,
        precision=_find_precision(spread, by_case.values(), counts.total()),
        flaky=tuple(
            FlakyCase(
                labels=dict(zip(seen.axes, setting.labels, strict=True)),
                case=case_name(key),
                failed=failed,
                answers=of,
            )
            for _, failed, of, setting, key in nsmallest(most, flaky, key=itemgetter(0))
        ),
    )


def _find_precision(
    spread: VarianceComponents | None, cases: Collection[Counts], pairs: int
) -> RatePrecision | None:
    """The precision of the rate over all settings, from the counts of its cases; `pairs` are of case and setting.

    Only repeats reduce the variance of answers under the same conditions, so that is the one within cases. How
    cases differ between settings stays however often they are repeated, so it is part of the variance between them.
    """
    if spread is None:
        return None
    components = variance_components(list(cases), spread.within)
    if components is None:
        return None
    settings, answers = pairs / len(cases), sum(of for _, of in cases)
    shared = replace(components, within=spread.within / settings)
    return rate_precision(shared, len(cases), answers / pairs, WISHED_HALF_WIDTH)


def _mean_chance(failures: Mapping[int, int], answers: int, k: int) -> float | None:
    """The mean chance that at least one of `k` answers to a case fails.

    `failures` has how many cases failed in so many of their `answers`. None without cases.
    """
    chances = [
        (chance, times)
        for failed, times in failures.items()
        if (chance := any_failure_in_k(failed, answers, k)) is not None
    ]
    cases = sum(times for _, times in chances)
    return sum(chance * times for chance, times in chances) / cases if cases else None
