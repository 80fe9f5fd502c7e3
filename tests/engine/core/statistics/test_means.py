"""The mean of numbers of which several belong to one case."""

from statistics import fmean, stdev

import pytest

from engine.core.statistics import clustered_mean, t_quantile


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
