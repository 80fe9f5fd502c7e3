"""The curve over all thresholds, and flaky cases."""

from itertools import combinations

import pytest

from engine.core.statistics import any_failure_in_k, band_half_width


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_any_failure_is_the_share_of_selections_with_one(k: int) -> None:
    answers = [True, True, False, False, False, False]
    selections = list(combinations(answers, k))

    found = any_failure_in_k(2, 6, k)

    assert found == pytest.approx(sum(any(one) for one in selections) / len(selections))


def test_more_answers_than_were_measured_cannot_be_selected() -> None:
    assert any_failure_in_k(1, 3, 4) is None


def test_no_cases_have_no_band() -> None:
    assert band_half_width(0) is None


def test_a_surer_band_is_wider() -> None:
    usual, surer = band_half_width(50), band_half_width(50, confidence=0.99)

    assert usual is not None
    assert surer is not None
    assert usual < surer
