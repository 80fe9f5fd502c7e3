"""The mean of numbers of which several belong to one case."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from engine.core.statistics.quantiles import t_quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanInterval:
    """A mean with its 95 % interval, in the unit of the numbers; without an interval with one case."""

    mean: float
    low: float | None
    high: float | None
    cases: int


def clustered_mean(cases: Sequence[tuple[float, int]]) -> MeanInterval | None:
    """The mean of the numbers of several cases, with its interval.

    Each element is (sum, count) of the numbers of one case; cases without numbers are ignored. The
    mean is that of all numbers. Its variance is that of the sums by case, G/(G-1) · sum((sum - mean ·
    count)²) / n² for G cases and n numbers; the interval is the mean ± Student's t with G - 1 degrees
    of freedom times its root. One number a case: the ordinary t interval.

    None without numbers; without an interval (`low` and `high` None) with one case. Source: K.-Y.
    Liang and S. L. Zeger, "Longitudinal data analysis using generalized linear models", Biometrika
    73 (1986), 13-22.
    """
    cases = [case for case in cases if case[1]]
    if not cases:
        return None
    count, numbers = len(cases), sum(count for _, count in cases)
    mean = sum(total for total, _ in cases) / numbers
    if count == 1:
        return MeanInterval(mean=mean, low=None, high=None, cases=1)
    squares = sum((total - mean * numbers_of_case) ** 2 for total, numbers_of_case in cases)
    error = sqrt(count / (count - 1) * squares) / numbers
    half = t_quantile(0.975, count - 1) * error
    return MeanInterval(mean=mean, low=mean - half, high=mean + half, cases=count)
