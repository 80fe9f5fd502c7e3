"""What a report compares: pairs of values, flaky cases, and means of values, in a size that can be read."""

from collections.abc import Sequence
from dataclasses import fields, replace

from engine.core.axes import GroupAxis
from engine.core.matrix import MatrixAxis
from engine.core.reports import FlakyCase, FlakySummary, MeanRow, Pair, Pairs
from engine.results.analysis import Analysis
from engine.results.heat import compared_axes, label_of
from engine.results.pairs import Verdict

MOST_VALUES = 20
"""The most values of an axis whose pairs are compared: 190 pairs."""
MOST_PAIRS = 60
"""The most pairs of an axis that are shown."""
MOST_FLAKY = 20
"""The most flaky cases that are shown."""
_PAIR_FIELDS = tuple(field.name for field in fields(Pair))


def compare_axes(
    analysis: Analysis,
    axes: Sequence[MatrixAxis],
    folded_field: str | None,
    threshold: float | None,
) -> tuple[Pairs, ...]:
    """The pairs of each axis with several values, at one threshold.

    Groups are not compared: their cases are different ones. Axes whose pairs have no case in common are left out.
    """
    # Only this threshold is shown, and each comparison takes time.
    seen = replace(analysis.seen, settings=analysis.seen.at(threshold))
    at_one = Analysis(seen, analysis.fields)
    found = [
        _choose_pairs(at_one, axis.field, threshold)
        for axis in compared_axes(axes, folded_field)
        if 1 < len(axis.values) <= MOST_VALUES and not isinstance(axis.axis, GroupAxis)
    ]
    return tuple(one for one in found if one.total)


def _choose_pairs(analysis: Analysis, axis: str, threshold: float | None) -> Pairs:
    compared = analysis.pairs(axis)
    apart = [one for one in compared if one.verdict is not Verdict.UNKNOWN]
    compared.sort(key=lambda one: (one.verdict is Verdict.UNKNOWN, -abs(one.difference)))
    return Pairs(
        axis=axis,
        threshold=threshold,
        shown=tuple(
            Pair(**{name: getattr(one, name) for name in _PAIR_FIELDS})
            for one in compared[:MOST_PAIRS]
        ),
        total=len(compared),
        told_apart=len(apart),
    )


def count_flaky(analysis: Analysis, threshold: float | None) -> FlakySummary | None:
    """How many cases fail always, sometimes and never in their repeats; None if none was asked more than once."""
    found = analysis.flaky(threshold)
    if not found.cases:
        return None
    return FlakySummary(
        always=found.always,
        sometimes=found.sometimes,
        never=found.never,
        repeats=found.repeats,
        any_failure=found.any_failure,
        any_failure_in_one=found.any_failure_in_one,
        precision=found.precision,
        worst=tuple(
            FlakyCase(
                labels={name: str(label) for name, label in one.labels.items()},
                case=one.case,
                failed=one.failed,
                answers=one.answers,
            )
            for one in found.flaky[:MOST_FLAKY]
        ),
    )


def means_by(analysis: Analysis, axis: str, threshold: float | None) -> tuple[MeanRow, ...]:
    """The means of the numeric values of the job kind for each value of an axis, at one threshold."""
    if not any(one.values for one in analysis.seen.settings):
        return ()
    return tuple(
        MeanRow(name=label_of(one, axis), means=one.values)
        for one in analysis.summaries([axis])
        if one.threshold == threshold and one.values
    )
