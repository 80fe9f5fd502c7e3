"""Flaky cases: those that a setting asked more than once, and whose first answers do not all agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.core.statistics import VarianceComponents, any_failure_in_k, variance_components
from engine.results.observations import Observations, case_name


@dataclass(frozen=True, slots=True, kw_only=True)
class FlakyCase:
    """A case of a setting that fails in some of its repeats."""

    labels: Mapping[str, Any]
    """The setting, by field."""
    case: str
    failed: int
    answers: int
    """First answers, before any variations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flakiness:
    """How often the repeats of a case agree at one threshold; each case counts once in each setting.

    Example:
        >>> flaky = run.analysis().flaky()
        >>> flaky.always, flaky.sometimes, flaky.never
        (0, 0, 0)
    """

    threshold: float | None
    always: int
    """Cases that fail in every repeat."""
    sometimes: int
    never: int
    repeats: int
    """The most first answers of a case."""
    any_failure: float | None
    """The mean chance that at least one of that many answers to a case fails, of the cases with so many."""
    any_failure_in_one: float | None
    """The mean chance that a single answer fails, of the same cases."""
    spread: VarianceComponents | None
    """How much the failure probability differs between cases, and one answer from that of its case."""
    flaky: tuple[FlakyCase, ...]
    """Cases that fail sometimes, those nearest to half of their answers first."""

    @property
    def cases(self) -> int:
        """The cases that were asked more than once."""
        return self.always + self.sometimes + self.never


def find_flaky(seen: Observations, threshold: float | None, *, most: int = 1_000) -> Flakiness:
    """Compare the repeats of each case in each setting at a threshold; lists at most `most` flaky cases."""
    counts: list[tuple[int, int]] = []
    flaky: list[FlakyCase] = []
    for setting in seen.at(threshold):
        for key, tally in seen.tallies(setting):
            if tally.first < 2:
                continue
            counts.append((tally.first_failed, tally.first))
            if 0 < tally.first_failed < tally.first:
                flaky.append(
                    FlakyCase(
                        labels=dict(zip(seen.axes, setting.labels, strict=True)),
                        case=case_name(key),
                        failed=tally.first_failed,
                        answers=tally.first,
                    )
                )
    flaky.sort(key=lambda one: abs(one.failed / one.answers - 0.5))
    repeats = max((of for _, of in counts), default=0)
    whole = [(failed, of) for failed, of in counts if of == repeats]
    return Flakiness(
        threshold=threshold,
        always=sum(failed == of for failed, of in counts),
        sometimes=len(flaky),
        never=sum(failed == 0 for failed, _ in counts),
        repeats=repeats,
        any_failure=_mean_chance(whole, repeats),
        any_failure_in_one=_mean_chance(whole, 1),
        spread=variance_components(counts),
        flaky=tuple(flaky[:most]),
    )


def _mean_chance(counts: Sequence[tuple[int, int]], k: int) -> float | None:
    """The mean chance, over cases of (failed, answers), that at least one of `k` answers fails."""
    chances = [
        chance for failed, of in counts if (chance := any_failure_in_k(failed, of, k)) is not None
    ]
    return sum(chances) / len(chances) if chances else None
