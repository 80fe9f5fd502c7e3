"""The difference of two rates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.statistics import (
    clustered_rate,
    compare_pairs,
    difference_of_intervals,
    holm,
    paired_difference,
)

P = st.floats(0, 1)


@given(differences=st.lists(st.floats(-1, 1), min_size=1, max_size=50), repeats=st.integers(1, 5))
def test_the_interval_lies_in_minus_1_to_1_and_mirrors(
    differences: list[float], repeats: int
) -> None:
    found = paired_difference(differences, repeats)
    mirrored = paired_difference([-one for one in differences], repeats)

    assert found is not None
    assert mirrored is not None
    assert -1 <= found.low <= found.high <= 1
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low), abs=1e-9)


def test_cases_that_all_agree_still_leave_a_difference_possible() -> None:
    found = compare_pairs([((1, 3), (1, 3))] * 20)

    assert found is not None
    assert found.p == 1
    assert found.interval.difference == 0
    assert found.interval.low < -0.05
    assert found.interval.high > 0.05
    assert found.interval.sd > 0


def test_a_case_that_one_side_did_not_answer_is_left_out() -> None:
    both = [((2, 3), (1, 3)), ((0, 3), (1, 3)), ((3, 3), (0, 3))]

    assert compare_pairs([*both, ((3, 3), (0, 0)), ((0, 0), (3, 3))]) == compare_pairs(both)
    assert compare_pairs([((3, 3), (0, 0))]) is None


def test_each_case_counts_the_same_however_often_it_was_asked() -> None:
    found = compare_pairs([((5, 5), (0, 1)), ((0, 1), (1, 1))])

    assert found is not None
    assert found.interval.difference == 0


def test_the_repeats_that_are_named_take_the_place_of_the_fewest_tests() -> None:
    pairs = [((13, 13), (0, 1)), ((0, 1), (0, 1)), ((4, 7), (0, 1))]

    once, thrice = compare_pairs(pairs), compare_pairs(pairs, repeats=3)

    assert once is not None
    assert once == compare_pairs(pairs, repeats=1)
    assert thrice is not None
    assert thrice.interval.sd < once.interval.sd


@given(p_values=st.lists(P, max_size=30))
def test_corrected_p_keep_their_order_and_are_no_smaller(p_values: list[float]) -> None:
    corrected = holm(p_values)

    assert all(one <= after <= 1 for one, after in zip(p_values, corrected, strict=True))
    ranks = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert [corrected[rank] for rank in ranks] == sorted(corrected)


def test_the_difference_of_clustered_rates_is_as_wide_as_their_intervals() -> None:
    cases = [(index % 4, 3) for index in range(40)]
    of_cases = clustered_rate(cases)
    assert of_cases is not None
    one = (of_cases.rate, of_cases.low, of_cases.high)

    low, high = difference_of_intervals(one, one)

    assert low == -high
    assert high == pytest.approx(
        ((of_cases.rate - of_cases.low) ** 2 + (of_cases.high - of_cases.rate) ** 2) ** 0.5
    )
