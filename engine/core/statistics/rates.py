"""The rate of one sample, and intervals for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from math import exp, log, sqrt
from typing import TypeAlias

from engine.core.statistics.quantiles import Z_95, t_quantile

Counts: TypeAlias = tuple[int, int]
"""Of one case: the tests that failed, and all tests that were measured."""

MIN_CASES = 5
"""Cases with a failure, and cases with a pass, needed before the spread between cases is used."""


class Method(StrEnum):
    """How an interval was made."""

    WILSON = "Wilson"
    """Wilson's score interval: each test is the one answer to a case of its own."""
    CLUSTERED = "clustered"
    """By case, because several answers to one case are not independent."""
    LAYERED = "layered"
    """By case, where cases that failed have more tests than others."""
    ONE_REPEAT = "one repeat"
    """Wilson's at the tests of one repeat, because answers do not name their cases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateInterval:
    """A failure rate with its 95 % interval, all in 0..1.

    `deff` is the design effect: how many times larger the variance is than that of as many
    independent tests; 1 or more. `effective_size` is the number of independent tests that tell as
    much as these.
    """

    method: Method
    rate: float
    low: float
    high: float
    deff: float
    effective_size: float


def failure_rate(failed: int, total: int) -> float | None:
    """The share that failed, in 0..1; None if `total` is 0. Unanswered questions belong to neither number."""
    assert 0 <= failed <= total, f"{failed} failed of {total}"
    return failed / total if total else None


@lru_cache(4_096)
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


def rate_interval(cases: Sequence[Counts], *, layered: bool = False) -> RateInterval | None:
    """The failure rate of tests of named cases, with the interval that fits how they were asked.

    Each element is (failed, total) of one case. `layered` says that a test that fails leads to
    further tests of its case, so that the rate is that of `layered_rate`. Otherwise the interval is
    Wilson's if each case was asked once, and that of `clustered_rate` if not. None where the
    function that fits has none.
    """
    if layered:
        return layered_rate(cases)
    failed, total = _sums(cases)
    if any(count > 1 for _, count in cases):
        return clustered_rate(cases)
    return _of_size(Method.WILSON, failed, total, float(total)) if total else None


def clustered_rate(cases: Sequence[Counts]) -> RateInterval | None:
    """The failure rate of tests of which several belong to one case, with its interval.

    Each element is (failed, total) of one case; cases without tests are ignored. The variance is
    that of the sums by case, G/(G-1) · sum((failed - rate · total)²) / n² for G cases and n tests.
    Divided by the variance of n independent tests it is the design effect, at least 1. The interval
    is Wilson's at n / deff tests with the quantile of Student's t with G - 1 degrees of freedom.
    With fewer than five cases that have a failure, or that have a pass, the spread between cases is
    unknown: the size is then the number of cases.

    None with fewer than two cases. Not for layered answers, whose interval would be too narrow.
    Sources: K.-Y. Liang and S. L. Zeger, "Longitudinal data analysis using generalized linear
    models", Biometrika 73 (1986), 13-22; Korn and Graubard, 1998.
    """
    cases = [case for case in cases if case[1]]
    failed, total = _sums(cases)
    if len(cases) < 2:
        return None
    size = float(len(cases)) if _has_few(cases) else _effective_size(cases)
    return _of_size(Method.CLUSTERED, failed, total, size, t_quantile(0.975, len(cases) - 1))


def layered_rate(cases: Sequence[Counts]) -> RateInterval | None:
    """The failure rate where a test that fails leads to further tests of its case, with its interval.

    Each element is (failed, total) of one case, all layers and repeats together. Cases that fail
    have more tests, so few of them can decide the rate: with a few failures the true rate may lie
    far above it. The interval is log(failed / passed) ± t · its standard error, turned back into
    rates. The error is the jackknife's: sqrt((G-1)/G · sum((without one case - with all)²)) over the
    G cases, at least that of independent tests. The degrees of freedom of t are the effective
    number of cases that fail, sum(failed)² / sum(failed²), or of those that pass if that is smaller,
    and at most G - 1.

    None with fewer than five cases that have a failure, or that have a pass: then any rate above, or
    below, remains possible. Sources: J. W. Tukey, "Bias and confidence in not quite large samples",
    Annals of Mathematical Statistics 29 (1958), 614; effective numbers: L. Kish, "Survey Sampling",
    1965, and as degrees of freedom: A. V. Carter, K. T. Schnepel and D. G. Steigerwald, Review of
    Economics and Statistics 99 (2017), 698-709. Their combination is ours; its coverage is measured.
    """
    cases = [case for case in cases if case[1]]
    failed, total = _sums(cases)
    if _has_few(cases):
        return None
    rate, count, passed = failed / total, len(cases), total - failed
    odds = log(failed / passed)
    without_one = (log((failed - f) / (passed - (n - f))) for f, n in cases)
    variance = (count - 1) / count * sum((one - odds) ** 2 for one in without_one)
    deff = max(1.0, variance * rate * (1 - rate) * total)
    freedom = min(
        count - 1,
        failed**2 / sum(f**2 for f, _ in cases),
        passed**2 / sum((n - f) ** 2 for f, n in cases),
    )
    half = t_quantile(0.975, freedom) * sqrt(deff / (rate * (1 - rate) * total))
    low, high = (1 / (1 + exp(-end)) for end in (odds - half, odds + half))
    return RateInterval(
        method=Method.LAYERED,
        rate=rate,
        low=low,
        high=high,
        deff=deff,
        effective_size=total / deff,
    )


def _of_size(
    method: Method, failed: int, total: int, size: float, quantile: float = Z_95
) -> RateInterval:
    low, high = wilson_of_rate(failed / total, size, quantile)
    return RateInterval(
        method=method,
        rate=failed / total,
        low=low,
        high=high,
        deff=total / size,
        effective_size=size,
    )


def _sums(cases: Sequence[Counts]) -> tuple[int, int]:
    assert all(0 <= failed <= total for failed, total in cases), "more failed than were measured"
    return sum(failed for failed, _ in cases), sum(total for _, total in cases)


def _has_few(cases: Sequence[Counts]) -> bool:
    """Whether the spread between the cases is unknown, because few have a failure or few a pass."""
    with_failure = sum(failed > 0 for failed, _ in cases)
    with_pass = sum(failed < total for failed, total in cases)
    return min(with_failure, with_pass) < MIN_CASES


def _effective_size(cases: Sequence[Counts]) -> float:
    """The number of independent tests with the variance that the sums by case have."""
    failed, total = _sums(cases)
    rate, count = failed / total, len(cases)
    squares = sum((f - rate * n) ** 2 for f, n in cases)
    variance = count / (count - 1) * squares / total**2
    return total / max(1.0, variance / (rate * (1 - rate) / total))
