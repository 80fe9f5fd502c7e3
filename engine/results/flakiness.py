"""Flaky cases: those that a setting asked more than once, and whose first answers do not all agree."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from heapq import heappush, heapreplace

from engine.core.case_tallies import CaseKey, FirstAnswers, Rounds
from engine.core.flakiness import Flakiness, FlakyCase
from engine.core.samples import Setting
from engine.core.statistics import (
    Counts,
    RatePrecision,
    VarianceComponents,
    any_failure_in_k,
    rate_precision,
    variance_components,
)
from engine.results.observations import Observations, case_name

_REPEATED = 2
"""The answers from which on a case has been repeated."""
WISHED_HALF_WIDTH = 0.1
"""The half width of an interval that says enough for most decisions: 10 points."""


def find_flaky(seen: Observations, threshold: float | None, *, most: int = 1_000) -> Flakiness:
    """Compare the repeats of each case in each setting at a threshold; lists at most `most` flaky cases."""
    counter = _RepeatCounter(seen, most)
    for setting in seen.at(threshold):
        counter.add(setting)
    counts = counter.counts()
    repeats = max((of for _, of in counts), default=0)
    whole = {failed: times for (failed, of), times in counts.items() if of == repeats}
    spread = variance_components(counts)
    return Flakiness(
        threshold=threshold,
        always=sum(times for (failed, of), times in counts.items() if failed == of),
        sometimes=sum(times for (failed, of), times in counts.items() if 0 < failed < of),
        never=sum(times for (failed, _), times in counts.items() if failed == 0),
        repeats=repeats,
        any_failure=_mean_chance(whole, repeats, repeats),
        any_failure_in_one=_mean_chance(whole, repeats, 1),
        spread=spread,
        precision=_find_precision(spread, counter.first.counts().values(), counts.total()),
        flaky=tuple(
            FlakyCase(
                labels=dict(zip(seen.axes, setting.labels, strict=True)),
                case=case_name(key),
                failed=failed,
                answers=of,
            )
            for _, _, failed, of, setting, key in sorted(counter.flaky, reverse=True)
        ),
    )


class _RepeatCounter:
    """Counts how often the cases of settings failed in their repeats, and finds the flakiest of them."""

    def __init__(self, seen: Observations, most: int) -> None:
        self._keys = seen.keys()
        self._most = most
        self._found = 0
        # How many cases of settings failed how often, from never to always, by the number of their repeats.
        self._failed: dict[int, list[int]] = {}
        self.first = FirstAnswers()
        """The first answers of the cases."""
        self.flaky: list[tuple[float, int, int, int, Setting, CaseKey]] = []
        """A heap of the flakiest, the least flaky first: (minus the distance of the rate from one half, minus its
        place, failures, repeats, setting, case)."""

    def add(self, setting: Setting) -> None:
        """Add the cases of a setting that have repeats."""
        scope, case = self._keys(setting)
        rounds = setting.cases.rounds
        if case is None and rounds is not None:
            self._add_rounds(setting, scope, rounds)
            return
        for key, tally in setting.tallies(scope, case):
            failed, of = tally.first_failed, tally.first
            if of >= _REPEATED:
                self.first.add(key, failed, of)
                self._counts_of(of)[failed] += 1
                if 0 < failed < of:
                    self._add_flaky(failed, of, setting, key)

    def _add_rounds(self, setting: Setting, scope: CaseKey, rounds: Rounds) -> None:
        of = rounds.answers
        if of < _REPEATED:
            return
        self.first.add_rounds(scope, rounds)
        counted = self._counts_of(of)
        for name, failed in zip(rounds.names, rounds.failed, strict=True):
            counted[failed] += 1
            if 0 < failed < of:
                self._add_flaky(failed, of, setting, (*scope, name))

    def _counts_of(self, of: int) -> list[int]:
        if (counted := self._failed.get(of)) is None:
            counted = self._failed[of] = [0] * (of + 1)
        return counted

    def _add_flaky(self, failed: int, of: int, setting: Setting, key: CaseKey) -> None:
        """Add a case to the flakiest, if it is one of them."""
        self._found += 1
        flakiness = -abs(failed / of - 0.5)
        # Of equally flaky cases the first stays.
        if len(self.flaky) < self._most:
            heappush(self.flaky, (flakiness, -self._found, failed, of, setting, key))
        elif flakiness > self.flaky[0][0]:
            heapreplace(self.flaky, (flakiness, -self._found, failed, of, setting, key))

    def counts(self) -> Counter[Counts]:
        """How many cases of settings failed in so many of so many repeats, as (failed, repeats)."""
        return Counter(
            {
                (failed, of): times
                for of, counted in self._failed.items()
                for failed, times in enumerate(counted)
                if times
            }
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
    components = variance_components(Counter(cases), spread.within)
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
