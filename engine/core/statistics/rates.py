"""The rate of one sample, and intervals for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TypeAlias

from engine.core.statistics.quantiles import Z_95, t_quantile

Counts: TypeAlias = tuple[int, int]
"""Of one case: the tests that failed, and all tests that were measured."""

MIN_CASES = 5
"""Cases with a failure, and cases with a pass, needed before the spread between cases is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateInterval:
    """A failure rate with its 95 % interval, all in 0..1.

    `deff` is the design effect: how many times larger the variance is than that of as many
    independent tests; 1 or more. `effective_size` is the number of independent tests that tell as
    much as these.
    """

    rate: float
    low: float
    high: float
    deff: float
    effective_size: float


def failure_rate(failed: int, total: int) -> float | None:
    """The share that failed, in 0..1; None if `total` is 0. Unanswered questions belong to neither number."""
    assert 0 <= failed <= total, f"{failed} failed of {total}"
    return failed / total if total else None


def rate_bounds(failed: int, total: int, unanswered: int) -> tuple[float, float] | None:
    """The failure rates if all `unanswered` questions had passed, and if all had failed.

    Both are in 0..1; None if nothing was asked. Missing cells are unanswered questions as well.
    Nothing is assumed about why they are missing. Source: C. F. Manski, "Nonparametric bounds on
    treatment effects", American Economic Review 80 (1990), 319-323.
    """
    assert 0 <= failed <= total, f"{failed} failed of {total}"
    assert unanswered >= 0, f"{unanswered} unanswered"
    asked = total + unanswered
    return (failed / asked, (failed + unanswered) / asked) if asked else None


def wilson(failed: int, total: int, z: float = Z_95) -> tuple[float, float] | None:
    """Wilson's score interval for the failure rate, in 0..1; None if nothing was measured.

    For tests that are independent: each case asked once. Unlike the usual `p ± z·s/sqrt(n)`, it is
    never empty and stays within 0..1 even if all or none failed. Source: E. B. Wilson, "Probable
    inference, the law of succession, and statistical inference", Journal of the American
    Statistical Association 22 (1927), 209-212.
    """
    assert 0 <= failed <= total, f"{failed} failed of {total}"
    return wilson_of_rate(failed / total, total, z) if total else None


def wilson_of_rate(rate: float, size: float, quantile: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval for a rate that was measured by `size` independent tests, in 0..1.

    `size` is above 0 and need not be whole: it may be an effective size. `quantile` is the two-sided
    quantile of the normal, or of Student's distribution. Source: as for `wilson`; with an effective
    size: E. L. Korn and B. I. Graubard, "Confidence intervals for proportions with small expected
    number of positive counts estimated from survey data", Survey Methodology 24 (1998), 193-201.
    """
    assert 0 <= rate <= 1, f"the rate {rate}"
    assert size > 0, f"the size {size}"
    square = quantile * quantile / size
    middle = (rate + square / 2) / (1 + square)
    half = quantile / (1 + square) * sqrt(rate * (1 - rate) / size + square / (4 * size))
    # At the edges the bound is exactly 0 or 1; rounding must not change that.
    low = 0.0 if rate == 0 else max(0.0, middle - half)
    high = 1.0 if rate == 1 else min(1.0, middle + half)
    return low, high


def clustered_rate(cases: Sequence[Counts]) -> RateInterval | None:
    """The failure rate of tests of which several belong to one case, with its interval.

    Each element is (failed, total) of one case; cases without tests are ignored. The variance is that
    of the sums by case, G/(G-1) · sum((failed - rate · total)²) / n² for G cases and n tests. Divided by the
    variance of n independent tests it is the design effect, at least 1. The interval is Wilson's at
    n / deff tests with the quantile of Student's t with G - 1 degrees of freedom. With fewer than
    five cases that have a failure, or that have a pass, the spread between cases is unknown: the
    size is then the number of cases.

    None with fewer than two cases. Sources: K.-Y. Liang and S. L. Zeger, "Longitudinal data analysis
    using generalized linear models", Biometrika 73 (1986), 13-22; Korn and Graubard, 1998.
    """
    assert all(0 <= failed <= total for failed, total in cases), "more failed than were measured"
    cases = [case for case in cases if case[1]]
    if len(cases) < 2:
        return None
    failed, total = (sum(column) for column in zip(*cases, strict=True))
    rate = failed / total
    if _has_few(cases):
        size = float(len(cases))
        deff = total / size
    else:
        deff = max(1.0, _variance(cases, rate, total) / (rate * (1 - rate) / total))
        size = total / deff
    low, high = wilson_of_rate(rate, size, t_quantile(0.975, len(cases) - 1))
    return RateInterval(rate=rate, low=low, high=high, deff=deff, effective_size=size)


def _has_few(cases: Sequence[Counts]) -> bool:
    with_failure = sum(failed > 0 for failed, _ in cases)
    with_pass = sum(failed < total for failed, total in cases)
    return min(with_failure, with_pass) < MIN_CASES


def _variance(cases: Sequence[Counts], rate: float, tests: int) -> float:
    """The variance of a rate from the sums by case."""
    count = len(cases)
    squares = sum((failed - rate * total) ** 2 for failed, total in cases)
    return count / (count - 1) * squares / tests**2
