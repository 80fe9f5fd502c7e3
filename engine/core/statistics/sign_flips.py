"""The exact test of differences by case: could each as well have had the other sign?"""

from collections.abc import Sequence
from fractions import Fraction
from math import erfc, gcd, lcm, sqrt

MAX_ADDITIONS = 2**23
"""The most additions of counts in one test, about 0.05 s; beyond it differences are rounded."""
MANY_CASES = 1000
"""The most differences that are rounded rather than compared with the normal distribution."""

_EXACT_BITS = 256
"""Differences up to which counts are whole numbers; with more they are rounded to 2^-256 of all."""


def sign_flip_p(differences: Sequence[Fraction | int]) -> float:
    """The two-sided p of differences by case, in 0..1: the chance of a sum as far from 0 as theirs.

    If the two sides do not differ, each difference could as well have had the other sign. Of all
    choices of signs of the differences that are not 0, p is the share whose sum is at least as far
    from 0 as the sum seen; 1 if no case differs. With one answer a case this is McNemar's exact
    test. `differences` are those of rates, or of failures where all cases have as many repeats.

    Sums are counted on the differences' common denominator. Where it is so large that the count
    would take more than `MAX_ADDITIONS`, differences are rounded to a coarser grid: p is then
    exact for the sum of the rounded ones, since these change their signs alike. Where even a grid
    fits badly, with more than `MANY_CASES` that differ, p is that of the normal distribution, which
    is then wrong by about 1 % of p at p = 0.001, and by less above. Sources: R. A. Fisher, "The Design
    of Experiments", 1935, section 21; Q. McNemar, Psychometrika 12 (1947), 153-157.
    """
    differing = [Fraction(one) for one in differences if one]
    denominator = lcm(*(one.denominator for one in differing))
    whole = [int(one * denominator) for one in differing]
    divisor = gcd(*whole) or 1
    whole = [one // divisor for one in whole]
    additions = len(whole) * sum(abs(one) for one in whole)
    if additions > MAX_ADDITIONS:
        if len(whole) > MANY_CASES:
            return _normal_p(whole)
        # Half of the limit leaves room for those that are rounded up.
        scale = Fraction(MAX_ADDITIONS // 2, additions)
        whole = [near for one in whole if (near := round(one * scale))]
    return _share_as_far(whole)


def _normal_p(differences: Sequence[int]) -> float:
    # Sums are 2 apart, so half of that distance belongs to the sum that was seen.
    distance = max(0, abs(sum(differences)) - 1)
    return erfc(distance / sqrt(2 * sum(one * one for one in differences)))


def _share_as_far(differences: Sequence[int]) -> float:
    """The share of the choices of signs whose sum is as far from 0 as that of `differences`."""
    sizes = sorted(abs(one) for one in differences)
    seen = abs(sum(differences))
    if not seen:
        return 1.0
    # A sum is that of all sizes less twice that of the negative ones, so half of what is as far has
    # negative ones of at most this sum; the other half is its mirror image.
    highest = (sum(sizes) - seen) // 2
    bits = min(len(sizes), _EXACT_BITS)
    total = _count_sums(sizes, highest, bits)
    return min(1.0, 2 * total / (1 << bits))


def _count_sums(sizes: Sequence[int], highest: int, bits: int) -> int:
    """The number of subsets of `sizes` whose sum is at most `highest`, of 2^bits in all.

    The numbers for each sum are the coefficients of the product of (1 + x^size). They are kept in
    one integer, in fields of equal width, so a factor is a shift and an addition.
    """
    width = bits + 1
    kept = (1 << (highest + 1) * width) - 1
    one_each = kept // ((1 << width) - 1)
    counts = 1
    for done, size in enumerate(sizes, start=1):
        counts += (counts << size * width) & kept
        if done > bits:
            # All numbers are halved. The lowest bit of a field must not reach the next field.
            counts = (counts & ~one_each) >> 1
    return counts % ((1 << width) - 1)
