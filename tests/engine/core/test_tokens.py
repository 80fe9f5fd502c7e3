"""The log of tokens: what it holds, and what it forgets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.rates import CLOCK_TOLERANCE_S, GUARD_S, PACE, WINDOW_S
from engine.core.tokens import (
    EMPTY,
    TokenLog,
    append_start,
    current,
    decode,
    encode,
    next_at,
    settle,
    whole_ms,
)

NOW = 1_700_000_000.123


def log_of(*calls: tuple[float, int]) -> TokenLog:
    """A log of calls, each so many seconds after NOW and of so many tokens."""
    log = EMPTY
    for after_s, tokens in calls:
        log = append_start(log, at=whole_ms(NOW + after_s), tokens=tokens)
    return log


def test_a_call_waits_until_enough_of_the_others_are_a_window_ago() -> None:
    log = log_of((0, 500), (20, 300), (40, 200))

    small = next_at(log, tokens_per_min=1100, tokens=100, not_before=NOW + 59)
    large = next_at(log, tokens_per_min=1100, tokens=800, not_before=NOW + 59)

    assert small == whole_ms(NOW + 59)
    assert NOW + 20 + WINDOW_S + GUARD_S <= large <= NOW + 20 + WINDOW_S + GUARD_S + 0.1


def test_a_call_of_more_than_a_minute_s_tokens_starts_alone_in_an_empty_window() -> None:
    log = log_of((0, 10))

    alone = next_at(EMPTY, tokens_per_min=1000, tokens=5000, not_before=NOW)
    after = next_at(log, tokens_per_min=1000, tokens=5000, not_before=NOW + 1)
    behind = next_at(log_of((0, 5000)), tokens_per_min=1000, tokens=1, not_before=NOW + 1)

    assert alone == whole_ms(NOW)
    assert after >= NOW + WINDOW_S + GUARD_S
    assert behind >= NOW + WINDOW_S + GUARD_S


def test_calls_are_spaced_by_what_the_mean_call_of_the_last_minute_took() -> None:
    paced = next_at(log_of((0, 100), (10, 300)), tokens_per_min=2000, tokens=1, not_before=NOW + 10)

    assert paced == pytest.approx(NOW + 10 + PACE * WINDOW_S * 200 / 2000, abs=0.002)


def test_an_answer_that_took_less_makes_room_and_one_that_took_more_takes_it() -> None:
    log = log_of((0, 600), (30, 300))
    at = whole_ms(NOW)

    less = settle(log, at=at, estimate=600, tokens=100)
    more = settle(log, at=at, estimate=600, tokens=900)

    def room_at(log: TokenLog, tokens: int) -> float:
        return next_at(log, tokens_per_min=1000, tokens=tokens, not_before=NOW + 59)

    assert room_at(less, 500) == whole_ms(NOW + 59)
    assert room_at(log, 500) >= NOW + WINDOW_S + GUARD_S
    assert room_at(log, 50) == whole_ms(NOW + 59)
    assert room_at(more, 50) >= NOW + WINDOW_S + GUARD_S


def test_a_call_that_was_never_made_counts_neither_its_tokens_nor_itself() -> None:
    log = log_of((0, 100), (0.01, 300))

    once = settle(log, at=whole_ms(NOW), estimate=100, tokens=0)
    twice = settle(once, at=whole_ms(NOW + 0.01), estimate=300, tokens=0)

    assert [(starts, tokens) for _, starts, tokens in once] == [(1, 300)]
    assert twice == EMPTY


def test_an_answer_to_a_call_that_is_forgotten_changes_nothing() -> None:
    log = log_of((0, 100))

    assert settle(log, at=NOW - 61, estimate=50, tokens=10_000) == log


def test_what_is_older_than_a_window_is_forgotten() -> None:
    log = log_of((0, 100), (30, 200))

    assert current(log, NOW + 61) == log_of((30, 200))


def test_a_clock_that_was_set_back_keeps_what_was_started_and_brings_it_near() -> None:
    log = log_of((0, 100), (3600, 200), (3630, 300))

    [first, far] = current(log, NOW)

    assert first == log[0]
    assert (far[1], far[2]) == (2, 500)
    assert far[0] == pytest.approx(NOW + CLOCK_TOLERANCE_S, abs=0.002)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 10**9)), max_size=60).map(sorted))
def test_a_log_survives_its_encoding(calls: list[tuple[float, int]]) -> None:
    log = log_of(*calls)

    assert decode(encode(log)) == log
    assert sum(starts for _, starts, _ in log) == len(calls)
    assert sum(tokens for _, _, tokens in log) == sum(tokens for _, tokens in calls)
    assert len(log) <= 100 / 0.25 + 1
