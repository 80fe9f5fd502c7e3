"""What becomes of a job after an attempt: one verdict for each way an attempt can end.

The wait before another attempt is worked out by the caller (tenacity, in engine.runner) and given
in; here is decided whether there is another attempt, and who waits: the job alone, or its lane.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import ClassVar, TypeAlias

from engine.core.errors import (
    JobError,
    OutOfCredit,
    QuotaExceeded,
    RateLimited,
    TimedOut,
    Transient,
    Unauthorized,
    Unhealthy,
)
from engine.core.model import Answer
from engine.core.states import AttemptOutcome, Event

RETRY_AFTER_MAX_S = 3600.0
"""The longest that a service's Retry-After is believed."""

# Besides 429: the statuses that say "too much at once" rather than "something broke".
_OVERLOADED_STATUSES = frozenset({503, 529})


class Hold(StrEnum):
    """Who else must wait when an attempt is given back, and for what."""

    JOB = "job"
    """Nobody else."""
    RATE = "rate"
    """Everything under the same rate, for the delay."""
    QUOTA = "quota"
    """The lanes under the same quota, until there is some."""
    CREDIT = "credit"
    """The lane, until somebody pays."""
    UNAUTHORIZED = "unauthorized"
    """All lanes of the service, until its key is right."""
    HEALTH = "health"
    """The lane, until its target is healthy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeed:
    """There is an answer."""

    event: ClassVar[Event] = Event.SUCCEED
    outcome: ClassVar[AttemptOutcome] = AttemptOutcome.SUCCEEDED
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryLater:
    """Again after `delay_s`; the attempt is used. `overloaded`: fewer should be in flight."""

    event: ClassVar[Event] = Event.RETRY_LATER
    outcome: AttemptOutcome
    delay_s: float
    error: str
    fingerprint: str
    overloaded: bool
    sent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveBack:
    """Again after `delay_s`, as if this attempt had not been; `hold` says who waits with the job."""

    event: ClassVar[Event] = Event.GIVE_BACK
    outcome: AttemptOutcome
    hold: Hold
    delay_s: float
    error: str
    overloaded: bool
    sent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """Never again, unless somebody asks for it."""

    event: ClassVar[Event] = Event.FAIL
    outcome: AttemptOutcome
    error: str
    fingerprint: str
    sent: bool


Verdict: TypeAlias = Succeed | RetryLater | GiveBack | Fail


def judge(end: Answer | Exception, *, attempt: int, attempts: int, delay_s: float) -> Verdict:
    """The verdict on attempt number `attempt` (from 1) of at most `attempts`, which came to `end`.

    `delay_s` is the wait before the next attempt as far as the retry policy goes; a Retry-After makes
    it longer, up to RETRY_AFTER_MAX_S, and for a 429 it is the wait. Anything raised that is no JobError is a bug in the job.
    """
    match end:
        case Answer():
            return Succeed(answer=end)
        case RateLimited():
            if end.retry_after_s is not None:
                # Never at once, whatever the service says: this uses no attempt and would go round.
                delay_s = max(min(delay_s, 1.0), _clamped(end.retry_after_s, delay_s))
            return _give_back(end, Hold.RATE, delay_s, AttemptOutcome.RATE_LIMITED)
        case QuotaExceeded() | Unauthorized() | Unhealthy():
            return _give_back(end, _refusal(end), delay_s)
        case Transient() if attempt < attempts:
            if end.retry_after_s is not None:
                delay_s = max(delay_s, _clamped(end.retry_after_s, delay_s))
            return RetryLater(
                outcome=_outcome(end),
                delay_s=delay_s,
                error=describe(end),
                fingerprint=end.fingerprint,
                overloaded=end.status in _OVERLOADED_STATUSES,
                sent=end.sent,
            )
        case Transient():
            return _fail(end, f"{describe(end)} (gave up after {attempt} attempts)")
        case JobError():
            return _fail(end, describe(end))
        case _:
            return _bug(end)


def interrupted(*, sent: bool = True) -> GiveBack:
    """The verdict on an attempt that we ended ourselves: due again at once."""
    return GiveBack(
        outcome=AttemptOutcome.INTERRUPTED,
        hold=Hold.JOB,
        delay_s=0.0,
        error="interrupted",
        overloaded=False,
        sent=sent,
    )


def describe(error: JobError) -> str:
    """One line for people: what happened, and the service's own words on it."""
    return f"{error.message}: {error.detail}" if error.detail else error.message


def _refusal(error: QuotaExceeded | Unauthorized | Unhealthy) -> Hold:
    match error:
        case OutOfCredit():
            return Hold.CREDIT
        case QuotaExceeded():
            return Hold.QUOTA
        case Unauthorized():
            return Hold.UNAUTHORIZED
        case Unhealthy():
            return Hold.HEALTH


def _give_back(
    error: JobError,
    hold: Hold,
    delay_s: float,
    outcome: AttemptOutcome = AttemptOutcome.REFUSED,
) -> GiveBack:
    return GiveBack(
        outcome=outcome,
        hold=hold,
        delay_s=delay_s,
        error=describe(error),
        overloaded=hold is Hold.RATE,
        sent=error.sent,
    )


def _fail(error: JobError, text: str) -> Fail:
    return Fail(
        outcome=_outcome(error),
        error=text,
        fingerprint=error.fingerprint,
        sent=error.sent,
    )


def _bug(error: Exception) -> Fail:
    name = type(error).__name__
    return Fail(
        outcome=AttemptOutcome.FAILED,
        error=f"a bug in the job: {name}: {error}",
        fingerprint=f"{name}:{error}",
        sent=True,
    )


def _outcome(error: JobError) -> AttemptOutcome:
    return AttemptOutcome.TIMED_OUT if isinstance(error, TimedOut) else AttemptOutcome.FAILED


def _clamped(retry_after_s: float, otherwise_s: float) -> float:
    """A service's Retry-After within reason; not a number is as good as none."""
    if not isfinite(retry_after_s):
        return otherwise_s
    return min(max(retry_after_s, 0.0), RETRY_AFTER_MAX_S)
