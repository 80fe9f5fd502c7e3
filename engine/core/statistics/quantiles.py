"""Quantiles of the standard normal and of Student's distribution."""

from functools import lru_cache
from math import exp, lgamma, log, pi, sqrt
from statistics import NormalDist

Z_95 = 1.959963984540054
"""The two-sided 95 % quantile of the standard normal distribution."""

_NORMAL = NormalDist()
_MANY = 1000
"""Degrees of freedom from which the expansion around the normal quantile is exact to 1e-12."""
_TINY = 1e-300
_PRECISION = 1e-16


def normal_quantile(p: float) -> float:
    """The value that a standard normal variable stays below with probability `p`, in 0..1 exclusive."""
    assert 0 < p < 1, f"the probability {p}"
    return _NORMAL.inv_cdf(p)


@lru_cache(maxsize=4096)
def t_quantile(p: float, freedom: float) -> float:
    """The value that Student's t with `freedom` degrees of freedom stays below with probability `p`.

    `p` is in 0..1 exclusive, `freedom` above 0, whole or not. Exact to 1e-8 at least. Source: the tail
    is the regularized incomplete beta function by its continued fraction (NIST Handbook of
    Mathematical Functions, 2010, 8.17.22), inverted by Newton's method; for 1000 degrees of freedom
    and more the expansion 26.7.5 of Abramowitz and Stegun, 1964.
    """
    assert 0 < p < 1, f"the probability {p}"
    assert freedom > 0, f"{freedom} degrees of freedom"
    if p < 0.5:
        return -t_quantile(1 - p, freedom)
    start = normal_quantile(p)
    if freedom >= _MANY:
        return _expand(start, freedom)
    # The tail is convex, and the normal quantile lies below the one sought: each step of Newton's
    # method stays below it, until rounding ends the climb.
    scale = _density_scale(freedom)
    found = start
    while True:
        density = scale * (1 + found * found / freedom) ** (-(freedom + 1) / 2)
        step = (_upper_tail(found, freedom) - (1 - p)) / density
        if step <= 1e-13 * max(1.0, found):
            return found
        found += step


def _expand(z: float, freedom: float) -> float:
    square = z * z
    terms = (
        (square + 1) / 4,
        ((5 * square + 16) * square + 3) / 96,
        (((3 * square + 19) * square + 17) * square - 15) / 384,
        ((((79 * square + 776) * square + 1482) * square - 1920) * square - 945) / 92160,
    )
    return z * (1 + sum(term / freedom**power for power, term in enumerate(terms, start=1)))


def _density_scale(freedom: float) -> float:
    return exp(lgamma((freedom + 1) / 2) - lgamma(freedom / 2)) / sqrt(freedom * pi)


def _upper_tail(t: float, freedom: float) -> float:
    """The probability of more than `t`, which is at least 0."""
    square = t * t
    share = freedom / (freedom + square)
    if share < (freedom / 2 + 1) / (freedom / 2 + 2.5):
        return _incomplete_beta(share, freedom / 2, 0.5) / 2
    return (1 - _incomplete_beta(square / (freedom + square), 0.5, freedom / 2)) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function, for `x` below (a + 1) / (a + b + 2)."""
    if x <= 0:
        return 0.0
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(1 - x)) / a
    # Lentz's method: the quotient of two neighbouring terms replaces numerators that would overflow.
    below, above = 1.0, 1.0 / _nonzero(1 - (a + b) * x / (a + 1))
    fraction = above
    for m in range(1, 10_000):
        before = fraction
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            above = 1.0 / _nonzero(1 + term * above)
            below = _nonzero(1 + term / below)
            fraction *= above * below
        if abs(fraction - before) <= _PRECISION * abs(fraction):
            break
    return front * fraction


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
