"""The states of a job: the only place where a state changes.

The SQL's `state in sources(event)`, the CHECKs, the docs' diagram and the tests derive from
TRANSITIONS.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """Where a job stands."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    """Not before a time: after a transient failure, a 429, an empty quota or a shutdown."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Event(StrEnum):
    """What can happen to a job."""

    CLAIM = "claim"
    SUCCEED = "succeed"
    RETRY_LATER = "retry_later"
    """A transient failure: the attempt is used."""
    GIVE_BACK = "give_back"
    """A 429, an empty quota, a refused key, a sick target, a shutdown: the attempt is given back."""
    RECLAIM = "reclaim"
    """Its worker is dead: the job may be claimed at once."""
    FAIL = "fail"
    CANCEL = "cancel"
    REQUEUE = "requeue"
    """An explicit `retry`, or a cell that is back in the sweep file.

    Of an answer, too, where some of its questions have none: it stays until there is another.
    """


class AttemptOutcome(StrEnum):
    """What one attempt came to; `sent` until it is known."""

    SENT = "sent"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RATE_LIMITED = "rate_limited"
    REFUSED = "refused"
    """Not the job's fault: quota used up, key refused or target unhealthy."""
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"
    """Stopped by us before its end: a shutdown, a pause or a cancel."""
    LOST = "lost"
    """Its worker died; nobody knows what became of the request."""


class IllegalTransition(Exception):
    """An event that cannot happen to a job in this state: a bug in the caller."""


# An answer is kept from wherever it comes, if the job has none yet: it was paid for. So a success
# that arrives late (its lease lost, its job cancelled or given up meanwhile) is legal everywhere
# but where a result is already. A job with an answer that is asked again is never without one: where
# it would fail or be cancelled, it has succeeded as before.
TRANSITIONS: Mapping[State, Mapping[Event, State]] = MappingProxyType(
    {
        State.PENDING: {
            Event.CLAIM: State.RUNNING,
            Event.SUCCEED: State.SUCCEEDED,
            Event.CANCEL: State.CANCELLED,
        },
        State.WAITING: {
            Event.CLAIM: State.RUNNING,
            Event.SUCCEED: State.SUCCEEDED,
            Event.CANCEL: State.CANCELLED,
        },
        State.RUNNING: {
            Event.SUCCEED: State.SUCCEEDED,
            Event.RETRY_LATER: State.WAITING,
            Event.GIVE_BACK: State.WAITING,
            Event.RECLAIM: State.PENDING,
            Event.FAIL: State.FAILED,
            Event.CANCEL: State.CANCELLED,
        },
        State.SUCCEEDED: {
            Event.REQUEUE: State.PENDING,
        },
        State.FAILED: {
            Event.SUCCEED: State.SUCCEEDED,
            Event.REQUEUE: State.PENDING,
        },
        State.CANCELLED: {
            Event.SUCCEED: State.SUCCEEDED,
            Event.REQUEUE: State.PENDING,
        },
    }
)


def step(state: State, event: Event) -> State:
    """The state after `event`; raises IllegalTransition where the event cannot happen."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransition(f"a {state} job cannot {event}") from None


def sources(event: Event) -> tuple[State, ...]:
    """The states in which `event` can happen, in the order of State."""
    return tuple(state for state in State if event in TRANSITIONS[state])


def target(event: Event) -> State:
    """The state that `event` leads to; it is the same from all its sources."""
    [state] = {TRANSITIONS[source][event] for source in sources(event)}
    return state
