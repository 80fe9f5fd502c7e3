from itertools import product

import pytest

from engine.core.states import (
    TRANSITIONS,
    Event,
    State,
    sources,
    target,
)

LEGAL = {
    (State.PENDING, Event.CLAIM): State.RUNNING,
    (State.PENDING, Event.SUCCEED): State.SUCCEEDED,
    (State.PENDING, Event.CANCEL): State.CANCELLED,
    (State.WAITING, Event.CLAIM): State.RUNNING,
    (State.WAITING, Event.SUCCEED): State.SUCCEEDED,
    (State.WAITING, Event.CANCEL): State.CANCELLED,
    (State.RUNNING, Event.SUCCEED): State.SUCCEEDED,
    (State.RUNNING, Event.RETRY_LATER): State.WAITING,
    (State.RUNNING, Event.GIVE_BACK): State.WAITING,
    (State.RUNNING, Event.RECLAIM): State.PENDING,
    (State.RUNNING, Event.FAIL): State.FAILED,
    (State.RUNNING, Event.CANCEL): State.CANCELLED,
    (State.SUCCEEDED, Event.REQUEUE): State.PENDING,
    (State.FAILED, Event.SUCCEED): State.SUCCEEDED,
    (State.FAILED, Event.REQUEUE): State.PENDING,
    (State.CANCELLED, Event.SUCCEED): State.SUCCEEDED,
    (State.CANCELLED, Event.REQUEUE): State.PENDING,
}


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_each_event_in_each_state_does_what_is_written_or_is_illegal(
    state: State, event: Event
) -> None:
    assert TRANSITIONS[state].get(event) is LEGAL.get((state, event))


@pytest.mark.parametrize("event", list(Event))
def test_the_sources_of_an_event_are_the_states_in_which_it_is_legal(event: Event) -> None:
    assert sources(event) == tuple(state for state in State if (state, event) in LEGAL)


@pytest.mark.parametrize("event", list(Event))
def test_an_event_leads_to_one_state_from_wherever_it_happens(event: Event) -> None:
    assert {TRANSITIONS[state][event] for state in sources(event)} == {target(event)}


def test_a_result_is_never_lost_again_only_asked_for_once_more() -> None:
    assert TRANSITIONS[State.SUCCEEDED] == {Event.REQUEUE: State.PENDING}


def test_an_answer_is_kept_in_every_state_that_has_none_yet() -> None:
    assert set(sources(Event.SUCCEED)) == set(State) - {State.SUCCEEDED}


def test_only_a_late_answer_or_an_explicit_retry_moves_a_terminal_job() -> None:
    for state in (State.SUCCEEDED, State.FAILED, State.CANCELLED):
        assert set(TRANSITIONS[state]) <= {Event.SUCCEED, Event.REQUEUE}
