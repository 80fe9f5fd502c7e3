"""Permits: what starts in any minute, how much of it is used, and who waits for whom."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.permits import (
    PLACE_S,
    PermitGrant,
    PermitLimit,
    PermitRequest,
    PermitState,
    settle,
    take,
)
from engine.core.rates import CLOCK_TOLERANCE_S, GUARD_S, WINDOW_S

NOW = 1_700_000_000.123


@dataclass
class Book:
    """What is stored for one name, and all that was started under it: when, and what it counts."""

    state: PermitState = field(default_factory=PermitState)
    started: list[tuple[float, int]] = field(default_factory=list)
    last_at: dict[str, float] = field(default_factory=dict)
    """The latest start of each that asks."""

    def ask(
        self, now: float, *calls: int, caller: str = "one", **limits: int | float
    ) -> PermitGrant:
        lead_s = limits.pop("lead_s", 0.0)
        limit = PermitLimit(name="a", **limits)  # type: ignore[arg-type]
        last_at = self.last_at.get(caller, 0.0)
        request = PermitRequest(
            caller=caller, calls=calls, limits=(limit,), lead_s=lead_s, last_at=last_at
        )
        granted, after = take({"a": self.state}, request, now=now)
        self.state = after["a"]
        self.started += zip(granted.slots, calls, strict=False)
        self.last_at[caller] = max((last_at, *granted.slots))
        return granted

    def settle(self, index: int, taken: int) -> None:
        at, estimate = self.started[index]
        self.state = settle(self.state, at=at, estimate=estimate, taken=taken)
        self.started[index] = (at, taken)


def worst(started: Sequence[tuple[float, int]]) -> tuple[int, int]:
    """The most tokens of several calls in any 60 s, and the most calls."""
    ordered = sorted(started)
    most_tokens = most_calls = first = tokens = 0
    for last, (at, of_call) in enumerate(ordered):
        tokens += of_call
        while at - ordered[first][0] >= WINDOW_S:
            tokens -= ordered[first][1]
            first += 1
        most_calls = max(most_calls, last - first + 1)
        if last > first:
            most_tokens = max(most_tokens, tokens)
    return most_tokens, most_calls


@settings(deadline=None)
@given(
    budget=st.integers(1, 5_000),
    rate=st.none() | st.integers(1, 200),
    largest=st.integers(1, 2_000),
    seed=st.integers(0, 2**32),
    gap_s=st.floats(0.01, 15),
    lead_s=st.floats(0, 4),
)
def test_no_window_of_60_s_sees_more_estimated_tokens_than_a_minute_has(
    budget: int, rate: int | None, largest: int, seed: int, gap_s: float, lead_s: float
) -> None:
    chance, book, now = Random(seed), Book(), NOW
    limits = {"tokens_per_min": budget, "lead_s": lead_s, "rate_per_min": rate}

    for _ in range(80):
        calls = [chance.randint(1, largest) for _ in range(chance.randint(1, 20))]
        book.ask(now, *calls, caller=chance.choice("ab"), **limits)  # type: ignore[arg-type]
        now += chance.uniform(0, gap_s)
    used = [(at + chance.uniform(0, GUARD_S), tokens) for at, tokens in book.started]

    most_tokens, most_calls = worst(used)
    assert most_tokens <= budget
    assert rate is None or most_calls <= rate


@settings(deadline=None)
@given(
    budget=st.integers(100, 5_000),
    seed=st.integers(0, 2**32),
    gap_s=st.floats(0.1, 10),
    answers=st.floats(0, 1),
)
def test_answers_that_took_less_never_let_a_window_see_more_than_it_has(
    budget: int, seed: int, gap_s: float, answers: float
) -> None:
    chance, book, now = Random(seed), Book(), NOW
    unsettled: set[int] = set()

    for _ in range(80):
        before = len(book.started)
        book.ask(now, *[chance.randint(1, 100) for _ in range(10)], tokens_per_min=budget)
        unsettled |= set(range(before, len(book.started)))
        for index in sorted(unsettled):
            if chance.random() < answers:
                unsettled.discard(index)
                book.settle(index, chance.randint(0, book.started[index][1]))
        now += chance.uniform(0, gap_s)

    assert worst(book.started)[0] <= budget


def prompt(budget: int, cost: int, took: int, *, seconds: float, answer_s: float) -> Book:
    """Calls of even cost by a caller that always has more, and asks again at the given time."""
    book, now, settled = Book(), NOW, 0
    while now < NOW + seconds:
        granted = book.ask(now, *[cost] * 50, tokens_per_min=budget)
        answered = book.started[settled][0] + answer_s if settled < len(book.started) else inf
        now = max(now, min(granted.next_at, answered))
        while settled < len(book.started) and book.started[settled][0] + answer_s <= now:
            book.settle(settled, took)
            settled += 1
    return book


@pytest.mark.parametrize(("budget", "cost"), [(1000, 500), (6000, 100), (90_000, 700)])
def test_at_least_95_percent_of_the_tokens_are_used_by_calls_of_even_cost(
    budget: int, cost: int
) -> None:
    book = prompt(budget, cost, cost, seconds=300, answer_s=1.0)

    used = sum(tokens for at, tokens in book.started if at < NOW + 300)
    assert used >= 0.95 * 5 * (budget // cost) * cost
    assert used >= 0.95 * 5 * budget or budget % cost
    assert worst(book.started)[0] <= budget


def test_answers_that_take_less_than_was_feared_leave_room_that_is_used() -> None:
    feared = prompt(60_000, 1000, 1000, seconds=300, answer_s=5.0)
    took = prompt(60_000, 1000, 200, seconds=300, answer_s=5.0)

    assert len(took.started) > 3 * len(feared.started)
    assert worst(took.started)[0] <= 60_000


def test_answers_that_took_more_than_was_estimated_make_later_calls_wait() -> None:
    book = Book()
    book.ask(NOW, 100, tokens_per_min=1000)
    book.settle(0, 1000)

    refused = book.ask(NOW + 55, 1, tokens_per_min=1000)

    assert refused.slots == ()
    assert refused.next_at >= NOW + WINDOW_S + GUARD_S


def test_a_rate_and_tokens_bind_together() -> None:
    book = Book()
    book.ask(NOW, 10, rate_per_min=1, tokens_per_min=1000)

    by_rate = book.ask(NOW + 30, 10, rate_per_min=1, tokens_per_min=1000)
    by_tokens = book.ask(NOW + 30, 995, rate_per_min=100, tokens_per_min=1000)

    assert (by_rate.slots, by_tokens.slots) == ((), ())
    assert by_rate.next_at >= NOW + 60
    assert by_tokens.next_at >= NOW + 60


def test_a_start_that_was_let_go_is_granted_again() -> None:
    book = Book()
    book.ask(NOW, 1000, rate_per_min=1, tokens_per_min=1000)

    book.settle(0, 0)
    again = book.ask(NOW + 1, 1000, rate_per_min=1, tokens_per_min=1000)

    assert again.slots == pytest.approx((NOW + 1,), abs=0.001)


def test_a_rate_alone_keeps_nothing_of_tokens() -> None:
    book = Book()

    granted = book.ask(NOW, 0, 0, 0, rate_per_min=600)

    assert len(granted.slots) == 3
    assert book.state.tokens == ""


@pytest.mark.parametrize("small", [10, 499])
def test_small_calls_of_another_process_do_not_keep_a_large_one_out(small: int) -> None:
    book, now, is_served = Book(), NOW, False
    while not is_served and now < NOW + 3 * WINDOW_S:
        now += 0.5
        book.ask(now, *[small] * 5, caller="the other", tokens_per_min=1000)
        is_served = bool(book.ask(now, 950, caller="one", tokens_per_min=1000).slots)

    assert is_served
    assert worst(book.started)[0] <= 1000


def test_two_with_calls_of_half_a_minute_each_are_served_in_turn() -> None:
    book, now = Book(), NOW
    served = {"one": 0, "the other": 0}
    while now < NOW + 1200:
        for caller in served:
            served[caller] += len(book.ask(now, 600, 600, caller=caller, tokens_per_min=1000).slots)
        now += 0.5

    assert sum(served.values()) >= 19
    assert abs(served["one"] - served["the other"]) <= 2


def test_no_room_is_kept_for_a_caller_that_died_in_line() -> None:
    book = Book()
    book.ask(NOW, 500, caller="the dead", tokens_per_min=1000)
    assert book.ask(NOW + 28, 900, caller="the dead", tokens_per_min=1000).slots == ()

    waiting = book.ask(NOW + 29, 400, tokens_per_min=1000)
    alone = book.ask(NOW + 28 + PLACE_S + 0.1, 400, tokens_per_min=1000)

    assert waiting.slots == ()
    assert len(alone.slots) == 1


@pytest.mark.parametrize("back_s", [30.0, 86_400.0])
def test_a_clock_set_back_blocks_for_about_a_window_and_lets_no_more_through(
    back_s: float,
) -> None:
    # Real time runs on; what is read as `now` is back_s less after the jump.
    book, now = Book(), NOW
    while now < NOW + 90:
        now = max(now, book.ask(now, *[90] * 5, tokens_per_min=1000).next_at)
    before = len(book.started)
    jump_at = now

    while now < jump_at + 200:
        grant = book.ask(now - back_s, *[90] * 5, tokens_per_min=1000)
        now = max(now + 0.001, min(grant.next_at + back_s, now + 2.0))
    real = [*book.started[:before], *((at + back_s, n) for at, n in book.started[before:])]

    assert real[before][0] - jump_at < WINDOW_S + CLOCK_TOLERANCE_S + 1
    assert worst(real)[0] <= 1000


def test_what_is_kept_of_thousands_of_calls_is_small() -> None:
    book = prompt(10**6, 250, 200, seconds=35, answer_s=1.0)

    assert len(book.started) > 2_000
    assert len(book.state.tokens) < 6_000


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), rates=st.tuples(st.integers(1, 90), st.integers(1, 90)))
def test_a_start_within_several_limits_keeps_each_of_them(
    seed: int, rates: tuple[int, int]
) -> None:
    chance, now = Random(seed), NOW
    shared, own = (
        PermitLimit(name=name, rate_per_min=rate)
        for name, rate in zip(("all", "own"), rates, strict=True)
    )
    tokens = PermitLimit(name="tokens", tokens_per_min=900)
    sets = {"a": (shared, own), "b": (shared, tokens), "c": (shared, own, tokens)}
    states: dict[str, PermitState] = {}
    started: dict[str, list[tuple[float, int]]] = {"all": [], "own": [], "tokens": []}

    for _ in range(60):
        caller = chance.choice("abc")
        calls = tuple(chance.randint(1, 200) for _ in range(chance.randint(1, 5)))
        request = PermitRequest(caller=caller, calls=calls, limits=sets[caller])
        granted, after = take(states, request, now=now)
        states |= after
        for at, call in zip(granted.slots, calls, strict=False):
            assert at <= now + request.horizon_s + 0.001
            for limit in sets[caller]:
                started[limit.name].append((at, call))
        now += chance.uniform(0, 4)

    assert worst(started["all"])[1] <= rates[0]
    assert worst(started["own"])[1] <= rates[1]
    assert worst(started["tokens"])[0] <= 900


def test_a_call_that_was_never_made_is_taken_back_under_each_of_its_names() -> None:
    limits = (PermitLimit(name="a", rate_per_min=1), PermitLimit(name="b", rate_per_min=1))
    request = PermitRequest(caller="one", calls=(0,), limits=limits)

    granted, states = take({}, request, now=NOW)
    after = {
        name: settle(one, at=granted.slots[0], estimate=0, taken=0) for name, one in states.items()
    }

    assert take(states, request, now=NOW + 1)[0].slots == ()
    assert len(take(after, request, now=NOW + 1)[0].slots) == 1


@pytest.mark.parametrize("rate", [30, 600])
def test_a_caller_that_is_stopped_in_line_for_a_rate_delays_the_others_once(rate: int) -> None:
    book, now, end = Book(), NOW, NOW + 30
    book.ask(NOW, *[0] * 64, rate_per_min=rate)
    assert not book.ask(NOW, *[0] * 64, caller="stopped", rate_per_min=rate).slots

    while now < end:
        granted = book.ask(now, *[0] * 64, rate_per_min=rate)
        now = max(granted.next_at, now + 0.001)

    late_s = [after - before for (before, _), (after, _) in pairwise(sorted(book.started))]
    assert sum(one > 1.5 * 60 / rate for one in late_s) <= 1
    assert max(late_s) < 2 * 60 / rate + 0.5
    assert worst(book.started)[1] <= rate


def test_a_caller_that_waits_for_a_rate_alone_writes_nothing_meanwhile() -> None:
    book = Book()
    for second in range(0, 120, 2):
        book.ask(NOW + second, 0, rate_per_min=20)
    state = book.state

    refused = book.ask(book.last_at["one"] + 2.4, 0, rate_per_min=20)

    assert refused.slots == ()
    assert book.state is state


def test_callers_that_wait_for_a_rate_are_served_in_turn() -> None:
    book, next_at = Book(), dict.fromkeys(("one", "two", "three"), NOW)
    served: list[str] = []

    while len(served) < 30:
        caller = min(next_at, key=lambda one: next_at[one])
        ahead = {"one": 3.0, "two": 0.0, "three": 0.4}[caller]
        granted = book.ask(next_at[caller], 0, caller=caller, rate_per_min=30, lead_s=ahead)
        served += [caller] * len(granted.slots)
        next_at[caller] = next_at[caller] + 0.01 if granted.slots else granted.next_at

    turns = [served[at : at + 3] for at in range(9, 30, 3)]
    assert all(sorted(turn) == ["one", "three", "two"] for turn in turns)
