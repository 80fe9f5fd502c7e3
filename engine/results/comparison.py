"""What changed between two runs, from their matched settings."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from engine.core.comparisons import CaseChange, Change, ChangedText, Comparison, RateChange
from engine.core.differences import judge
from engine.core.estimates import Estimate, Rate
from engine.core.rows import Coverage
from engine.core.samples import Setting
from engine.core.statistics import (
    compare_pairs,
    detectable_difference,
    difference_of_intervals,
    holm,
)
from engine.results.matching import Matched
from engine.results.observations import Observations, case_name
from engine.results.value_changes import compare_values

_PAIRED, _UNPAIRED = "paired by case", "newcombe"

_Pair: TypeAlias = tuple[Setting, Setting]
"""A setting of the later run, and its counterpart in the earlier one."""


def compare(matched: Matched, *, before: str, after: str, is_edit: bool) -> Comparison:
    """Compare two runs, of which `matched.own` is the later one; `before` and `after` are their names."""
    answered = list(matched.answered())
    pairs = [pair for pair in matched.pairs if not (pair[0].answers and pair[1].answers)]
    new, missing = _count_other_cases(matched, answered)
    return Comparison(
        before=before,
        after=after,
        is_edit=is_edit,
        coverage_before=_coverage(matched.other),
        coverage_after=_coverage(matched.own),
        changed=tuple(
            ChangedText(axis=one.field, before=one.other, after=one.own)
            for one in matched.match.changes
        ),
        ignored=matched.match.ignored,
        cells_compared=sum(one.coverage.answered for one, _ in answered),
        cells_new=sum(one.coverage.cells for one in matched.only_own),
        cells_missing=sum(one.coverage.cells for one in matched.only_other),
        cells_unanswered=sum(one.coverage.cells for one, _ in pairs)
        + sum(one.coverage.cells - one.coverage.answered for one, _ in answered),
        cells_unnamed=sum(
            one.coverage.answered for one, other in answered if not _is_named(matched, one, other)
        ),
        cases_new=new,
        cases_missing=missing,
        overall=tuple(_overall(matched, answered)),
        by_axis=_by_axis(matched, answered),
        cells=tuple(_cells(matched)),
        flipped=tuple(_flipped(matched, answered)),
        values=compare_values(matched),
    )


def _coverage(seen: Observations) -> Coverage:
    found = Coverage()
    for setting in seen.settings:
        found.add_all(setting.coverage)
    return found


def _is_named(matched: Matched, one: Setting, other: Setting) -> bool:
    return any(True for _ in matched.shared_cases(one, other))


def _count_other_cases(matched: Matched, pairs: Iterable[_Pair]) -> tuple[int, int]:
    """Cases of the later run alone, and of the earlier run alone, in settings of both that name them."""
    new = missing = 0
    for one, other in pairs:
        shared = sum(1 for _ in matched.shared_cases(one, other))
        if shared:
            new += len(matched.own.tallies(one)) - shared
            missing += len(matched.other.tallies(other)) - shared
    return new, missing


def _overall(matched: Matched, pairs: Sequence[_Pair]) -> Iterator[RateChange]:
    for at in _thresholds(one.threshold for one, _ in pairs):
        yield _compare_rates(matched, [one for one in pairs if one[0].threshold == at], {}, at)


def _thresholds(found: Iterable[float | None]) -> list[float | None]:
    return sorted(set(found), key=lambda at: -1.0 if at is None else at)


def _by_axis(matched: Matched, pairs: Sequence[_Pair]) -> Mapping[str, tuple[RateChange, ...]]:
    tables = {}
    for axis in matched.match.fields:
        at = matched.own.axes.index(axis)
        groups: dict[float | None, dict[tuple[Any, str | None], list[_Pair]]] = {}
        for pair in pairs:
            by_value = groups.setdefault(pair[0].threshold, {})
            by_value.setdefault(_identity(pair[0], at), []).append(pair)
        if max(map(len, groups.values()), default=0) < 2:
            continue
        rates = [
            _compare_rates(matched, group, {axis: label}, threshold)
            for threshold in _thresholds(groups)
            for (label, _), group in groups[threshold].items()
        ]
        tables[axis] = tuple(_correct(rates))
    return tables


def _identity(setting: Setting, at: int) -> tuple[Any, str | None]:
    return setting.labels[at], setting.digests[at]


def _cells(matched: Matched) -> Iterator[RateChange]:
    """Each setting of either run, in the order of the later one; those of the earlier run alone come last."""
    counterparts = {id(one): other for one, other in matched.pairs}
    found = []
    for one in matched.own.settings:
        other = counterparts.get(id(one))
        labels = dict(zip(matched.own.axes, one.labels, strict=True))
        if other is not None and one.answers and other.answers:
            found.append(_compare_rates(matched, [(one, other)], labels, one.threshold))
        elif other is not None and other.answers:
            found.append(_only(one, labels, Change.MISSING))
        else:
            found.append(_only(one, labels, Change.NEW if one.answers else Change.UNKNOWN))
    found += [
        _only(one, dict(zip(matched.other.axes, one.labels, strict=True)), Change.MISSING)
        for one in matched.only_other
    ]
    return iter(_correct(found))


def _only(setting: Setting, labels: Mapping[str, Any], change: Change) -> RateChange:
    return RateChange(
        labels=labels, threshold=setting.threshold, cells=setting.coverage.cells, change=change
    )


def _compare_rates(
    matched: Matched,
    pairs: Sequence[_Pair],
    labels: Mapping[str, Any],
    threshold: float | None,
) -> RateChange:
    """The change over some settings at one threshold; not corrected for others."""
    cells = sum(one.coverage.answered for one, _ in pairs)
    known: dict[str, Any] = {"labels": labels, "threshold": threshold, "cells": cells}
    sums: dict[Any, list[int]] = {}
    for pair in pairs:
        for case in matched.shared_cases(*pair):
            own, other = case.own, case.other
            counts = (own.first_failed, own.first, other.first_failed, other.first)
            before = sums.setdefault(case.key, [0, 0, 0, 0])
            sums[case.key] = [before[at] + counts[at] for at in range(4)]
    found = compare_pairs([((a, b), (c, d)) for a, b, c, d in sums.values()])
    if found is None:
        return _compare_samples(matched, pairs, known)
    return RateChange(
        **known,
        change=_judge(found.interval.difference, found.p),
        cases=found.cases,
        rate_before=found.rate_b,
        rate_after=found.rate_a,
        difference=found.interval.difference,
        low=found.interval.low,
        high=found.interval.high,
        interval=_PAIRED,
        detectable=detectable_difference(found.interval.sd, found.cases),
        p=found.p,
        p_corrected=found.p,
    )


def _compare_samples(matched: Matched, pairs: Sequence[_Pair], known: dict[str, Any]) -> RateChange:
    """The change where the runs have no case in common, or do not name their cases: two samples."""
    own, other = (
        _estimate(seen, [pair[side] for pair in pairs])
        for side, seen in enumerate((matched.own, matched.other))
    )
    if own.rate is None or other.rate is None:
        return RateChange(**known, change=Change.UNKNOWN)
    difference = own.rate - other.rate
    bounds = None
    if not (own.low is None or own.high is None or other.low is None or other.high is None):
        bounds = difference_of_intervals(
            (own.rate, own.low, own.high), (other.rate, other.low, other.high)
        )
    is_clear = bounds is not None and not bounds[0] <= 0 <= bounds[1]
    return RateChange(
        **known,
        change=_direction(difference) if is_clear else Change.UNKNOWN,
        rate_before=other.rate,
        rate_after=own.rate,
        difference=difference,
        low=None if bounds is None else bounds[0],
        high=None if bounds is None else bounds[1],
        interval=None if bounds is None else _UNPAIRED,
    )


def _estimate(seen: Observations, settings: Sequence[Setting]) -> Estimate:
    """The rate of first answers; where it is unknown, that of all tests."""
    sample = seen.sample(settings)
    first = sample.estimate(Rate.FIRST)
    return sample.estimate(Rate.FAILURE) if first.rate is None else first


def _direction(difference: float) -> Change:
    return Change.WORSE if difference > 0 else Change.BETTER


def _judge(difference: float, p: float) -> Change:
    """The verdict that two values of an axis would get, on the later run; every verdict is a change."""
    return Change(judge(difference, p))


def _correct(rates: Iterable[RateChange]) -> list[RateChange]:
    """Rates of one table with p corrected for all of them at a threshold.

    Two samples have no p, and what cannot be corrected is not called better or worse.
    """
    found = list(rates)
    for threshold in {one.threshold for one in found}:
        tested = [
            number
            for number, one in enumerate(found)
            if one.threshold == threshold and one.p is not None
        ]
        for number, p in zip(tested, holm([found[at].p or 0.0 for at in tested]), strict=True):
            one = found[number]
            found[number] = replace(one, p_corrected=p, change=_judge(one.difference or 0.0, p))
    several = len(found) > 1
    return [
        replace(one, change=Change.UNKNOWN) if several and one.interval == _UNPAIRED else one
        for one in found
    ]


def _flipped(matched: Matched, pairs: Sequence[_Pair]) -> list[CaseChange]:
    found = []
    for one, other in pairs:
        labels = dict(zip(matched.own.axes, one.labels, strict=True))
        for case in matched.shared_cases(one, other):
            own, theirs = case.own, case.other
            if not (own.first and theirs.first):
                continue
            is_failing = 2 * own.first_failed >= own.first
            if is_failing == (2 * theirs.first_failed >= theirs.first):
                continue
            found.append(
                CaseChange(
                    labels=labels,
                    labels_before=dict(zip(matched.other.axes, other.labels, strict=True)),
                    digests=dict(zip(matched.own.axes, one.digests, strict=True)),
                    digests_before=dict(zip(matched.other.axes, other.digests, strict=True)),
                    threshold=one.threshold,
                    case=case_name(case.key),
                    failed_before=theirs.first_failed,
                    answers_before=theirs.first,
                    failed_after=own.first_failed,
                    answers_after=own.first,
                )
            )
    return sorted(
        found, key=lambda one: -one.difference if one.difference > 0 else 2 + one.difference
    )
