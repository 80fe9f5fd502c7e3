import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.quota import QuotaState, fit_to_allotment, refund, reserve, settle


def test_what_is_held_becomes_what_the_answer_cost() -> None:
    held = reserve(QuotaState(allotted=100, used=20), 30)

    assert settle(held, 30, 12) == QuotaState(allotted=100, used=32)


def test_what_surely_was_not_sent_is_given_back() -> None:
    state = QuotaState(allotted=100, used=20)

    assert refund(reserve(state, 30), 30) == state


def test_more_than_there_is_cannot_be_reserved() -> None:
    with pytest.raises(AssertionError, match="do not fit"):
        reserve(QuotaState(allotted=100, used=71), 30)


def test_an_answer_that_cost_more_than_is_left_goes_into_the_overrun() -> None:
    state = reserve(QuotaState(allotted=100, used=90), 5)

    assert settle(state, 5, 17) == QuotaState(allotted=100, used=100, overrun=7)


def test_the_overrun_is_paid_from_what_is_released_later() -> None:
    state = reserve(reserve(QuotaState(allotted=100, used=80), 10), 10)
    over = settle(state, 10, 14)

    assert over == QuotaState(allotted=100, used=90, reserved=10, overrun=4)
    assert refund(over, 10) == QuotaState(allotted=100, used=94)


def test_an_allotment_below_what_is_gone_leaves_no_room() -> None:
    state = fit_to_allotment(allotted=50, used=70, reserved=10)

    assert state == QuotaState(allotted=50, used=40, reserved=10, overrun=30)
    assert state.room == 0


@given(
    allotted=st.integers(0, 500),
    steps=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60), st.integers(0, 90))),
)
def test_nothing_is_lost_and_never_is_more_committed_than_allotted(
    allotted: int, steps: list[tuple[int, int, int]]
) -> None:
    state, held, spent = QuotaState(allotted=allotted), [], 0

    for action, amount, cost in steps:
        if action == 0 and amount <= state.room:
            state = reserve(state, amount)
            held.append(amount)
        elif action == 1 and held:
            state = settle(state, held.pop(), cost)
            spent += cost
        elif action == 2 and held:
            state = refund(state, held.pop(0))

        # QuotaState itself asserts used + reserved <= allotted.
        assert state.used + state.overrun == spent
        assert state.reserved == sum(held)
        assert state.overrun == 0 or state.room == 0
