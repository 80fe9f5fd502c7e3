"""The difference of two rates: over the same cases, or over different ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import sqrt
from statistics import fmean

from engine.core.statistics.quantiles import Z_95, t_quantile
from engine.core.statistics.rates import Counts
from engine.core.statistics.sign_flips import sign_flip_p

_MOST_REPEATS = 5
"""Repeats beyond which pseudo-cases keep their size: with smaller ones, intervals covered less than 93 %."""

SIGNIFICANCE = 0.05
"""The corrected p from which on two sides cannot be told apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceInterval:
    """A difference of two rates, the first minus the second, with its 95 % interval; all in -1..1.

    `sd` is the standard deviation of the differences by case. It counts the pseudo-cases, so it is
    not 0 if all cases seen differ alike.
    """

    difference: float
    low: float
    high: float
    sd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedComparison:
    """Two sides that answered the same cases: their difference, and the p of its being chance.

    The rates are the means over the cases, in 0..1. `p` is two-sided and not corrected for other
    comparisons; `holm` does that.
    """

    cases: int
    rate_a: float
    rate_b: float
    interval: DifferenceInterval
    p: float


def compare_pairs(
    pairs: Sequence[tuple[Counts, Counts]], repeats: int | None = None
) -> PairedComparison | None:
    """Compare two sides by the (failed, total) that each has of the same cases; None without cases.

    The difference is the mean over the cases of the first side's rate minus the second's: each case
    counts the same, also where failing cases have more tests than others. Cases that a side has no
    test of are ignored. `repeats` is how often each case
    was asked, by default the fewest tests that a side has of a case.
    """
    assert all(0 <= f <= n for pair in pairs for f, n in pair), "more failed than were measured"
    pairs = [(a, b) for a, b in pairs if a[1] and b[1]]
    if not pairs:
        return None
    rates = [(Fraction(*a), Fraction(*b)) for a, b in pairs]
    differences = [a - b for a, b in rates]
    fewest = min(total for pair in pairs for _, total in pair)
    interval = paired_difference([float(one) for one in differences], repeats or fewest)
    assert interval is not None
    return PairedComparison(
        cases=len(pairs),
        rate_a=fmean(float(a) for a, _ in rates),
        rate_b=fmean(float(b) for _, b in rates),
        interval=interval,
        p=sign_flip_p(differences),
    )


def paired_difference(differences: Sequence[float], repeats: int) -> DifferenceInterval | None:
    """The mean of the differences of rates by case, with its interval; None without cases.

    `repeats` is how often each side was asked each case. Two pseudo-cases that differ by ±1 /
    sqrt(repeats), or ±1 / sqrt(5) with more repeats, are added to the n cases. The interval is the
    mean of the n + 2 ± Student's t with n + 1 degrees of freedom times their standard deviation /
    sqrt(n + 2), within -1..1. With one answer a case it is the interval of Bonett and Price: the same
    with the normal quantile and a variance divided by n + 2. `difference` is the mean of the n
    cases, without the pseudo-cases.

    Source: D. G. Bonett and R. M. Price, "Adjusted Wald confidence interval for a difference of
    binomial proportions based on paired data", Journal of Educational and Behavioral Statistics 37
    (2012), 479-488; with repeats it is ours, and its coverage is measured.
    """
    assert repeats > 0, f"{repeats} repeats"
    count = len(differences)
    if not count:
        return None
    pseudo = 1 / sqrt(min(repeats, _MOST_REPEATS))
    mean = sum(differences) / (count + 2)
    squares = sum((one - mean) ** 2 for one in (*differences, pseudo, -pseudo))
    if repeats == 1:
        quantile, sd = Z_95, sqrt(squares / (count + 2))
    else:
        quantile, sd = t_quantile(0.975, count + 1), sqrt(squares / (count + 1))
    half = quantile * sd / sqrt(count + 2)
    return DifferenceInterval(
        difference=sum(differences) / count,
        low=max(-1.0, mean - half),
        high=min(1.0, mean + half),
        sd=sd,
    )


def difference_of_intervals(
    a: tuple[float, float, float], b: tuple[float, float, float]
) -> tuple[float, float]:
    """The interval of one rate minus another, from (rate, low, high) of each, in -1..1.

    The distances from the rates to the ends of their intervals are squared and added: Newcombe's rule
    for Wilson's intervals of different cases, and for any two independent intervals, such as those of
    `clustered_rate`. Sources: R. G. Newcombe, "Interval estimation for the difference between
    independent proportions", Statistics in Medicine 17 (1998), 873-890, method 10; G. Y. Zou and A.
    Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27
    (2008), 1693-1702.
    """
    (rate_a, low_a, high_a), (rate_b, low_b, high_b) = a, b
    difference = rate_a - rate_b
    return (
        difference - sqrt((rate_a - low_a) ** 2 + (high_b - rate_b) ** 2),
        difference + sqrt((high_a - rate_a) ** 2 + (rate_b - low_b) ** 2),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct the p of several comparisons, in their order, for there being several; each in 0..1.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none becomes smaller than
    the one before it, none larger than 1. Whatever holds, the chance that any corrected p of
    comparisons without a difference is at most 0.05 is at most 0.05. Source: S. Holm, "A simple
    sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979),
    65-70.
    """
    count = len(p_values)
    corrected = [0.0] * count
    largest = 0.0
    for rank, index in enumerate(sorted(range(count), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (count - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
