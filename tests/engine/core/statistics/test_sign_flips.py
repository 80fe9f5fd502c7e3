"""The exact test of differences by case."""

import random
from fractions import Fraction
from itertools import product
from math import comb, lcm

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.statistics import sign_flip_p
from engine.core.statistics.sign_flips import MANY_CASES, MAX_ADDITIONS, _share_as_far

RATES = st.integers(1, 13).flatmap(
    lambda tests: st.builds(Fraction, st.integers(-tests, tests), st.just(tests))
)


def enumerate_signs(differences: list[Fraction]) -> float:
    differing = [one for one in differences if one]
    seen = abs(sum(differing, Fraction(0)))
    sums = [
        abs(sum((sign * one for sign, one in zip(signs, differing, strict=True)), Fraction(0)))
        for signs in product((1, -1), repeat=len(differing))
    ]
    return sum(one >= seen for one in sums) / len(sums)


def two_sided_binomial(larger: int, smaller: int) -> float:
    many = larger + smaller
    return min(1.0, 2 * sum(comb(many, k) for k in range(smaller + 1)) / (1 << many))


@given(differences=st.lists(RATES, max_size=9))
def test_p_is_the_share_of_all_signs_that_is_as_far_from_0(differences: list[Fraction]) -> None:
    assert sign_flip_p(differences) == pytest.approx(enumerate_signs(differences), abs=1e-15)


@given(differences=st.lists(RATES, max_size=40), chance=st.randoms())
def test_p_knows_neither_order_nor_unit_nor_which_side_is_first(
    differences: list[Fraction], chance: random.Random
) -> None:
    p = sign_flip_p(differences)

    chance.shuffle(differences)

    assert 0 < p <= 1
    assert sign_flip_p([-one for one in differences]) == p
    assert sign_flip_p([one * 7 / 3 for one in differences]) == p
    assert sign_flip_p([*differences, 0, 0]) == p


@pytest.mark.parametrize(("only_a", "only_b"), [(170, 130), (400, 300), (1200, 1080), (900, 0)])
def test_one_answer_a_case_is_the_exact_binomial_test_for_many_cases_as_well(
    only_a: int, only_b: int
) -> None:
    p = sign_flip_p([1] * only_a + [-1] * only_b)

    assert p == pytest.approx(two_sided_binomial(only_a, only_b), rel=1e-9, abs=1e-60)


def test_no_case_that_differs_has_p_1() -> None:
    assert sign_flip_p([]) == 1.0
    assert sign_flip_p([0, 0, 0]) == 1.0
    assert sign_flip_p([2, -1, -1]) == 1.0


def test_a_huge_common_denominator_is_replaced_by_a_grid_that_hardly_changes_p() -> None:
    primes = (1_000_003, 1_000_033, 1_000_037, 1_000_039)
    chance = random.Random(1)
    differences = [Fraction(chance.randint(-400, 600), chance.choice(primes)) for _ in range(12)]
    assert lcm(*(one.denominator for one in differences)) > MAX_ADDITIONS**3

    # The grid may decide two of the 4096 sums that nearly tie otherwise.
    assert sign_flip_p(differences) == pytest.approx(enumerate_signs(differences), abs=0.001)


def test_a_thousand_cases_on_a_fine_grid_have_the_normal_p() -> None:
    # Signs that bring the sum to about three standard deviations.
    chance = random.Random(2)
    sizes = [chance.randint(1, 25) for _ in range(MANY_CASES + 1)]
    aim = 3 * sum(one * one for one in sizes) ** 0.5
    differences: list[int] = []
    for size in sizes:
        differences.append(size if sum(differences) < aim else -size)
    assert len(sizes) * sum(sizes) > MAX_ADDITIONS

    p = sign_flip_p(differences)

    assert 0.001 < p < 0.01
    assert p == pytest.approx(_share_as_far(differences), rel=0.01)
    assert p != _share_as_far(differences)
