from math import log, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.statistics import (
    Counts,
    clustered_rate,
    failure_rate,
    layered_rate,
    rate_bounds,
    rate_interval,
    t_quantile,
    wilson,
    wilson_of_rate,
)

CASES = st.lists(
    st.integers(1, 13).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))),
    min_size=2,
    max_size=40,
)
"""(failed, total) of each case."""


@pytest.mark.parametrize(
    ("failed", "total", "low", "high"),
    [
        # (p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n) worked out with 30 digits.
        (0, 10, 0.0, 0.2775327998628892),
        (10, 10, 0.7224672001371108, 1.0),
        (5, 10, 0.23659309051256376, 0.7634069094874362),
        (1, 1, 0.20654931437723745, 1.0),
    ],
)
def test_the_interval_is_the_published_formula(
    failed: int, total: int, low: float, high: float
) -> None:
    assert wilson(failed, total) == pytest.approx((low, high), abs=1e-12)


def test_nothing_measured_has_no_rate_and_no_interval() -> None:
    assert wilson(0, 0) is None
    assert failure_rate(0, 0) is None
    assert rate_bounds(0, 0, 0) is None


@given(total=st.integers(1, 10**9), share=st.floats(0, 1))
def test_the_interval_lies_in_0_to_1_and_holds_the_rate(total: int, share: float) -> None:
    failed = round(total * share)

    interval = wilson(failed, total)
    rate = failure_rate(failed, total)

    assert interval is not None
    assert rate is not None
    assert 0 <= interval[0] <= rate <= interval[1] <= 1


@given(total=st.integers(1, 10**9))
def test_the_edges_are_exact(total: int) -> None:
    none_failed, all_failed = wilson(0, total), wilson(total, total)

    assert none_failed is not None
    assert all_failed is not None
    assert none_failed[0] == 0.0
    assert all_failed[1] == 1.0


@given(cases=CASES)
def test_a_clustered_interval_lies_in_0_to_1_and_holds_the_rate(cases: list[Counts]) -> None:
    found = clustered_rate(cases)

    assert found is not None
    assert 0 <= found.low <= found.rate <= found.high <= 1
    assert found.deff >= 1


@given(cases=CASES, size=st.floats(1, 1e6))
def test_a_larger_size_has_a_narrower_interval(cases: list[Counts], size: float) -> None:
    failed, total = (sum(column) for column in zip(*cases, strict=True))

    wide, narrow = (wilson_of_rate(failed / total, one) for one in (size, size * 2))

    assert wide[0] <= narrow[0]
    assert narrow[1] <= wide[1]


@given(total=st.integers(1, 1000), share=st.floats(0, 1))
def test_more_failures_move_both_ends_up(total: int, share: float) -> None:
    failed = round((total - 1) * share)

    fewer, more = wilson(failed, total), wilson(failed + 1, total)

    assert fewer is not None
    assert more is not None
    assert fewer[0] <= more[0]
    assert fewer[1] <= more[1]


@given(cases=CASES)
def test_swapping_failed_and_passed_mirrors_the_interval(cases: list[Counts]) -> None:
    found, mirrored = (
        clustered_rate(cases),
        clustered_rate([(total - failed, total) for failed, total in cases]),
    )

    assert found is not None
    assert mirrored is not None
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - found.high, 1 - found.low), abs=1e-9)


def test_repeats_of_the_same_answers_do_not_narrow_the_interval() -> None:
    once = [(int(index % 3 == 0), 1) for index in range(60)]
    often = [(5 * failed, 5) for failed, _ in once]

    assert width(often) == pytest.approx(width(once), rel=1e-9)


def test_repeats_that_vary_as_much_as_the_cases_narrow_the_interval() -> None:
    alike = [(2, 5), (3, 5)] * 30

    found = clustered_rate(alike)

    assert found is not None
    assert found.deff == 1
    assert found.effective_size == 300


def test_one_case_has_no_clustered_interval() -> None:
    assert clustered_rate([(3, 10)]) is None
    assert clustered_rate([(3, 10), (0, 0)]) is None
    assert clustered_rate([]) is None


def width(cases: list[Counts]) -> float:
    found = clustered_rate(cases)
    assert found is not None
    return found.high - found.low


@given(cases=CASES)
def test_a_layered_interval_lies_in_0_to_1_and_holds_the_rate(cases: list[Counts]) -> None:
    found = layered_rate(cases)

    few = min(sum(f > 0 for f, _ in cases), sum(f < n for f, n in cases)) < 5
    assert (found is None) == few
    if found is not None:
        assert 0 < found.low < found.rate < found.high < 1
        assert found.deff >= 1


def test_a_layered_interval_is_the_jackknifes_with_the_effective_number_of_failing_cases() -> None:
    cases = [(9, 13), *[(1, 4)] * 9, *[(0, 1)] * 20]

    found = layered_rate(cases)

    rates = [(18 - failed) / (69 - total) for failed, total in cases]
    odds = [log(rate / (1 - rate)) for rate in rates]
    every = log(18 / 51)
    error = sqrt(29 / 30 * sum((one - every) ** 2 for one in odds))
    half = t_quantile(0.975, 18**2 / (9**2 + 9)) * error
    assert found is not None
    assert log(found.high / (1 - found.high)) == pytest.approx(every + half)
    assert log(found.low / (1 - found.low)) == pytest.approx(every - half)


def test_the_interval_fits_how_the_cases_were_asked() -> None:
    once, often = [(0, 1)] * 14 + [(1, 1)] * 6, [(0, 3)] * 14 + [(2, 3)] * 6

    found = [
        rate_interval(once),
        rate_interval(often),
        rate_interval(often, layered=True),
        rate_interval([(1, 1)]),
    ]

    assert [one and one.method for one in found] == ["Wilson", "clustered", "layered", "Wilson"]
    assert found[0] is not None
    assert (found[0].low, found[0].high) == wilson(6, 20)
    assert found[1] == clustered_rate(often)
    assert found[2] == layered_rate(often)
    assert rate_interval([(1, 3)]) is None
    assert rate_interval([]) is None
