"""Admission: when a lane may start something, and how much."""

from datetime import datetime
from math import inf
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.breaker import THRESHOLD, BreakerState
from engine.core.circuit import Sent
from engine.core.policy import LaneLimits, Limits, Retry, Window
from engine.core.settlement import Feedback, Signal
from engine.limits import closes_at, finishes_at, month, next_month, opens_at
from engine.scheduler.lane import Block, Lane
from engine.scheduler.lanes import Lanes

NOW = 1_800_000_000.0


def lanes(**limits: object) -> Lanes:
    made = Lanes(Limits(**limits), Retry())  # type: ignore[arg-type]  # as a test writes them
    made.refresh({"a": ("x",), "b": ("x", "y")})
    return made


def fill(made: Lanes, name: str, count: int) -> None:
    """Have so many jobs in flight in a lane."""
    lane = made.lane(name)
    lane.in_flight = count
    made.jobs.update({(job_id, 1): lane for job_id in range(1, count + 1)})


def fail(lane: Lane, now: float) -> None:
    """Let job 1 of a lane fail at once, as a probe if it was started as one."""
    failed = Feedback(signal=Signal.FAILS, error="HTTP 500", fingerprint="HTTP 500")
    sent = Sent(job_id=1, fence=1, started_at=now)
    lane.apply(failed, now, of=sent, patience_s=60.0, is_gated=False, sends_jobs=True)


def at(text: str, timezone: str = "Europe/Berlin") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(timezone)).timestamp()


def test_free_slots_are_shared_between_lanes() -> None:
    assert lanes(max_in_flight=7).wants(NOW) == {"a": 4, "b": 3}


def test_who_was_served_last_comes_last() -> None:
    made = lanes(max_in_flight=1)

    made.serve(made.lane("a"))

    assert made.wants(NOW) == {"b": 1}


def test_a_lane_has_the_limit_of_its_pattern() -> None:
    made = lanes(max_in_flight=10, models=(("a*", LaneLimits(max_in_flight=2)),))

    assert made.wants(NOW) == {"a": 2, "b": 8}


def test_full_slots_want_nothing_and_wake_for_nothing() -> None:
    made = lanes(max_in_flight=2)
    fill(made, "a", 2)

    assert made.wants(NOW) == {}
    assert made.wakes_at(NOW) == inf


def test_a_lane_whose_request_tries_after_a_refusal_waits_for_it_whatever_else_it_waits_for() -> (
    None
):
    made = lanes(max_in_flight=8)
    lane = made.lane("a")
    lane.pace = (
        lane.pace.on_start(NOW - 9, 1).on_refusal(NOW - 8, started=NOW - 9).on_start(NOW - 1, 1)
    )

    assert made.wants(NOW) == {"b": 8}
    assert lane.wakes_at(NOW, share=1) == lane.pace.admits_at == NOW + 1

    for _ in range(THRESHOLD):
        fail(lane, NOW - 1000)

    assert lane.circuit.breaker.open_until < NOW
    assert lane.wakes_at(NOW, share=1) == NOW + 1
    assert made.wants(NOW + 1) == {"a": 1, "b": 7}


def test_slots_that_are_about_to_be_free_count_as_free() -> None:
    made = lanes(max_in_flight=2)
    fill(made, "a", 2)

    assert made.wants(NOW, {"a": 1}) == {"b": 1}


def test_processes_share_the_slots_each_having_one_at_least() -> None:
    made = lanes(max_in_flight=9)

    made.peers = 2
    three = made.wants(NOW)
    made.peers = 20

    assert sum(three.values()) == 3
    assert sum(made.wants(NOW).values()) == 1


@pytest.mark.parametrize("block", list(Block))
def test_a_blocked_lane_neither_wants_nor_wakes(block: Block) -> None:
    made = lanes(max_in_flight=4)
    made.lane("a").block = block

    assert made.wants(NOW) == {"b": 4}
    made.lane("b").block = block
    assert made.wakes_at(NOW) == inf


def test_a_lane_wakes_when_its_jobs_are_due() -> None:
    made = lanes()
    made.lane("a").next_at = NOW + 30.0
    made.lane("b").next_at = inf

    assert made.wants(NOW) == {}
    assert made.wakes_at(NOW) == NOW + 30.0


def test_an_answer_lets_lanes_ask_again_that_waited_for_one() -> None:
    made = lanes()
    made.lane("a").next_at = NOW + 30.0
    made.lane("b").next_at = inf

    made.retry_refused()

    assert made.lane("a").next_at == NOW + 30.0
    assert made.wakes_at(NOW) == NOW


def test_a_lane_brought_down_by_overloads_wakes_when_it_may_have_more() -> None:
    made = lanes(max_in_flight=8)
    lane = made.lane("a")
    lane.in_flight = 1
    lane.concurrency = lane.concurrency.on_overload(NOW, in_flight=2)
    made.lane("b").block = Block.PARKED

    wakes_at = made.wakes_at(NOW)

    assert NOW < wakes_at < NOW + 45.0
    assert made.wants(wakes_at - 0.01) == {}
    assert made.wants(wakes_at) == {"a": 1}


@given(
    in_flight=st.integers(1, 64),
    ceiling=st.integers(1, 64),
    share=st.integers(1, 4),
    overloads=st.lists(st.floats(0, 100), max_size=4),
    is_open=st.booleans(),
)
def test_a_lane_that_wakes_has_something_to_do(
    in_flight: int, ceiling: int, share: int, overloads: list[float], is_open: bool
) -> None:
    # Otherwise the loop would go round without end.
    made = lanes(max_in_flight=1_000, models=(("a", LaneLimits(max_in_flight=ceiling)),))
    lane = made.lane("a")
    now = NOW
    for seconds in overloads:
        now += seconds
        lane.concurrency = lane.concurrency.on_overload(now, in_flight=in_flight)
    lane.in_flight = in_flight
    for _ in range(THRESHOLD if is_open else 0):
        fail(lane, now)

    wakes_at = max(now, lane.wakes_at(now, share=share))

    assert wakes_at == inf or lane.capacity(wakes_at, share=share) > 0


def test_an_open_breaker_lets_one_probe_through_after_its_cooldown() -> None:
    made = lanes(max_in_flight=4)
    lane = made.lane("a")
    made.lane("b").block = Block.PARKED
    for _ in range(THRESHOLD):
        fail(lane, NOW)

    wakes_at = made.wakes_at(NOW)
    probe = made.wants(wakes_at)
    lane.circuit = lane.circuit.on_start(wakes_at, 1, 1, is_alone=False)

    assert made.wants(NOW) == {}
    assert probe == {"a": 1}
    assert made.wants(wakes_at) == {}
    assert made.wakes_at(wakes_at) == inf


def test_a_parked_breaker_wakes_no_lane() -> None:
    made = lanes(max_in_flight=4)
    made.lane("b").block = Block.PARKED
    lane = made.lane("a")
    now = NOW
    while lane.circuit.breaker.state is not BreakerState.PARKED:
        now = max(now, lane.circuit.breaker.open_until)
        lane.circuit = lane.circuit.on_start(now, 1, 1, is_alone=False)
        fail(lane, now)

    assert made.wants(now + 1e6) == {}
    assert made.wakes_at(now + 1e6) == inf


def test_what_the_store_says_of_the_queue_takes_no_class_away() -> None:
    # A job may have been given back while the queue was being read.
    made = lanes()
    made.lane("a").offer("z", 0.0)

    made.refresh({"a": ("x",)})

    assert made.lane("a").classes == ("x", "z")


def test_a_new_class_wakes_its_lane() -> None:
    made = lanes()
    made.lane("a").next_at = NOW + 100.0
    made.lane("b").next_at = NOW + 100.0

    made.refresh({"a": ("w", "x"), "b": ("x",)})

    assert made.lane("a").next_at == 0.0
    assert made.lane("b").next_at == NOW + 100.0


def test_429s_that_come_while_a_lane_is_held_count_once() -> None:
    lane = lanes().lane("a")

    lane.throttle(NOW, NOW + 10.0, has_retry_after=True)
    lane.throttle(NOW + 1.0, NOW + 8.0, has_retry_after=True)
    lane.throttle(NOW + 11.0, NOW + 31.0, has_retry_after=True)

    assert (lane.throttled, lane.throttled_until) == (2, NOW + 31.0)


NIGHT = Window(start_min=22 * 60, end_min=7 * 60, timezone="Europe/Berlin")
DAY = Window(start_min=9 * 60, end_min=17 * 60 + 30, timezone="Europe/Berlin")


@pytest.mark.parametrize(
    ("window", "now", "opens"),
    [
        (NIGHT, "2027-01-15T21:59:59", "2027-01-15T22:00"),
        (NIGHT, "2027-01-15T22:00", "2027-01-15T22:00"),
        (NIGHT, "2027-01-16T06:59:59", "2027-01-16T06:59:59"),
        (NIGHT, "2027-01-16T07:00", "2027-01-16T22:00"),
        (DAY, "2027-01-15T08:00", "2027-01-15T09:00"),
        (DAY, "2027-01-15T17:29:59", "2027-01-15T17:29:59"),
        (DAY, "2027-01-15T17:30", "2027-01-16T09:00"),
        # The clocks of Berlin are put ahead on 2027-03-28 and back on 2027-10-31.
        (NIGHT, "2027-03-28T08:00", "2027-03-28T22:00"),
        (DAY, "2027-03-27T20:00", "2027-03-28T09:00"),
        (DAY, "2027-10-30T20:00", "2027-10-31T09:00"),
    ],
)
def test_a_window_opens_when_its_own_clocks_say_so(window: Window, now: str, opens: str) -> None:
    assert opens_at(window, at(now)) == at(opens)


@given(
    st.integers(0, 365 * 24 * 60),
    st.integers(0, 24 * 60 - 1),
    st.integers(0, 24 * 60 - 1),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Apia"]),
)
def test_when_a_window_opens_it_is_open(minute: int, start: int, end: int, timezone: str) -> None:
    if start == end:
        return
    window = Window(start_min=start, end_min=end, timezone=timezone)
    now = NOW + minute * 60.0

    opening = opens_at(window, now)

    assert now <= opening <= now + 25 * 3600.0
    assert opens_at(window, opening) == opening


def test_without_a_window_it_is_always_open() -> None:
    assert opens_at(None, NOW) == NOW


NIGHT = Window(start_min=22 * 60, end_min=7 * 60, timezone="Europe/Berlin")
DAY = Window(start_min=9 * 60, end_min=17 * 60, timezone="Europe/Berlin")


@pytest.mark.parametrize(
    ("window", "now", "closes"),
    [
        (NIGHT, "2026-11-29T23:00", "2026-11-30T07:00"),
        (NIGHT, "2026-11-30T06:59", "2026-11-30T07:00"),
        (NIGHT, "2026-11-30T07:00", "2026-12-01T07:00"),
        # Clocks go back and forward meanwhile.
        (NIGHT, "2026-10-24T23:00", "2026-10-25T07:00"),
        (NIGHT, "2027-03-27T23:00", "2027-03-28T07:00"),
        (DAY, "2026-11-30T12:00", "2026-11-30T17:00"),
    ],
)
def test_a_window_closes_when_its_own_clocks_say_so(window: Window, now: str, closes: str) -> None:
    assert closes_at(window, at(now)) == at(closes)


def test_without_a_window_it_never_closes() -> None:
    assert closes_at(None, NOW) == inf


@pytest.mark.parametrize(
    ("window", "now", "hours", "finishes"),
    [
        (None, "2026-11-29T20:00", 12, "2026-11-30T08:00"),
        (NIGHT, "2026-11-29T20:00", 0, "2026-11-29T22:00"),
        (NIGHT, "2026-11-29T20:00", 4, "2026-11-30T02:00"),
        (NIGHT, "2026-11-29T20:00", 9, "2026-11-30T07:00"),
        # Twelve hours do not fit into a night of nine.
        (NIGHT, "2026-11-29T20:00", 12, "2026-12-01T01:00"),
        (NIGHT, "2026-11-30T04:00", 12, "2026-12-01T07:00"),
        # A night of ten hours, as clocks go back, and one of eight.
        (NIGHT, "2026-10-24T20:00", 12, "2026-10-26T00:00"),
        (NIGHT, "2027-03-27T20:00", 12, "2027-03-29T02:00"),
        (DAY, "2026-11-30T12:00", 21, "2026-12-02T17:00"),
    ],
)
def test_work_goes_on_in_the_window_alone(
    window: Window | None, now: str, hours: float, finishes: str
) -> None:
    assert finishes_at(window, at(now), hours * 3600) == at(finishes)


def test_no_finish_is_computed_beyond_the_calendar() -> None:
    assert finishes_at(NIGHT, NOW, 1e12) is None
    assert finishes_at(NIGHT, NOW, 99 * 365 * 24 * 3600) is None


@pytest.mark.parametrize(
    ("now", "period", "following"),
    [
        ("2027-01-31T23:59:59", "2027-01", "2027-02-01T00:00"),
        ("2027-12-01T00:00", "2027-12", "2028-01-01T00:00"),
        ("2028-02-29T12:00", "2028-02", "2028-03-01T00:00"),
    ],
)
def test_quota_periods_are_the_months_of_utc(now: str, period: str, following: str) -> None:
    assert month(at(now, "UTC")) == period
    assert next_month(at(now, "UTC")) == at(following, "UTC")
