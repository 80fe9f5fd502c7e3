"""The states of a job, and the only table of their changes.

The SQL's `state in sources(event)`, the CHECKs, the docs' diagram and the tests derive from
TRANSITIONS.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from types import MappingProxyType


class State(StrEnum):
    """Where a job stands."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    """Due again at a time: after a transient failure, a 429, an empty quota or a shutdown."""
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
    """A 429, an empty quota, a refused key, an unhealthy target, a shutdown: the attempt is given back."""
    RECLAIM = "reclaim"
    """Its worker is dead: the job may be claimed at once."""
    FAIL = "fail"
    CANCEL = "cancel"
    REQUEUE = "requeue"
    """An explicit `retry`, or a cell that returns to the sweep file.

    An answered job is requeued if some of its questions have no answer; its answer stays until there
    is another.
    """


class AttemptOutcome(StrEnum):
    """The outcome of an attempt; `sent` while it is in flight."""

    SENT = "sent"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RATE_LIMITED = "rate_limited"
    REFUSED = "refused"
    """Not the job's fault: no quota, a refused key, or an unhealthy target."""
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"
    """Stopped by the engine: a shutdown, a pause or a cancel."""
    LOST = "lost"
    """Its worker died; whether the service handled the request is unknown."""


# A late answer (its job was reclaimed, cancelled or failed meanwhile) was paid for, so it is kept
# unless the job has a result already. A job that is asked again keeps its old answer: where it
# would fail or be cancelled, it stays succeeded.
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


@cache
def sources(event: Event) -> tuple[State, ...]:
    """The states in which `event` can happen, in the order of State; the WHERE clauses of the store use them."""
    return tuple(state for state in State if event in TRANSITIONS[state])


@cache
def target(event: Event) -> State:
    """The state that `event` leads to, which is the same from every state."""
    [state] = {TRANSITIONS[source][event] for source in sources(event)}
    return state
