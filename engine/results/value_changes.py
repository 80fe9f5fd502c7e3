"""How the values of answers changed between two runs: means of numbers, and shares that are true."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from statistics import fmean
from typing import TypeAlias

from engine.core.case_tallies import CaseKey
from engine.core.comparisons import Shift, ValueChange
from engine.core.samples import Setting
from engine.core.statistics import (
    SIGNIFICANCE,
    PairedMeans,
    holm,
    paired_difference,
    paired_mean_difference,
)
from engine.results.matching import Matched

_Pair: TypeAlias = tuple[Setting, Setting]


@dataclass(slots=True)
class _Side:
    """What one run has of a value in one case: the mean of each setting, and the number of answers."""

    means: list[float] = field(default_factory=list)
    answers: int = 0

    def add(self, mean: float, answers: int) -> None:
        self.means.append(mean)
        self.answers += answers


@dataclass(slots=True)
class _Found:
    """What both runs have of a value."""

    cells: int = 0
    is_share: bool = True
    cases: dict[CaseKey, tuple[_Side, _Side]] = field(default_factory=dict)
    """The later and the earlier run's, by case."""


def compare_values(matched: Matched) -> tuple[ValueChange, ...]:
    """Compare the values that both runs have in the same settings; p is corrected for all of them.

    A case of several settings, such as one that several models were asked, has the mean of their means, so
    that more repeats of a setting in one run do not shift it.
    """
    keys, found = matched.own.keys(), dict[str, _Found]()
    for own, other in _with_values(matched):
        scope, case = keys(own)
        for name in own.values.keys() & other.values.keys():
            _add(
                found.setdefault(name, _Found()), name, (own, other), case or (*scope, *own.labels)
            )
    compared = [(name, one, _compare(one)) for name, one in sorted(found.items()) if one.cases]
    corrected = holm([result.p for _, _, result in compared])
    return tuple(
        _change(name, one, result, p)
        for (name, one, result), p in zip(compared, corrected, strict=True)
    )


def _with_values(matched: Matched) -> Iterator[_Pair]:
    """The pairs of settings with answers in both: one threshold of each, since an answer's values are of all."""
    seen = set()
    for own, other in matched.answered():
        key = (own.labels, own.digests)
        if key not in seen:
            seen.add(key)
            yield own, other


def _add(found: _Found, name: str, pair: _Pair, case: CaseKey) -> None:
    means = [setting.values[name][0] / setting.values[name][1] for setting in pair]
    if not all(map(isfinite, means)):
        # The sum of enormous numbers is no number.
        return
    own, _ = pair
    found.cells += int(own.values[name][1])
    found.is_share = found.is_share and all(name in setting.shares for setting in pair)
    sides = found.cases.setdefault(case, (_Side(), _Side()))
    for side, setting, mean in zip(sides, pair, means, strict=True):
        side.add(mean, int(setting.values[name][1]))


def _compare(found: _Found) -> PairedMeans:
    result = paired_mean_difference(
        [(fmean(own.means), fmean(other.means)) for own, other in found.cases.values()]
    )
    assert result is not None, "a value is compared if a case has it"
    return result


def _change(name: str, found: _Found, result: PairedMeans, p: float) -> ValueChange:
    low, high = _share_bounds(found.cases.values()) if found.is_share else (result.low, result.high)
    return ValueChange(
        name=name,
        is_share=found.is_share,
        cells=found.cells,
        cases=result.cases,
        mean_before=result.mean_b,
        mean_after=result.mean_a,
        difference=result.difference,
        low=low,
        high=high,
        p=result.p,
        p_corrected=p,
        change=_judge(result.difference, p),
    )


def _share_bounds(cases: Iterable[Sequence[_Side]]) -> tuple[float, float]:
    """The interval of the difference of two shares, as for rates."""
    differences, fewest = [], []
    for own, other in cases:
        differences.append(fmean(own.means) - fmean(other.means))
        fewest.append(min(own.answers, other.answers))
    found = paired_difference(differences, min(fewest))
    assert found is not None, "a value is compared if a case has it"
    return found.low, found.high


def _judge(difference: float, p: float) -> Shift:
    if p >= SIGNIFICANCE or not difference:
        return Shift.UNKNOWN
    return Shift.HIGHER if difference > 0 else Shift.LOWER
