"""The states of a run, the reasons to wait or stop, and its events: plain values."""

from dataclasses import dataclass
from enum import StrEnum


class RunState(StrEnum):
    """The state of a run; a run's `reason` says why it cannot continue.

    Example:
        >>> run.status().state is RunState.FINISHED
        True
    """

    ACTIVE = "active"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    FINISHED = "finished"
    DELETING = "deleting"
    """Partly deleted: all that can be done is to complete the deletion."""

    @property
    def is_over(self) -> bool:
        """Whether the run has ended for good: cells without an answer are missing, not to come."""
        return self in (RunState.CANCELLED, RunState.FINISHED, RunState.DELETING)


class StopReason(StrEnum):
    """Why a session of a run ended before every cell had an outcome.

    Example:
        >>> run.status().reason in (None, StopReason.INTERRUPTED)
        True
    """

    QUOTA = "quota"
    CREDIT = "credit"
    UNAUTHORIZED = "unauthorized"
    UNHEALTHY = "unhealthy"
    DEADLINE = "deadline"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class EventKind(StrEnum):
    """The kinds of events in a run's log: what the engine met, and what it did on its own.

    Job kinds may log kinds of their own. Each StopReason is a kind, too: it says why a session ended.
    """

    OUTAGE = "outage"
    """A lane's service does not answer."""
    BACK = "back"
    """It answers again."""
    BREAKER = "breaker"
    """The same error occurred repeatedly: the lane sends one request at a time until one succeeds."""
    PARKED = "parked"
    """Nothing more is sent in the lane in this session."""
    HEALTH = "health"
    """The lane's model was found unhealthy."""
    WELL = "well"
    """It is healthy again."""
    HELD = "held"
    """The service asked to wait, and until then nothing is sent in the lane; noted once for each wait."""
    REFUSED = "refused"
    """The lane's key, quota or account was refused more than once; this is not confirmed yet."""
    ANSWERED = "answered"
    """A request was accepted after a refusal."""
    MACHINE = "machine"
    """This machine ran short of something, such as open files."""
    STORAGE = "storage"
    """A process prevents the store's log from shrinking."""
    CLOCK = "clock"
    """The clock was set back."""
    RECLAIMED = "reclaimed"
    """Jobs of a dead process are sent again, or have no attempts left."""
    SERVICE = "service"
    """The service did not say how cells fold."""
    REDACTED = "redacted"
    """A key was removed from an answer."""
    ACCEPTED = "accepted"
    """A change of what decides the answers was accepted."""
    REJUDGED = "rejudged"
    """The run judges replies that another run has kept."""
    OLDER_CODE = "older_code"
    """Answers were made by code that has changed since, under the same version."""
    RENAMED = "renamed"
    """The run was given another name."""
    QUOTA = "quota"
    """The quota was learnt or has changed, or it is used up."""
    CREDIT = "credit"
    """The account is empty."""
    UNAUTHORIZED = "unauthorized"
    UNHEALTHY = "unhealthy"
    DEADLINE = "deadline"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class WaitReason(StrEnum):
    """What jobs that could be sent wait for."""

    QUEUED = "queued"
    """A free place among those in flight."""
    RATE = "rate"
    """The next start within a rate."""
    PACE = "pace"
    """The next start at the pace that the service has accepted."""
    RETRY = "retry"
    """The wait after an attempt that failed."""
    HELD = "held"
    """The time at which the service asked to be asked again."""
    THROTTLED = "throttled"
    """The service refuses requests as too many and does not say for how long."""
    FIRST_ANSWER = "first_answer"
    """An answer that shows what a job costs."""
    QUOTA_UNKNOWN = "quota_unknown"
    """The service has not reported its quota yet: until it does, one evaluation at a time."""
    QUOTA = "quota"
    CREDIT = "credit"
    """The account is empty."""
    HEALTH = "health"
    """The result of a check of the model's health."""
    UNHEALTHY = "unhealthy"
    ERRORS = "errors"
    """The same error occurred repeatedly; one request at a time tests whether it still does."""
    OUTAGE = "outage"
    """The service is away."""
    REFUSED = "refused"
    """A key, quota or account was refused; the service is asked again before this is believed."""
    GIVEN_UP = "given_up"
    """Nothing more is sent in this session."""
    MACHINE = "machine"
    """This machine ran short of something."""
    WINDOW = "window"
    """The opening of the sweep's window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that the engine met or did on its own. `at` is in seconds since the Unix epoch.

    Example:
        >>> [event.message for event in run.events() if event.kind == "breaker_opened"]
        []
    """

    id: int
    """Its number in the store: a later event has a higher one."""
    at: float
    kind: str
    """An EventKind, or a word of the job kind's own."""
    lane: str | None
    message: str
