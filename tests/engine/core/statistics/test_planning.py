"""What a further run needs."""

from collections import Counter
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.statistics import (
    Z_95,
    VarianceComponents,
    cases_needed,
    detectable_difference,
    rate_precision,
    repeats_needed,
    variance_components,
)


def test_unequal_repeats_weigh_each_case_by_its_answers() -> None:
    # Worked out by hand: rate 4/9; within (0 + 1/2 + 3/4 + 0) / (9 - 4);
    # among (2·(4/9)² + 2·(1/18)² + 4·(11/36)² + (5/9)²) / 3; answers a case (9 - 25/9) / 3.
    found = variance_components(Counter([(0, 2), (1, 2), (3, 4), (0, 1)]))

    among = (2 * (4 / 9) ** 2 + 2 * (1 / 18) ** 2 + 4 * (11 / 36) ** 2 + (4 / 9) ** 2) / 3
    assert found is not None
    assert found.within == pytest.approx(1.25 / 5)
    assert found.between == pytest.approx((among - 0.25) / ((9 - 25 / 9) / 3))


def test_answers_that_vary_more_than_cases_leave_no_variance_between() -> None:
    found = variance_components(Counter([(1, 2), (1, 2), (1, 2)]))

    assert found == VarianceComponents(between=0.0, within=0.5)


def test_one_answer_a_case_cannot_tell_the_variances_apart() -> None:
    assert variance_components(Counter([(0, 1), (1, 1), (1, 1)])) is None
    assert variance_components(Counter([(2, 4)])) is None
    assert variance_components(Counter([])) is None


@given(
    between=st.floats(0, 0.25), within=st.floats(0.01, 0.25), cases=st.integers(2, 500),
    half_width=st.floats(0.01, 0.5),
)  # fmt: skip
def test_the_repeats_needed_give_the_half_width(
    between: float, within: float, cases: int, half_width: float
) -> None:
    components = VarianceComponents(between=between, within=within)

    repeats = repeats_needed(components, cases, half_width)

    if repeats is None:
        assert Z_95 * (between / cases) ** 0.5 >= half_width * (1 - 1e-9)
    else:
        reached = Z_95 * ((between + within / repeats) / cases) ** 0.5
        assert reached == pytest.approx(half_width)


@given(sd=st.floats(0.05, 1), cases=st.integers(1, 10_000))
def test_the_cases_needed_for_the_detectable_difference_are_the_cases(
    sd: float, cases: int
) -> None:
    difference = detectable_difference(sd, cases)

    assert difference is not None
    assert cases_needed(difference, sd * sd) == pytest.approx(cases)


def test_nothing_can_be_planned_from_no_cases_and_for_no_difference() -> None:
    assert detectable_difference(0.5, 0) is None
    assert cases_needed(0.0, 0.25) is None


@given(
    between=st.floats(0, 0.25), within=st.floats(0.01, 0.25), cases=st.integers(2, 500),
    repeats=st.floats(1, 10), wished=st.floats(0.01, 0.5),
)  # fmt: skip
def test_so_many_cases_or_repeats_give_the_wished_half_width_and_one_less_does_not(
    between: float, within: float, cases: int, repeats: float, wished: float
) -> None:
    components = VarianceComponents(between=between, within=within)

    found = rate_precision(components, cases, repeats, wished)

    def half_width(cases: int, repeats: float) -> float:
        return Z_95 * sqrt((between + within / repeats) / cases)

    assert found is not None
    assert found.half_width == pytest.approx(half_width(cases, repeats))
    assert half_width(found.cases_needed, repeats) <= wished * (1 + 1e-9)
    if found.cases_needed > 1:
        assert half_width(found.cases_needed - 1, repeats) >= wished * (1 - 1e-9)
    if found.repeats_needed is not None:
        assert half_width(cases, found.repeats_needed) <= wished * (1 + 1e-9)


def test_cases_that_never_vary_do_not_say_how_many_are_needed() -> None:
    assert rate_precision(VarianceComponents(between=0.0, within=0.0), 20, 3, 0.1) is None


def test_a_variance_within_cases_that_is_known_is_used() -> None:
    cases = [(0, 4), (2, 4), (4, 4)]

    found = variance_components(Counter(cases), 0.1)

    # The mean square of the cases is 4 * (1/4 + 0 + 1/4) / 2 = 1.
    assert found is not None
    assert found.between == pytest.approx((1 - 0.1) / 4)
    assert found.within == 0.1
