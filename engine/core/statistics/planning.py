"""What a further run needs: the difference that cases can show, more cases, or more repeats."""

from collections import Counter
from dataclasses import dataclass
from math import ceil, sqrt

from engine.core.statistics.quantiles import Z_95, normal_quantile
from engine.core.statistics.rates import Counts

POWER = 0.8
"""The usual chance of showing a difference that exists."""
_Z_95_AND_POWER = Z_95 + normal_quantile(POWER)


@dataclass(frozen=True, slots=True, kw_only=True)
class VarianceComponents:
    """How much the failure probability differs between cases, and one answer from its case's probability.

    Both are variances of a rate (in 0..1), so they are squares of shares.
    """

    between: float
    within: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePrecision:
    """How precisely a rate is known, and what would narrow its interval to a wished half width."""

    cases: int
    repeats: float
    """The mean number of answers of a case, under the same conditions."""
    half_width: float
    """Of the 95 % interval now, as a share: some 1.96 standard errors."""
    wished: float
    """The half width that is wished for, as a share."""
    repeats_needed: int | None
    """Repeats of the same cases, in all, that narrow it so far; None if no number of repeats does."""
    cases_needed: int
    """Cases in all, each repeated as often as now, that narrow it so far."""


def detectable_difference(sd: float, cases: int) -> float | None:
    """The smallest difference of two rates that `cases` show with a chance of 80 %; None without cases.

    `sd` is the standard deviation of the differences by case; the test is two-sided at 5 %. It is (1.96 + 0.84)
    · sd / sqrt(cases), and above 1 if no difference could be shown. Source: E. Miller, "Adding error
    bars to evals", arXiv:2411.00640, 2024, section 5.
    """
    assert sd >= 0, f"the standard deviation {sd}"
    return _Z_95_AND_POWER * sd / sqrt(cases) if cases else None


def cases_needed(difference: float, variance: float) -> float | None:
    """The cases that show a `difference` of two rates with a chance of 80 %; None if it is 0.

    `variance` is that of the differences by case. The number is not rounded: take the next whole one. It is (1.96 + 0.84)² · variance / difference².
    Source: Miller, 2024, section 5.
    """
    assert variance >= 0, f"the variance {variance}"
    return _Z_95_AND_POWER**2 * variance / difference**2 if difference else None


def variance_components(
    cases: Counter[Counts], within: float | None = None
) -> VarianceComponents | None:
    """The variance between the cases and within them, from how many cases have each (failed, total).

    One-way analysis of variance: within is the mean square of answers around their case's rate,
    between is (mean square of the cases - within) / answers a case, or 0 if that is negative. With
    unequal numbers of answers n_i, "answers a case" is (n - sum(n_i²) / n) / (cases - 1).

    `within` is given if it is known from a finer division, such as from the repeats of each case under the same
    conditions, where a case's answers under several conditions are added up.

    None with fewer than two cases, or if no case has two answers: then the two cannot be told
    apart. Source: S. R. Searle, G. Casella and C. E. McCulloch, "Variance Components", 1992,
    section 3.6.
    """
    assert all(0 <= failed <= total for failed, total in cases), "more failed than were measured"
    # Many cases have equal counts: each is computed once.
    each = [(failed, total, times) for (failed, total), times in cases.items() if total]
    failed = sum(fails * times for fails, _, times in each)
    tests = sum(total * times for _, total, times in each)
    count = sum(times for _, _, times in each)
    if count < 2 or tests == count:
        return None
    rate = failed / tests
    if within is None:
        inside = sum(times * fails * (total - fails) / total for fails, total, times in each)
        within = inside / (tests - count)
    squares = sum(times * total * (fails / total - rate) ** 2 for fails, total, times in each)
    among = squares / (count - 1)
    answers = (tests - sum(times * total**2 for _, total, times in each) / tests) / (count - 1)
    return VarianceComponents(between=max(0.0, (among - within) / answers), within=within)


def repeats_needed(components: VarianceComponents, cases: int, half_width: float) -> float | None:
    """The repeats of each case after which the interval is at most rate ± `half_width` (in 0..1).

    None if no number of repeats is enough, because already the cases differ too much: more cases are
    needed. The number is not rounded: take the next whole one. The variance of the rate is (between
    + within / repeats) / cases; solved for repeats: within / (cases · half_width² / 1.96² - between).
    Source: Miller, 2024, section 3.
    """
    assert half_width > 0, f"the half width {half_width}"
    left = cases * (half_width / Z_95) ** 2 - components.between
    return components.within / left if left > 0 else None


def rate_precision(
    components: VarianceComponents, cases: int, repeats: float, wished: float
) -> RatePrecision | None:
    """How precisely the rate of so many cases and repeats is known, and what narrows it to ± `wished` (in 0..1).

    The half width is 1.96 · sqrt((between + within / repeats) / cases), solved for the repeats or for the
    cases. None if nothing varies: then the variances say nothing of how much more would be needed. Source:
    Miller, 2024, section 3.
    """
    assert cases > 0, f"{cases} cases"
    assert repeats > 0, f"{repeats} repeats"
    variance = components.between + components.within / repeats
    if not variance:
        return None
    more = repeats_needed(components, cases, wished)
    return RatePrecision(
        cases=cases,
        repeats=repeats,
        half_width=Z_95 * sqrt(variance / cases),
        wished=wished,
        repeats_needed=None if more is None else ceil(more),
        cases_needed=ceil(variance * (Z_95 / wished) ** 2),
    )
