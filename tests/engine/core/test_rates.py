from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.rates import (
    CLOCK_TOLERANCE_S,
    EMPTY,
    GUARD_S,
    PACE,
    RESOLUTION_S,
    WINDOW_S,
    RateLog,
    decode,
    encode,
    most_slots,
    refund,
    take,
)

NOW = 1_700_000_000.123


def most_in_any_window(starts: Sequence[float]) -> int:
    """The most starts in any [t, t + 60 s), t being one of them."""
    ordered = sorted(starts)
    most = first = 0
    for last, start in enumerate(ordered):
        while start - ordered[first] >= WINDOW_S:
            first += 1
        most = max(most, last - first + 1)
    return most


def prompt_starts(rate: int, *, seconds: float, horizon_s: float, chance: Random) -> list[float]:
    """The slots of a caller that always asks again at the given time; the log goes through JSON."""
    log, now = EMPTY, NOW
    starts: list[float] = []
    while now < NOW + seconds:
        taken = take(
            decode(encode(log)),
            now=now,
            rate_per_min=rate,
            want=chance.randint(1, 200),
            horizon_s=horizon_s,
        )
        log = taken.log
        starts += taken.slots
        now = max(now, taken.next_at)
    return [start for start in starts if start < NOW + seconds]


@pytest.mark.parametrize("rate", [1, 2, 7, 20, 60, 300, 3000])
@pytest.mark.parametrize("horizon_s", [0.0, 1.0])
def test_at_least_98_percent_of_the_budget_is_used_over_5_minutes(
    rate: int, horizon_s: float
) -> None:
    starts = prompt_starts(rate, seconds=300, horizon_s=horizon_s, chance=Random(rate))

    assert len(starts) >= 0.98 * rate * 5
    assert most_in_any_window(starts) <= rate


@pytest.mark.parametrize("rate", [2, 60, 3000])
def test_the_budget_stays_in_use_minute_after_minute(rate: int) -> None:
    starts = prompt_starts(rate, seconds=1200, horizon_s=1.0, chance=Random(rate))

    # A window moved by its own guard each minute may lose one start of a low rate in 5 minutes.
    for begin in range(0, 901, 60):
        used = sum(1 for start in starts if begin <= start - NOW < begin + 300)
        assert used >= min(0.98 * rate * 5, rate * 5 - 1)


@settings(deadline=None)
@given(
    rate=st.integers(1, 200),
    seed=st.integers(0, 2**32),
    horizon_s=st.floats(0, CLOCK_TOLERANCE_S),
    gap_s=st.floats(0.01, 20),
    drop=st.floats(0, 0.5),
)
def test_no_window_of_60_s_ever_sees_more_starts_than_the_rate(
    rate: int, seed: int, horizon_s: float, gap_s: float, drop: float
) -> None:
    chance, log, now, starts = Random(seed), EMPTY, NOW, []

    for _ in range(150):
        taken = take(
            log, now=now, rate_per_min=rate, want=chance.randint(0, 50), horizon_s=horizon_s
        )
        log = decode(encode(taken.log))
        dropped = [slot for slot in taken.slots if chance.random() < drop]
        starts += [slot + chance.uniform(0, GUARD_S) for slot in taken.slots if slot not in dropped]
        if chance.random() < 0.5:
            log = refund(log, dropped)
        now += chance.uniform(0, gap_s)

    assert most_in_any_window(starts) <= rate


@given(rate=st.integers(1, 6000), want=st.integers(2, 100))
def test_starts_are_paced_even_on_an_empty_log(rate: int, want: int) -> None:
    taken = take(EMPTY, now=NOW, rate_per_min=rate, want=want, horizon_s=CLOCK_TOLERANCE_S)

    assert taken.slots[0] == NOW
    for earlier, later in pairwise((*taken.slots, taken.next_at)):
        assert later - earlier >= PACE * WINDOW_S / rate - 1e-6


def test_only_slots_within_the_horizon_are_granted_and_the_next_one_is_named() -> None:
    taken = take(EMPTY, now=NOW, rate_per_min=60, want=10, horizon_s=2.0)

    assert taken.slots == pytest.approx((NOW, NOW + 0.9, NOW + 1.8))
    assert taken.next_at == pytest.approx(NOW + 2.7)


@given(rate=st.integers(1, 6000), horizon_s=st.floats(0, CLOCK_TOLERANCE_S))
def test_no_more_slots_are_granted_than_the_horizon_has(rate: int, horizon_s: float) -> None:
    taken = take(EMPTY, now=NOW, rate_per_min=rate, want=100, horizon_s=horizon_s)

    most = min(100, most_slots(rate, horizon_s))
    assert most - 1 <= len(taken.slots) <= most + 1


def test_no_slot_is_granted_before_a_given_time() -> None:
    taken = take(EMPTY, now=NOW, rate_per_min=60, want=1, horizon_s=5.0, not_before=NOW + 4)

    assert taken.slots == (NOW + 4,)


def test_asking_for_nothing_tells_when_the_next_slot_is() -> None:
    log = take(EMPTY, now=NOW, rate_per_min=1, want=1).log

    taken = take(log, now=NOW + 1, rate_per_min=1, want=0)

    assert taken.slots == ()
    assert NOW + WINDOW_S + GUARD_S <= taken.next_at <= NOW + WINDOW_S + GUARD_S + 0.1


def test_a_stall_is_caught_up_without_a_burst() -> None:
    taken = take(EMPTY, now=NOW, rate_per_min=60, want=30, horizon_s=5.0)
    log, now = taken.log, NOW + 35
    slots: list[float] = []

    while now < NOW + 60:
        taken = take(log, now=now, rate_per_min=60, want=100, horizon_s=1.0)
        log, now = taken.log, taken.next_at
        slots += taken.slots

    assert len(slots) >= 27
    assert all(later - earlier >= 0.9 - 1e-6 for earlier, later in pairwise(slots))


def test_a_lowered_rate_counts_what_was_started_under_the_higher_one() -> None:
    log, now = EMPTY, NOW
    for _ in range(6):
        taken = take(log, now=now, rate_per_min=600, want=100, horizon_s=5.0)
        log, now = taken.log, taken.next_at

    taken = take(log, now=now, rate_per_min=10, want=1)

    assert taken.slots == ()
    assert taken.next_at > now + 50


@pytest.mark.parametrize("rate", [300, 6000, 60_000])
def test_the_log_stays_small_at_any_rate(rate: int) -> None:
    log, now = EMPTY, NOW
    for _ in range(100):
        taken = take(log, now=now, rate_per_min=rate, want=10_000, horizon_s=1.0)
        log, now = taken.log, taken.next_at

    assert len(log) <= (WINDOW_S + GUARD_S + 1) / RESOLUTION_S + 2
    assert len(encode(log)) < 3000


@pytest.mark.parametrize("back_s", [4.0, 30.0, 61.0, 86_400.0])
def test_a_clock_set_back_blocks_for_about_a_window_and_lets_no_more_through(
    back_s: float,
) -> None:
    # Real time runs on; what the processes read as `now` is back_s less after the jump.
    log, now = EMPTY, NOW
    real_starts: list[float] = []
    while now < NOW + 90:
        taken = take(log, now=now, rate_per_min=20, want=50, horizon_s=1.0)
        log, now = taken.log, taken.next_at
        real_starts += taken.slots
    jump_at = now

    while now < jump_at + 200:
        taken = take(log, now=now - back_s, rate_per_min=20, want=50, horizon_s=1.0)
        log, now = decode(encode(taken.log)), max(now, taken.next_at + back_s)
        real_starts += [slot + back_s for slot in taken.slots]

    assert most_in_any_window(real_starts) <= 20
    after = [start for start in real_starts if start >= jump_at]
    assert after[0] - jump_at < WINDOW_S + CLOCK_TOLERANCE_S + 1


def test_a_clock_set_ahead_lets_through_no_more_than_the_pace() -> None:
    log, now = EMPTY, NOW
    real_starts: list[float] = []
    for ahead_s, until in ((0.0, NOW + 55), (600.0, NOW + 200)):
        while now < until:
            taken = take(log, now=now + ahead_s, rate_per_min=100, want=50, horizon_s=1.0)
            log, now = taken.log, max(now, taken.next_at - ahead_s)
            real_starts += [slot - ahead_s for slot in taken.slots]

    assert most_in_any_window(real_starts) <= 100 / PACE + 2


def test_a_refunded_slot_can_be_granted_again() -> None:
    full = take(EMPTY, now=NOW, rate_per_min=1, want=1)

    log = refund(full.log, full.slots)

    assert take(log, now=NOW + 1, rate_per_min=1, want=1).slots == (NOW + 1,)


def test_a_slot_that_is_not_in_the_log_cannot_be_refunded() -> None:
    log = take(EMPTY, now=NOW, rate_per_min=1, want=1).log

    assert refund(log, [NOW - 10, NOW + 10]) == log


@given(
    st.lists(st.tuples(st.floats(1.6e9, 1.6e9 + 120), st.integers(1, 1000)), max_size=50).map(
        sorted
    )
)
def test_a_log_survives_its_encoding_and_no_entry_gets_older(
    entries: list[tuple[float, int]],
) -> None:
    log: RateLog = tuple(entries)

    once = decode(encode(log))

    assert decode(encode(once)) == once
    assert sum(count for _, count in once) == sum(count for _, count in log)
    if log:
        assert log[-1][0] - 1e-6 <= once[-1][0] <= log[-1][0] + 0.0011


def test_an_empty_text_is_an_empty_log() -> None:
    assert decode("") == decode(encode(EMPTY)) == EMPTY
