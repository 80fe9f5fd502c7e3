"""The mean of numbers of which several belong to one case, and its difference between two sides."""

from itertools import product
from statistics import fmean, stdev

import pytest

from engine.core.statistics import clustered_mean, paired_mean_difference, t_quantile

NEVER_SMALL = 5
"""Cases with which no difference is shown: 2 of 2^5 choices of signs are 6 %."""


def test_one_number_a_case_is_the_ordinary_t_interval() -> None:
    numbers = [3.0, 5.5, 1.0, 8.0, 4.5]

    found = clustered_mean([(one, 1) for one in numbers])

    half = t_quantile(0.975, 4) * stdev(numbers) / 5**0.5
    assert found is not None
    assert found.mean == pytest.approx(fmean(numbers))
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half))


def test_repeating_the_same_numbers_does_not_narrow_the_interval() -> None:
    numbers = [3.0, 5.5, 1.0, 8.0, 4.5]

    once, often = (clustered_mean([(one * count, count) for one in numbers]) for count in (1, 20))

    assert once is not None
    assert often is not None
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_a_case_with_more_numbers_weighs_more() -> None:
    found = clustered_mean([(10.0, 1), (90.0, 3), (0.0, 0)])

    assert found is not None
    assert found.mean == 25
    assert found.cases == 2


def test_one_case_has_a_mean_without_an_interval() -> None:
    found = clustered_mean([(12.0, 4)])

    assert found is not None
    assert (found.mean, found.low, found.high, found.cases) == (3.0, None, None, 1)
    assert clustered_mean([(0.0, 0)]) is None


def test_enormous_numbers_have_an_interval() -> None:
    found = clustered_mean([(1e200, 1), (3e200, 1)])

    assert found is not None
    # The standard error of 1 and 3 is 1, and Student's t of one degree of freedom 12.7.
    assert found.high == pytest.approx(2e200 + 12.706204736432095e200)


def test_paired_means_have_the_interval_of_the_paired_t_test() -> None:
    # scipy.stats.ttest_rel(a, b).confidence_interval() is the mean ± t.ppf(.975, 5) * sem of a - b.
    a, b = [3.0, 7.0, 9.0, 2.5, 8.0, 11.0], [2.0, 5.0, 5.0, 3.0, 5.0, 6.0]
    differences = [1.0, 2.0, 4.0, -0.5, 3.0, 5.0]

    found = paired_mean_difference(list(zip(a, b, strict=True)))

    half = 2.570581835636314 * stdev(differences) / 6**0.5
    assert found is not None
    assert (found.cases, found.mean_a) == (6, 6.75)
    assert found.mean_b == pytest.approx(13 / 3)
    assert found.difference == pytest.approx(14.5 / 6)
    assert (found.low, found.high) == pytest.approx((14.5 / 6 - half, 14.5 / 6 + half))


@pytest.mark.parametrize(
    "differences", [[1.0, 2.0, 4.0, -0.5, 3.0, 5.0], [0.1, -0.25, 0.3, 0.0, 0.7, 0.2, -0.1]]
)
def test_the_p_of_paired_means_is_the_share_of_all_signs_that_are_as_far(
    differences: list[float],
) -> None:
    found = paired_mean_difference([(one, 0.0) for one in differences])

    signs = product((1, -1), repeat=len(differences))
    sums = [abs(sum(s * d for s, d in zip(one, differences, strict=True))) for one in signs]
    as_far = [one for one in sums if one >= abs(sum(differences)) - 1e-9]
    assert found is not None
    assert found.p == pytest.approx(len(as_far) / len(sums))


def test_differences_that_are_the_same_have_no_interval_even_if_rounding_makes_them_unlike() -> (
    None
):
    found = paired_mean_difference([(0.3, 0.2), (0.2, 0.1), (0.7, 0.6)])
    equal = paired_mean_difference([(5.0, 5.0)] * 20)

    assert 0.3 - 0.2 != 0.2 - 0.1
    assert found is not None
    assert (found.low, found.high, found.p) == (None, None, 0.25)
    assert equal is not None
    assert (equal.difference, equal.low, equal.p) == (0.0, None, 1.0)
    assert paired_mean_difference([]) is None


def test_few_cases_never_show_a_difference_however_alike_they_are() -> None:
    found = paired_mean_difference([(100.0 + n / 100, 0.0) for n in range(NEVER_SMALL)])

    assert found is not None
    assert found.low is not None
    assert found.low > 99
    assert found.p == 2 / 2**NEVER_SMALL


def test_numbers_of_any_size_are_compared_alike() -> None:
    numbers = [(3.0, 1.0), (5.0, 4.5), (2.0, 2.25), (9.0, 4.0), (1.0, 0.0), (6.0, 5.0)]
    plain = paired_mean_difference(numbers)

    for size in (1e-200, 1e200):
        found = paired_mean_difference([(a * size, b * size) for a, b in numbers])

        assert plain is not None
        assert found is not None
        assert found.p == plain.p
        assert (found.low or 0) / size == pytest.approx(plain.low)
