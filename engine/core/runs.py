"""The states of a run, why one waits or stops, and what its log tells: plain values."""

from dataclasses import dataclass
from enum import StrEnum


class RunState(StrEnum):
    """Where a run stands; `reason` beside it says why it cannot go on."""

    ACTIVE = "active"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    FINISHED = "finished"
    DELETING = "deleting"
    """A part of it is gone: it can only be deleted."""

    @property
    def is_over(self) -> bool:
        """Whether the run has ended for good: what it has no answer to is missing, and not to go."""
        return self in (RunState.CANCELLED, RunState.FINISHED, RunState.DELETING)


class StopReason(StrEnum):
    """Why a run ended before every cell had an outcome."""

    QUOTA = "quota"
    CREDIT = "credit"
    UNAUTHORIZED = "unauthorized"
    UNHEALTHY = "unhealthy"
    DEADLINE = "deadline"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class EventKind(StrEnum):
    """What the engine does on its own, or meets, while it works on a run: kinds of lines of its log.

    Job kinds may add lines of kinds of their own. Each StopReason is a kind as well: why a session ended.
    """

    OUTAGE = "outage"
    """A lane's service does not answer."""
    BACK = "back"
    """It answers again."""
    BREAKER = "breaker"
    """The same error came over and over: the lane sends one request at a time until one gets through."""
    PARKED = "parked"
    """Nothing more is sent in the lane in this session."""
    HEALTH = "health"
    """The lane's model was found unhealthy."""
    WELL = "well"
    """It is healthy again."""
    REFUSED = "refused"
    """The lane's key, quota or account was refused more than once, which is not confirmed yet."""
    ANSWERED = "answered"
    """A request was let through after that."""
    MACHINE = "machine"
    """This machine ran short of something, such as open files."""
    STORAGE = "storage"
    """A process keeps the store's log large."""
    CLOCK = "clock"
    """The clock was set back."""
    RECLAIMED = "reclaimed"
    """Jobs of a process that died are sent again, or have no attempts left."""
    SERVICE = "service"
    """The service did not say how cells fold."""
    REDACTED = "redacted"
    """A key was removed from an answer."""
    ACCEPTED = "accepted"
    """A change of what decides the answers was accepted."""
    REJUDGED = "rejudged"
    """The run judges replies that another run has kept."""
    RENAMED = "renamed"
    """The run was given another name."""
    QUOTA = "quota"
    """Something was learnt of the quota, or it is used up."""
    CREDIT = "credit"
    """The account is empty."""
    UNAUTHORIZED = "unauthorized"
    UNHEALTHY = "unhealthy"
    DEADLINE = "deadline"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class WaitReason(StrEnum):
    """What jobs wait for that could be sent."""

    QUEUED = "queued"
    """A free place among those in flight."""
    RATE = "rate"
    """The next start within a rate."""
    PACE = "pace"
    """The next start at the pace at which the service has let requests through."""
    RETRY = "retry"
    """The wait after an attempt that failed."""
    HELD = "held"
    """The service said when to ask again."""
    THROTTLED = "throttled"
    """The service refuses requests as too many, and does not say for how long."""
    FIRST_ANSWER = "first_answer"
    """An answer that tells what one of them costs."""
    UNTOLD = "untold"
    """The service has not told its quota yet: until it does, one evaluation at a time."""
    QUOTA = "quota"
    CREDIT = "credit"
    """The account is empty."""
    HEALTH = "health"
    """The model's health is being asked for."""
    UNHEALTHY = "unhealthy"
    ERRORS = "errors"
    """The same error came over and over; one request at a time finds out whether it still does."""
    OUTAGE = "outage"
    """The service is away."""
    REFUSED = "refused"
    """A key, quota or account was refused, which is asked again before it is believed."""
    GIVEN_UP = "given_up"
    """Nothing more is sent in this session."""
    MACHINE = "machine"
    """This machine ran short of something."""
    WINDOW = "window"
    """The hours in which the sweep may send."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that the engine did on its own. `at` is in seconds since the Unix epoch."""

    id: int
    """Its number in the store: a later event has a higher one."""
    at: float
    kind: str
    """An EventKind, or a word of the job kind's own."""
    lane: str | None
    message: str
