"""Statistics of a cell."""

from math import sqrt

Z_95 = 1.959963984540054
"""The two-sided 95 % quantile of the standard normal distribution."""


def failure_rate(failed: int, total: int) -> float | None:
    """The share that failed, in 0..1; None if `total` is 0. Unanswered questions belong to neither number."""
    assert 0 <= failed <= total, f"{failed} failed of {total}"
    return failed / total if total else None


def rate_bounds(failed: int, total: int, unanswered: int) -> tuple[float, float] | None:
    """The failure rates if all `unanswered` questions had passed, and if all had failed.

    None if nothing was asked.
    """
    assert 0 <= failed <= total, f"{failed} failed of {total}"
    asked = total + unanswered
    return (failed / asked, (failed + unanswered) / asked) if asked else None


def wilson(failed: int, total: int, z: float = Z_95) -> tuple[float, float] | None:
    """Wilson's score interval for the failure rate, in 0..1; None if nothing was measured.

    Unlike the usual `p ± z·s/sqrt(n)`, it is never empty and stays within 0..1 even if all or none
    failed. Source: E. B. Wilson, "Probable inference, the law of succession, and statistical
    inference", Journal of the American Statistical Association 22 (1927), 209-212.
    """
    assert 0 <= failed <= total, f"{failed} failed of {total}"
    if total == 0:
        return None
    rate = failed / total
    square = z * z / total
    middle = (rate + square / 2) / (1 + square)
    half = z / (1 + square) * sqrt(rate * (1 - rate) / total + square / (4 * total))
    # At the edges the bound is exactly 0 or 1; rounding must not change that.
    low = 0.0 if failed == 0 else max(0.0, middle - half)
    high = 1.0 if failed == total else min(1.0, middle + half)
    return low, high
