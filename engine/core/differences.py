"""Paired differences: two values of an axis over the cases that both answered, and the verdict on them."""

from dataclasses import dataclass
from enum import StrEnum

from engine.core.statistics import SIGNIFICANCE


class Verdict(StrEnum):
    """What the corrected p of a comparison says of its first side; intervals only show the size."""

    BETTER = "better"
    """It fails less often."""
    WORSE = "worse"
    """It fails more often."""
    UNKNOWN = "cannot be told apart"


def judge(difference: float, p_corrected: float) -> Verdict:
    """The verdict on the first of two sides, whose rate of failure is higher by `difference`."""
    if p_corrected >= SIGNIFICANCE or not difference:
        return Verdict.UNKNOWN
    return Verdict.WORSE if difference > 0 else Verdict.BETTER


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """Two values of an axis over the cases that both answered, in cells that differ in nothing else.

    Rates and differences are shares of first answers that failed, each case with the same weight.

    Example:
        >>> [(pair.a, pair.b, str(pair.verdict)) for pair in run.analysis().pairs("number")]
        []
    """

    axis: str
    a: str
    b: str
    threshold: float | None
    cases: int
    rate_a: float
    rate_b: float
    difference: float
    """`rate_a` minus `rate_b`."""
    low: float
    high: float
    p: float
    p_corrected: float
    """Corrected by Holm's rule for all pairs of the axis at this threshold."""
    verdict: Verdict
    """On `a`: it fails less often or more often than `b`, or they cannot be told apart."""
    detectable: float | None
    """The difference that so many cases show with a chance of 80 %."""
    cases_needed: int | None
    """The cases that a difference of this size needs to be shown with a chance of 80 %; None if there is none."""

    @property
    def is_told_apart(self) -> bool:
        """Whether the corrected p says that one of them fails less often."""
        return self.verdict is not Verdict.UNKNOWN
