"""Flaky cases in words: how often repeats agree, and whether more repeats or more cases say more."""

from engine.core.flakiness import Flakiness
from engine.core.listing import quantity
from engine.core.statistics import RatePrecision


def flaky_words(flaky: Flakiness) -> str:
    """How much more often a case fails if it is asked several times, and what would narrow the run's rate.

    Empty if neither is known.
    """
    sentences = []
    if flaky.any_failure is not None and flaky.any_failure_in_one is not None:
        sentences.append(
            f"One answer fails with a chance of {flaky.any_failure_in_one:.0%}, at least one of"
            f" {flaky.repeats:,} with {flaky.any_failure:.0%}."
        )
    if flaky.precision is not None:
        sentences.append(precision_words(flaky.precision))
    return " ".join(sentences)


def precision_words(precision: RatePrecision) -> str:
    """How precisely the first rate of the run is known, and whether more repeats or more cases narrow it."""
    wished = f"\u00b1{precision.wished * 100:.0f} points"
    more = quantity(max(0, precision.cases_needed - precision.cases), "more case")
    if precision.half_width <= precision.wished:
        return f"The first rate of the run is known to \u00b1{_points(precision)} points."
    if precision.repeats_needed is None:
        return (
            f"The first rate of the run is known to \u00b1{_points(precision)} points. No number of"
            f" repeats narrows it to {wished}: that takes {more}."
        )
    return (
        f"The first rate of the run is known to \u00b1{_points(precision)} points;"
        f" {precision.repeats_needed:,} repeats in all would narrow it to {wished}, and so would"
        f" {more}."
    )


def _points(precision: RatePrecision) -> str:
    """Its half width in points, with a decimal where it would look like the wished one without."""
    points = precision.half_width * 100
    return f"{points:.1f}" if abs(points - precision.wished * 100) < 1 else f"{points:.0f}"
