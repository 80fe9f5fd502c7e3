import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.concurrency import Concurrency, LaneDemand, allot


def lane(name: str, *, in_flight: int = 0, capacity: int = 99, ready: int = 99) -> LaneDemand:
    return LaneDemand(name=name, in_flight=in_flight, capacity=capacity, ready=ready)


def test_a_lane_starts_at_its_ceiling() -> None:
    assert Concurrency.at(16).capacity(0.0) == 16


def test_an_overload_halves_what_was_really_in_flight() -> None:
    assert Concurrency.at(64).on_overload(10.0, in_flight=8).capacity(10.0) == 4


def test_the_echoes_of_one_overload_halve_only_once() -> None:
    state = Concurrency.at(64)

    for moment in (10.0, 10.2, 11.9):
        state = state.on_overload(moment, in_flight=64, latency_s=2.0)

    assert state.capacity(10.0) == 32


def test_a_second_overload_after_the_latency_halves_again() -> None:
    state = Concurrency.at(64).on_overload(10.0, in_flight=64, latency_s=2.0)

    state = state.on_overload(12.0, in_flight=32, latency_s=2.0)

    assert state.capacity(12.0) == 16


def test_a_storm_never_goes_below_one() -> None:
    state = Concurrency.at(16)

    for second in range(100):
        state = state.on_overload(float(second), in_flight=1)

    assert state.capacity(99.0) == 1


@pytest.mark.parametrize("ceiling", [1, 2, 16, 1000])
def test_a_lane_is_back_at_its_ceiling_within_a_minute_of_the_last_overload(ceiling: int) -> None:
    state = Concurrency.at(ceiling)
    for second in range(60):
        state = state.on_overload(float(second), in_flight=ceiling)

    assert state.capacity(59.0 + 60.0) == ceiling


def test_successes_bring_a_lane_back_sooner() -> None:
    by_time = Concurrency.at(16).on_overload(0.0, in_flight=16)
    by_success = by_time
    for tenth in range(1, 21):
        by_success = by_success.on_success(tenth / 10)

    assert by_success.capacity(2.0) > by_time.capacity(2.0)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 30), st.integers(0, 100)), max_size=60))
def test_the_limit_stays_between_one_and_the_ceiling(steps: list[tuple[bool, float, int]]) -> None:
    state, now = Concurrency.at(20), 0.0

    for success, gap_s, in_flight in steps:
        now += gap_s
        state = state.on_success(now) if success else state.on_overload(now, in_flight=in_flight)

        assert 1 <= state.capacity(now) <= 20


def test_free_slots_go_to_the_emptiest_lanes_first() -> None:
    lanes = [lane("a", in_flight=5), lane("b", in_flight=1), lane("c")]

    assert allot(6, lanes) == {"b": 2, "c": 4} or allot(6, lanes) == {"b": 3, "c": 3}
    assert allot(9, lanes) == {"b": 4, "c": 5}


def test_a_lane_gets_no_more_than_it_can_take() -> None:
    lanes = [lane("a", ready=1), lane("b", in_flight=3, capacity=5), lane("c", capacity=0)]

    assert allot(100, lanes) == {"a": 1, "b": 2}


def test_the_odd_slot_goes_to_the_first_of_equals() -> None:
    lanes = [lane("c"), lane("a"), lane("b", in_flight=1)]

    assert allot(1, lanes) == {"c": 1}
    assert list(allot(3, lanes)) == ["c", "a"]


def test_nothing_is_shared_over_no_lanes() -> None:
    assert allot(5, []) == {}


@given(
    free=st.integers(0, 60),
    demands=st.lists(
        st.tuples(st.integers(0, 10), st.integers(0, 12), st.integers(0, 12)), max_size=8
    ),
)
def test_all_that_can_be_used_is_shared_out_as_evenly_as_possible(
    free: int, demands: list[tuple[int, int, int]]
) -> None:
    lanes = [
        lane(str(index), in_flight=in_flight, capacity=capacity, ready=ready)
        for index, (in_flight, capacity, ready) in enumerate(demands)
    ]

    given_out = allot(free, lanes)

    assert sum(given_out.values()) == min(free, sum(one.room for one in lanes))
    level = {one.name: one.in_flight + given_out.get(one.name, 0) for one in lanes}
    for one in lanes:
        share = given_out.get(one.name, 0)
        assert share <= one.room
        if share < one.room:
            # No lane that was given something is more than one above a lane that has room left.
            assert all(level[name] <= level[one.name] + 1 for name in given_out)
