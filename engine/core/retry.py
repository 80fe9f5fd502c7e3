"""What becomes of a job after an attempt: one verdict for each way an attempt can end.

The wait before another attempt is worked out by the caller (tenacity, in engine.runner) and given
in; here is decided whether there is another attempt, and who waits: the job alone, or its lane.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from math import isfinite
from typing import ClassVar, TypeAlias

from engine.core.errors import (
    Disconnected,
    JobError,
    KeyRenewed,
    MachineFault,
    NotNow,
    OutOfCredit,
    QuotaExceeded,
    RateLimited,
    TimedOut,
    Transient,
    Unauthorized,
    Unhealthy,
    Unreachable,
)
from engine.core.model import Answer
from engine.core.states import AttemptOutcome, Event

RETRY_AFTER_MAX_S = 3600.0
"""The longest that a service's Retry-After is believed."""

# Besides 429: the statuses that say "too much at once" rather than "something broke".
_OVERLOADED_STATUSES = frozenset({503, 529})
# What gateways answer in the place of a service that is away; 52x and 530 are Cloudflare's:
# https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/
_AWAY_STATUSES = frozenset({502, 503, 504, 521, 522, 523, 530})


class Hold(StrEnum):
    """Who else must wait when an attempt is given back, and for what."""

    JOB = "job"
    """Nobody else."""
    KEY = "key"
    """Nobody: the key was refused, and is another one by now."""
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
    UNREACHABLE = "unreachable"
    """The lane, until the service can be reached."""
    OUTAGE = "outage"
    """The lane, once so much in a row has failed like this that the service must be away."""
    MACHINE = "machine"
    """Everything in this process, for the delay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeed:
    """There is an answer."""

    event: ClassVar[Event] = Event.SUCCEED
    outcome: ClassVar[AttemptOutcome] = AttemptOutcome.SUCCEEDED
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryLater:
    """Again after `delay_s`; the attempt is used. `overloaded`: fewer should be in flight.

    `is_away`: it failed as everything does while the service is away. `service_answers`: it answered
    other questions.
    """

    event: ClassVar[Event] = Event.RETRY_LATER
    outcome: AttemptOutcome
    delay_s: float
    error: str
    fingerprint: str
    overloaded: bool
    sent: bool
    is_away: bool = False
    service_answers: bool = False
    asked_s: float = 0.0
    """How long the service asked to wait; that holds the lane, not the job alone."""


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
    fingerprint: str = ""
    is_told_when: bool = False
    """Whether the service said when to ask again."""
    asked_s: float = 0.0
    """How long it asked to wait, where the hold is for another reason than its rate."""
    needs: int = 0
    """How many tests a request may come to that was refused for its quota; 0 where that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """Never again, unless somebody asks for it."""

    event: ClassVar[Event] = Event.FAIL
    outcome: AttemptOutcome
    error: str
    fingerprint: str
    sent: bool
    service_answers: bool = False


class Blame(StrEnum):
    """Whom a failure is put down to that looks as if the service were away."""

    UNKNOWN = "unknown"
    """It is the first of this job since the lane has last had an answer."""
    OUTAGE = "outage"
    """The lane is waiting for the service, or has had no answer since this job failed like this before."""
    JOB = "job"
    """The job has failed like this before, and others were answered between."""


Verdict: TypeAlias = Succeed | RetryLater | GiveBack | Fail


def judge(
    end: Answer | Exception,
    *,
    attempt: int,
    attempts: int,
    delay_s: float,
    blame: Blame = Blame.UNKNOWN,
) -> Verdict:
    """The verdict on attempt number `attempt` (from 1) of at most `attempts`, which came to `end`.

    `delay_s` is the wait before the next attempt as far as the retry policy goes; a Retry-After makes
    it longer, up to RETRY_AFTER_MAX_S, and for a 429 it is the wait. `blame` decides whether a lost connection or
    a gateway's error uses an attempt. Anything raised that is no JobError is a bug in the job.
    """
    match end:
        case Answer():
            return Succeed(answer=end)
        case RateLimited():
            if end.retry_after_s is not None:
                # Never at once, whatever the service says: this uses no attempt and would go round.
                delay_s = max(min(delay_s, 1.0), _clamp(end.retry_after_s, delay_s))
            given_back = _give_back(end, Hold.RATE, delay_s, AttemptOutcome.RATE_LIMITED)
            return replace(given_back, is_told_when=end.retry_after_s is not None)
        case JobError() if (hold := _hold(end, blame, is_last=attempt >= attempts)) is not None:
            lost = hold is Hold.OUTAGE
            delay_s = 0.0 if hold is Hold.KEY else delay_s
            given_back = _give_back(
                end, hold, delay_s, _outcome(end) if lost else AttemptOutcome.REFUSED
            )
            needs = end.needs if isinstance(end, QuotaExceeded) else 0
            return replace(given_back, asked_s=retry_after_of(end), needs=needs)
        case Transient() if attempt < attempts:
            if end.retry_after_s is not None:
                delay_s = max(delay_s, _clamp(end.retry_after_s, delay_s))
            return RetryLater(
                outcome=_outcome(end),
                delay_s=delay_s,
                error=describe(end),
                fingerprint=end.fingerprint,
                overloaded=end.status in _OVERLOADED_STATUSES,
                sent=end.sent,
                is_away=is_away(end) and blame is not Blame.JOB,
                service_answers=end.service_answers,
                asked_s=retry_after_of(end),
            )
        case Transient():
            return _fail(end, f"{describe(end)} (gave up after {attempt} attempts)")
        case JobError():
            return _fail(end, describe(end))
        case _:
            return _bug(end)


def is_away(error: JobError) -> bool:
    """Whether requests end like this while the service is away, although they may have been sent."""
    if error.service_answers:
        return False
    return isinstance(error, Disconnected) or error.status in _AWAY_STATUSES


def _is_outage(error: Transient, blame: Blame, *, is_last: bool) -> bool:
    """Whether a failure is put down to an outage, so that no attempt is used."""
    if blame is Blame.OUTAGE:
        return is_away(error) or isinstance(error, TimedOut)
    # Whether it is an outage is not known yet: no job fails before it is.
    return blame is Blame.UNKNOWN and is_last and is_away(error)


def interruption(*, sent: bool = True) -> GiveBack:
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


def _hold(error: JobError, blame: Blame, *, is_last: bool) -> Hold | None:
    """Who has to wait for an error that is not the job's fault; None if it is, or may be."""
    match error:
        case NotNow():
            return Hold.JOB
        case OutOfCredit():
            return Hold.CREDIT
        case QuotaExceeded():
            return Hold.QUOTA
        case KeyRenewed():
            return Hold.KEY
        case Unauthorized():
            return Hold.UNAUTHORIZED
        case Unhealthy():
            return Hold.HEALTH
        case Unreachable():
            return Hold.UNREACHABLE
        case MachineFault():
            return Hold.MACHINE
        case Transient() if _is_outage(error, blame, is_last=is_last):
            return Hold.OUTAGE
        case _:
            return None


def _give_back(error: JobError, hold: Hold, delay_s: float, outcome: AttemptOutcome) -> GiveBack:
    return GiveBack(
        outcome=outcome,
        hold=hold,
        delay_s=delay_s,
        error=describe(error),
        overloaded=hold in (Hold.RATE, Hold.MACHINE) or error.status in _OVERLOADED_STATUSES,
        sent=error.sent,
        fingerprint=error.fingerprint,
    )


def _fail(error: JobError, text: str) -> Fail:
    return Fail(
        outcome=_outcome(error),
        error=text,
        fingerprint=error.fingerprint,
        sent=error.sent,
        service_answers=error.service_answers,
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


def retry_after_of(error: JobError) -> float:
    """How long an answer asked to wait, within reason; 0 where it did not."""
    asked_s = getattr(error, "retry_after_s", None)
    return 0.0 if asked_s is None else _clamp(asked_s, 0.0)


def _clamp(retry_after_s: float, otherwise_s: float) -> float:
    """A service's Retry-After within reason; not a number is as good as none."""
    if not isfinite(retry_after_s):
        return otherwise_s
    return min(max(retry_after_s, 0.0), RETRY_AFTER_MAX_S)
