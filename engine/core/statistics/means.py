"""The mean of numbers of which several belong to one case, and how it differs between two sides."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import hypot, sqrt

from engine.core.statistics.quantiles import t_quantile
from engine.core.statistics.sign_flips import sign_flip_p

_GRID = 2**40
"""The steps from 0 to the largest difference: what rounding of floats makes unlike is the same on it."""


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
    # hypot does not overflow where a square would.
    distance = hypot(*(total - mean * numbers_of_case for total, numbers_of_case in cases))
    error = sqrt(count / (count - 1)) * distance / numbers
    half = t_quantile(0.975, count - 1) * error
    return MeanInterval(mean=mean, low=mean - half, high=mean + half, cases=count)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedMeans:
    """The means of two sides over the same cases, and their difference, in the unit of the numbers.

    `difference` is the first mean minus the second. `low` and `high` are its 95 % interval; None if the
    differences do not vary, so that their spread is unknown. `p` is two-sided, in 0..1, and not
    corrected for other comparisons; `holm` does that.
    """

    cases: int
    mean_a: float
    mean_b: float
    difference: float
    low: float | None
    high: float | None
    p: float


def paired_mean_difference(cases: Sequence[tuple[float, float]]) -> PairedMeans | None:
    """Compare the numbers of two sides over the same cases; None without cases.

    Each element is the first and the second side's number of a case, such as its mean over repeats, so
    each case counts the same. The interval is that of the paired t test: the mean of the n differences
    ± Student's t with n - 1 degrees of freedom times their standard deviation / sqrt(n). With one
    case, or if all differences are the same, there is none. `p` is that of `sign_flip_p`, with
    differences that are rounded to 2^-40 of the largest; with fewer than six cases it is never below 0.05.
    Sources: Student, "The probable error of a mean", Biometrika 6 (1908), 1-25; R. A. Fisher, "The
    Design of Experiments", 1935, section 21.
    """
    if not cases:
        return None
    count = len(cases)
    mean_a, mean_b = (sum(case[side] for case in cases) / count for side in (0, 1))
    differences = [a - b for a, b in cases]
    mean = sum(differences) / count
    largest = max(map(abs, differences))
    on_grid = [round(one / largest * _GRID) if largest else 0 for one in differences]
    low = high = None
    if len(set(on_grid)) > 1:
        sd = hypot(*(one - mean for one in differences)) / sqrt(count - 1)
        half = t_quantile(0.975, count - 1) * sd / sqrt(count)
        low, high = mean - half, mean + half
    return PairedMeans(
        cases=count,
        mean_a=mean_a,
        mean_b=mean_b,
        difference=mean,
        low=low,
        high=high,
        p=sign_flip_p([Fraction(one, _GRID) for one in on_grid]),
    )
