"""What a report compares: pairs of values, flaky cases, and means of values, in a size that can be read."""

from collections.abc import Sequence
from dataclasses import replace

from engine.core.axes import GroupAxis
from engine.core.flakiness import Flakiness
from engine.core.matrix import MatrixAxis
from engine.core.reports import MeanRow, Pairs
from engine.results.analysis import Analysis
from engine.results.heat import compared_axes, label_of

MOST_VALUES = 20
"""The most values of an axis whose pairs are compared: 190 pairs."""
MOST_PAIRS = 60
"""The most pairs of an axis that are shown."""
MOST_FLAKY = 20
"""The most flaky cases that are shown."""


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
    compared.sort(key=lambda one: (not one.is_told_apart, -abs(one.difference)))
    return Pairs(
        axis=axis,
        threshold=threshold,
        shown=tuple(compared[:MOST_PAIRS]),
        total=len(compared),
        told_apart=sum(one.is_told_apart for one in compared),
    )


def count_flaky(analysis: Analysis, threshold: float | None) -> Flakiness | None:
    """How often the repeats of cases agree, with the most flaky ones; None if none was asked more than once."""
    found = analysis.flaky(threshold)
    return replace(found, flaky=found.flaky[:MOST_FLAKY]) if found.cases else None


def means_by(analysis: Analysis, axis: str, threshold: float | None) -> tuple[MeanRow, ...]:
    """The means of the numeric values of the job kind for each value of an axis, at one threshold."""
    if not any(one.values for one in analysis.seen.settings):
        return ()
    return tuple(
        MeanRow(name=label_of(one, axis), means=one.values)
        for one in analysis.summaries([axis])
        if one.threshold == threshold and one.values
    )
