import pytest

from engine.core.forecast import QuestionLoad, seconds_left
from engine.core.loads import Load
from engine.core.model import CallLimit
from engine.core.policy import LaneLimits, Limits


def left(
    *lanes: tuple[int, int | None],
    requests: int = 1,
    rate: int | None = None,
    ended: int = 0,
    over_s: float = 0.0,
    **endpoints: CallLimit,
) -> tuple[float | None, str]:
    """What is left of lanes, each of (jobs, the rate of its model), whose jobs send so many requests."""
    loads = {
        str(number): Load(jobs, jobs * requests, {"target": jobs * requests})
        for number, (jobs, _) in enumerate(lanes)
    }
    models = tuple(
        (str(number), LaneLimits(rate_per_min=of_lane)) for number, (_, of_lane) in enumerate(lanes)
    )
    limits = Limits(rate_per_min=rate, models=models)
    return seconds_left(loads, limits, endpoints, ended=ended, ended_over_s=over_s)


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
        {"a": Load(20, 20)},
        Limits(),
        {},
        ended=ended,
        ended_over_s=60,
        questions=load,
    )

    assert found == expected


def test_rates_are_of_requests_and_speed_is_of_jobs() -> None:
    assert left((20, None), requests=5, rate=60) == (100.0, "rate")
    assert left((20, None), requests=5, ended=4, over_s=60) == (300.0, "speed so far")


def test_an_endpoint_s_own_limits_bind_too() -> None:
    slow = CallLimit(name="e", rate_per_min=30)
    short = CallLimit(name="e", tokens_per_min=6_000, tokens=600)

    assert left((20, None), rate=60, target=slow) == (40.0, "the target's rate")
    assert left((20, None), rate=60, target=short) == (120.0, "the target's tokens")
