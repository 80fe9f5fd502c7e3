"""The pace that a lane learns from what a service refuses."""

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core import rates
from engine.core.pace import GROWTH_S, WINDOW_S, Pace

NOW = 1_800_000_000.0


def pace_after_refusal(
    *, through: int = 60, within_s: float = 6.0, patience_s: float = 0.5
) -> Pace:
    """The pace after `through` requests from NOW on were accepted, and then one was refused."""
    pace = Pace().on_start(NOW, through + 1)
    return pace.on_refusal(NOW + within_s, started=NOW + within_s - patience_s / 2)


def resume(pace: Pace, at: float) -> Pace:
    return pace.at(at).on_start(at, 1).on_answer(at, started=at)


def test_a_lane_that_is_never_refused_has_no_pace() -> None:
    pace = Pace().on_start(NOW, 1000).on_answer(NOW + 1, started=NOW)

    assert pace.admits() is None
    assert pace.rate_per_min(NOW + 1) is None


def test_after_a_refusal_one_request_tries_and_the_others_wait_for_it() -> None:
    pace = pace_after_refusal()
    tries = pace.on_start(NOW + 60, 1)

    assert pace.admits() == 1
    assert tries.admits() == 0
    assert tries.admits_at == NOW + 60.5
    assert tries.at(NOW + 60.4).admits() == 0
    assert tries.at(NOW + 60.5).admits() is None
    assert tries.on_answer(NOW + 60.1, started=NOW + 60).admits() is None


def test_a_try_that_is_refused_is_followed_by_another_after_the_next_wait() -> None:
    pace = pace_after_refusal().on_start(NOW + 10, 1).on_refusal(NOW + 10.1, started=NOW + 10)

    assert pace.admits() == 1
    assert pace.on_start(NOW + 60, 1).admits() == 0


def test_what_was_let_through_is_spread_over_the_time_that_it_took() -> None:
    pace = resume(pace_after_refusal(through=60), NOW + 60)

    assert pace.rate_per_min(NOW + 60) == 58


def test_refusals_of_what_was_under_way_are_no_more_than_one_and_count_as_not_let_through() -> None:
    pace = Pace().on_start(NOW, 100)
    for number in range(40):
        pace = pace.on_refusal(NOW + 0.1 + number / 1000, started=NOW)

    assert resume(pace, NOW + 60).rate_per_min(NOW + 60) == 58


def test_an_answer_to_what_was_sent_before_the_refusal_does_not_end_the_wait() -> None:
    pace = pace_after_refusal().on_answer(NOW + 7, started=NOW + 5).on_start(NOW + 60, 1)

    assert pace.on_answer(NOW + 60.1, started=NOW + 5).admits() == 0


def test_a_wait_beyond_a_minute_counts_as_one() -> None:
    an_hour, a_minute = (
        resume(pace_after_refusal(through=60, within_s=30.0), NOW + 30 + wait_s)
        for wait_s in (3600.0, 60.0)
    )

    assert an_hour.spacing_s == a_minute.spacing_s == 1.5


def test_where_nothing_was_ever_let_through_no_pace_is_learnt() -> None:
    pace = resume(pace_after_refusal(through=0), NOW + 600)

    assert pace.rate_per_min(NOW + 600) is None


def test_only_about_the_last_minute_counts_however_long_a_lane_has_run() -> None:
    pace = Pace()
    for second in range(10_000):
        pace = pace.on_start(NOW + second, 1)
    for tenth in range(600):
        pace = pace.on_start(NOW + 10_000 + tenth / 10, 1)
    end = NOW + 10_060
    pace = pace.on_refusal(end, started=end - 0.1)

    assert resume(pace, end + 1).rate_per_min(end + 1) == pytest.approx(600, rel=0.5)


def test_what_came_before_a_pause_does_not_count() -> None:
    pace = Pace().on_start(NOW, 5)
    later = NOW + 8 * 3600
    pace = pace.on_start(later, 61).on_refusal(later + 1, started=later)

    assert resume(pace, later + 60).rate_per_min(later + 60) == 58


def test_a_pace_grows_slowly_at_first_and_in_the_end_out_of_existence() -> None:
    pace = resume(pace_after_refusal(through=60), NOW + 60)
    rate = [pace.rate_per_min(NOW + 60 + after) for after in (5, GROWTH_S, 2 * GROWTH_S, 900)]

    assert rate == [59, 116, 931, None]


def run_against(
    server: Callable[[float], float], jobs: int, *, at_once: int, latency_s: float = 0.1
) -> list[float]:
    """When requests were started that a server answers with 0, or refuses with the wait that it wants."""
    pace, log = Pace(), rates.EMPTY
    now = blocked_until = NOW
    under_way: list[tuple[float, float, float]] = []
    started: list[float] = []
    waiting = jobs
    while waiting or under_way:
        pace = pace.at(now)
        while waiting and len(under_way) < at_once and now >= blocked_until and pace.admits() != 0:
            if (rate := pace.rate_per_min(now)) is not None:
                taken = rates.take(log, now=now, rate_per_min=rate, want=1)
                log = taken.log
                if not taken.slots:
                    break
            pace = pace.on_start(now, 1)
            started.append(now)
            waiting -= 1
            heappush(under_way, (now + latency_s, now, server(now)))
        while under_way and under_way[0][0] <= now:
            _, began, wait_s = heappop(under_way)
            if wait_s:
                waiting += 1
                pace = pace.on_refusal(now, started=began)
                blocked_until = max(blocked_until, began + latency_s + wait_s)
            else:
                pace = pace.on_answer(now, started=began)
        now += 0.025
    return started


def sliding(limit: int) -> Callable[[float], float]:
    """At most so many in any minute."""
    taken: deque[float] = deque()

    def answer(now: float) -> float:
        while taken and taken[0] <= now - WINDOW_S:
            taken.popleft()
        if len(taken) >= limit:
            return taken[0] + WINDOW_S - now
        taken.append(now)
        return 0.0

    return answer


def by_the_clock(limit: int) -> Callable[[float], float]:
    """At most so many in each minute of the clock."""
    taken: dict[int, int] = {}

    def answer(now: float) -> float:
        minute = int(now // 60)
        if taken.get(minute, 0) >= limit:
            return (minute + 1) * 60 - now
        taken[minute] = taken.get(minute, 0) + 1
        return 0.0

    return answer


def bucket(limit: int, size: int) -> Callable[[float], float]:
    """So many a minute evenly, and `size` more at once."""
    left, last = float(size), NOW

    def answer(now: float) -> float:
        nonlocal left, last
        left, last = min(size, left + (now - last) * limit / 60), now
        if left < 1:
            return (1 - left) * 60 / limit
        left -= 1
        return 0.0

    return answer


@pytest.mark.parametrize(
    "server", [sliding(60), by_the_clock(60), bucket(60, 20)], ids=["sliding", "clock", "bucket"]
)
def test_against_a_strict_server_hardly_anything_is_sent_in_vain(
    server: Callable[[float], float],
) -> None:
    started = run_against(server, 600, at_once=24)

    # The first burst apart, before anything is known of the limit.
    assert len(started) <= 600 + 24 + 0.05 * 600
    # And hardly any of the limit is left unused.
    assert started[-1] - NOW <= 1.2 * 600
    # Nothing is sent together once the limit is known.
    later = [one for one in started if one > NOW + 65]
    assert sum(after - before < 0.3 for before, after in pairwise(later)) <= 0.05 * len(later)


@given(
    events=st.lists(
        st.tuples(st.sampled_from(["start", "refuse", "answer", "time"]), st.floats(0, 200)),
        max_size=60,
    )
)
def test_whatever_happens_a_lane_goes_on_at_one_a_minute_at_least(
    events: list[tuple[str, float]],
) -> None:
    pace, now, starts = Pace(), NOW, [NOW]
    for name, after_s in events:
        now += after_s
        pace = pace.at(now)
        match name:
            case "start":
                pace = pace.on_start(now, 1)
                starts.append(now)
            case "refuse":
                pace = pace.on_refusal(now, started=starts[-1])
            case "answer":
                pace = pace.on_answer(now, started=starts[-1])
        rate = pace.rate_per_min(now)
        assert rate is None or rate >= 1
        if pace.admits() == 0:
            assert pace.at(pace.admits_at).admits() is None
