"""Numbers that are said of a cell."""

from math import sqrt

Z_95 = 1.959963984540054
"""The two-sided 95 % quantile of the standard normal distribution."""


def failure_rate(failed: int, total: int) -> float | None:
    """The share that failed, in 0..1; None when nothing was measured."""
    assert 0 <= failed <= total, f"{failed} failed of {total}"
    return failed / total if total else None


def rate_bounds(failed: int, total: int, unanswered: int) -> tuple[float, float] | None:
    """The lowest and highest failure rate that answers to the `unanswered` could give.

    None when nothing was asked.
    """
    assert 0 <= failed <= total, f"{failed} failed of {total}"
    asked = total + unanswered
    return (failed / asked, (failed + unanswered) / asked) if asked else None


def wilson(failed: int, total: int, z: float = Z_95) -> tuple[float, float] | None:
    """The score interval for the failure rate, in 0..1; None when nothing was measured.

    Unlike the usual `p ± z·s/sqrt(n)` it is never empty and never leaves 0..1, also when all or none
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
    # At the edges the bound is 0 or 1 by algebra; rounding must not move it.
    low = 0.0 if failed == 0 else max(0.0, middle - half)
    high = 1.0 if failed == total else min(1.0, middle + half)
    return low, high
