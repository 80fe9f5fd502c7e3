"""Agreement between a judge and people, against values computed by hand."""

import pytest

from jobs.evaluator.agreement import (
    Errors,
    errors_at,
    krippendorff_alpha,
    mean_absolute_error,
    picture,
)


def test_the_mean_absolute_error_is_the_mean_distance() -> None:
    assert mean_absolute_error([0.0, 0.5, 1.0], [0.5, 0.5, 0.0]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("units", "alpha"),
    [
        # n = 6. Within: the third unit has 2 ordered pairs of distance 1: D_o = 2/6. Between: three
        # zeros and three ones make 18 such pairs: D_e = 18/30. alpha = 1 - (1/3) / (3/5).
        ([(0, 0), (1, 1), (0, 1)], 4 / 9),
        # n = 4. D_o = (2 + 2)/4 = 1. Between: 8 pairs of distance 1: D_e = 8/12. alpha = 1 - 3/2.
        ([(0, 1), (1, 0)], -0.5),
        # n = 5. Within: the unit of three has 4 ordered pairs of 0.5 ** 2, halved: D_o = 0.5/5. Between:
        # 8 ordered pairs of 0.5 ** 2 and 8 of 1: D_e = 10/20. alpha = 1 - 0.1/0.5.
        ([(0.0, 0.0, 0.5), (1.0, 1.0)], 0.8),
        # Perfect agreement, and a unit with one score, which is left out.
        ([(0.2, 0.2), (0.8, 0.8), (0.1,)], 1.0),
    ],
)
def test_krippendorff_s_alpha_is_what_the_formula_gives_by_hand(
    units: list[tuple[float, ...]], alpha: float
) -> None:
    assert krippendorff_alpha(units) == pytest.approx(alpha)


@pytest.mark.parametrize(
    "units", [[], [(0.5,)], [(0.5, 0.6)], [(0.5, 0.6), (0.7,)], [(0.1, 0.1, 0.1), (0.1, 0.1)]]
)
def test_alpha_is_not_defined_where_nothing_differs(units: list[tuple[float, ...]]) -> None:
    assert krippendorff_alpha(units) is None


def test_alpha_of_a_hundred_thousand_replies_is_no_work_of_hours() -> None:
    units = [(number % 7 / 6, number % 5 / 4) for number in range(100_000)]

    assert krippendorff_alpha(units) == pytest.approx(0, abs=0.01)


def test_a_false_negative_is_failed_by_people_and_passed_by_the_judge() -> None:
    judged = [0.9, 0.2, 0.1, 0.5, 0.49]
    human = [0.1, 0.2, 0.9, 0.5, 0.5]

    errors = errors_at(judged, human, 0.5)

    assert errors == Errors(false_negatives=1, failing=2, false_positives=2, passing=3)


def test_the_picture_counts_every_reply_once() -> None:
    drawn = picture([0.0, 0.05, 1.0, 0.5], [0.0, 0.1, 1.0, 0.9]).splitlines()

    assert drawn[1].split("|")[1].split() == [".", ".", "1", ".", "1"]
    assert drawn[5].split("|")[1].split() == ["2", ".", ".", ".", "."]
    assert len(drawn) == 8
