import pytest

from engine.core.forecast import LaneLoad, QuestionLoad, seconds_left


def left(
    *lanes: tuple[int, int | None], rate: int | None = None, ended: int = 0, over_s: float = 0.0
) -> tuple[float | None, str]:
    loads = [LaneLoad(jobs=jobs, rate_per_min=lane_rate) for jobs, lane_rate in lanes]
    return seconds_left(loads, rate_per_min=rate, ended=ended, ended_over_s=over_s)


def test_nothing_takes_no_time_and_is_bound_by_nothing() -> None:
    assert left() == (0.0, "")
    assert left((0, 60), rate=60) == (0.0, "")


def test_nothing_is_known_before_the_first_answers() -> None:
    assert left((5, None)) == (None, "")
    assert left((5, None), ended=3, over_s=30) == (None, "")


@pytest.mark.parametrize(
    ("rate", "lane_rate", "ended", "expected"),
    [
        (60, None, 0, (20.0, "rate")),
        (60, 10, 0, (120.0, "a model's rate")),
        (60, 10, 4, (300.0, "speed so far")),
        (None, None, 60, (20.0, "speed so far")),
    ],
)
def test_the_limit_that_takes_longest_binds(
    rate: int | None, lane_rate: int | None, ended: int, expected: tuple[float, str]
) -> None:
    assert left((20, lane_rate), rate=rate, ended=ended, over_s=60) == expected


@pytest.mark.parametrize(
    ("ended", "answered", "expected"),
    [
        (0, 3, (None, "")),
        (3, 4, (150.0, "speed so far")),
        # From the fourth job on, jobs tell: some of their questions may never be answered.
        (4, 40, (300.0, "speed so far")),
    ],
)
def test_questions_tell_the_speed_until_enough_jobs_have_ended(
    ended: int, answered: int, expected: tuple[float | None, str]
) -> None:
    load = QuestionLoad(left=10, answered=answered, answered_over_s=60)

    found = seconds_left(
        [LaneLoad(jobs=20, rate_per_min=None)],
        rate_per_min=None,
        ended=ended,
        ended_over_s=60,
        questions=load,
    )

    assert found == expected
