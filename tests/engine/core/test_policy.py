import pytest

from engine.core.policy import LaneLimits, Limits, Window

EXACT = LaneLimits(rate_per_min=1)
FIRST = LaneLimits(rate_per_min=2)
SECOND = LaneLimits(max_in_flight=3)


@pytest.mark.parametrize(
    ("lane", "expected"),
    [
        ("acme/one", EXACT),
        ("acme/two", FIRST),
        ("acme-two", SECOND),
        ("other", LaneLimits()),
        ("ACME/two", LaneLimits()),
    ],
)
def test_a_lane_has_the_limits_of_its_name_or_of_the_first_pattern_that_fits(
    lane: str, expected: LaneLimits
) -> None:
    limits = Limits(models=(("acme/*", FIRST), ("acme*", SECOND), ("acme/one", EXACT)))

    assert limits.for_lane(lane) == expected


def test_a_window_may_go_over_midnight() -> None:
    night = Window(start_min=22 * 60, end_min=7 * 60, timezone="UTC")

    assert [night.contains(hour * 60) for hour in (21, 22, 23, 0, 6, 7, 12)] == [
        *(False, True, True, True, True, False, False)
    ]
    assert night.minutes == 9 * 60


def test_a_window_may_lie_within_a_day() -> None:
    lunch = Window(start_min=12 * 60, end_min=13 * 60, timezone="UTC")

    assert [lunch.contains(minute) for minute in (719.9, 720, 779.9, 780)] == [
        *(False, True, True, False)
    ]
    assert lunch.minutes == 60
