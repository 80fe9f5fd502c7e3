"""The verdict on an attempt: whether there is another one, and whether the job or its lane waits.

The wait before the next attempt is an argument; tenacity computes it in engine.runner.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
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
"""A longer Retry-After of a service is cut to this."""

# The statuses besides 429 that mean "too many at once", not "something broke".
_OVERLOADED_STATUSES = frozenset({503, 529})
# What gateways answer for a service that is away; 52x and 530 are Cloudflare's:
# https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/
_AWAY_STATUSES = frozenset({502, 503, 504, 521, 522, 523, 530})


class Hold(StrEnum):
    """What waits when an attempt is given back, and for what."""

    JOB = "job"
    """Only the job."""
    KEY = "key"
    """Nothing: the key was refused but has been replaced meanwhile."""
    RATE = "rate"
    """Everything within the same rate, for the delay."""
    QUOTA = "quota"
    """The lanes with the same quota, until some is left."""
    CREDIT = "credit"
    """The lane, until the account is topped up."""
    UNAUTHORIZED = "unauthorized"
    """All lanes of the service, until its key is valid."""
    HEALTH = "health"
    """The lane, until its target is healthy."""
    UNREACHABLE = "unreachable"
    """The lane, until the service can be reached."""
    OUTAGE = "outage"
    """The lane, after so many failures in a row that the service must be away."""
    MACHINE = "machine"
    """Everything in this process, for the delay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeed:
    """The attempt has an answer."""

    event: ClassVar[Event] = Event.SUCCEED
    outcome: ClassVar[AttemptOutcome] = AttemptOutcome.SUCCEEDED
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryLater:
    """Retry after `delay_s`; the attempt is used.

    `overloaded`: fewer jobs should be in flight. `is_away`: attempts fail like this while the
    service is away. `service_answers`: the service has answered other questions of the job.
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
    """Seconds that the service asked to wait; this holds the whole lane."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveBack:
    """Retry after `delay_s` without using the attempt; `hold` says what waits with the job."""

    event: ClassVar[Event] = Event.GIVE_BACK
    outcome: AttemptOutcome
    hold: Hold
    delay_s: float
    error: str
    overloaded: bool
    sent: bool
    fingerprint: str = ""
    has_retry_after: bool = False
    """Whether the service specified when to retry."""
    asked_s: float = 0.0
    """Seconds that it asked to wait, if the hold has another reason than a rate."""
    needs: int = 0
    """Tests that a request refused for quota may cost; 0 if unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """The job has failed; only an explicit retry sends it again."""

    event: ClassVar[Event] = Event.FAIL
    outcome: AttemptOutcome
    error: str
    fingerprint: str
    sent: bool
    service_answers: bool = False


class Blame(StrEnum):
    """The presumed cause of a failure that looks as if the service were away."""

    UNKNOWN = "unknown"
    """The job's first such failure since the lane's last answer."""
    OUTAGE = "outage"
    """The lane waits for the service, or has had no answer since the job's previous such failure."""
    JOB = "job"
    """The job failed like this before, and other jobs were answered in between."""


Verdict: TypeAlias = Succeed | RetryLater | GiveBack | Fail


def judge(
    end: Answer | Exception,
    *,
    kind: str,
    attempt: int,
    attempts: int,
    delay_s: float,
    blame: Blame = Blame.UNKNOWN,
) -> Verdict:
    """Judge attempt number `attempt` (from 1) of at most `attempts` of a job of `kind`, which ended with `end`.

    `delay_s` is the retry policy's wait before the next attempt. A Retry-After lengthens it, up to
    RETRY_AFTER_MAX_S, and replaces it after a 429. `blame` decides whether a lost connection or a
    gateway's error uses an attempt. An exception that is not a JobError is a bug in the job kind.
    """
    match end:
        case Answer():
            return Succeed(answer=end)
        case RateLimited():
            if end.retry_after_s is not None:
                # Never retry immediately: a 429 uses no attempt, so Retry-After: 0 would loop forever.
                delay_s = max(min(delay_s, 1.0), _clamp(end.retry_after_s, delay_s))
            given_back = _give_back(end, Hold.RATE, delay_s, AttemptOutcome.RATE_LIMITED)
            return replace(given_back, has_retry_after=end.retry_after_s is not None)
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
                error=describe_error(end),
                fingerprint=end.fingerprint,
                overloaded=end.status in _OVERLOADED_STATUSES,
                sent=end.sent,
                is_away=is_away(end) and blame is not Blame.JOB,
                service_answers=end.service_answers,
                asked_s=retry_after_of(end),
            )
        case Transient():
            return _fail(end, f"{describe_error(end)} (gave up after {attempt} attempts)")
        case JobError():
            return _fail(end, describe_error(end))
        case _:
            return _fail_for_bug(kind, end)


def is_away(error: JobError) -> bool:
    """Whether requests fail like this while the service is away, even if they may have been sent."""
    if error.service_answers:
        return False
    return isinstance(error, Disconnected) or error.status in _AWAY_STATUSES


def _is_outage(error: Transient, blame: Blame, *, is_last: bool) -> bool:
    """Whether a failure is blamed on an outage, so that it uses no attempt."""
    if blame is Blame.OUTAGE:
        return is_away(error) or isinstance(error, TimedOut)
    # No job fails before it is known whether this is an outage.
    return blame is Blame.UNKNOWN and is_last and is_away(error)


@cache
def interruption(*, sent: bool = True) -> GiveBack:
    """The verdict on an attempt that the engine stopped: the job is due again at once."""
    return GiveBack(
        outcome=AttemptOutcome.INTERRUPTED,
        hold=Hold.JOB,
        delay_s=0.0,
        error="interrupted",
        overloaded=False,
        sent=sent,
    )


def describe_error(error: JobError) -> str:
    """An error as one line for users: its message, and the service's explanation if there is one."""
    return f"{error.message}: {error.detail}" if error.detail else error.message


def describe_bug(kind: str, problem: str) -> str:
    """The error of a job that failed because of a bug in its kind, with the name of the kind."""
    return f"a bug in the job kind {kind}: {problem}"


def _hold(error: JobError, blame: Blame, *, is_last: bool) -> Hold | None:
    """What waits after an error that is not the job's fault; None if it is, or may be, the job's."""
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
        error=describe_error(error),
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


def _fail_for_bug(kind: str, error: Exception) -> Fail:
    name = type(error).__name__
    return Fail(
        outcome=AttemptOutcome.FAILED,
        error=describe_bug(kind, f"{name}: {error}"),
        fingerprint=f"{name}:{error}",
        sent=True,
    )


def _outcome(error: JobError) -> AttemptOutcome:
    return AttemptOutcome.TIMED_OUT if isinstance(error, TimedOut) else AttemptOutcome.FAILED


def retry_after_of(error: JobError) -> float:
    """The seconds that an error's Retry-After asks to wait, at most RETRY_AFTER_MAX_S.

    0 without one, and for one that is not a finite number.
    """
    asked_s = getattr(error, "retry_after_s", None)
    return 0.0 if asked_s is None else _clamp(asked_s, 0.0)


def _clamp(retry_after_s: float, otherwise_s: float) -> float:
    """Limit a Retry-After to RETRY_AFTER_MAX_S; one that is not a finite number is ignored."""
    if not isfinite(retry_after_s):
        return otherwise_s
    return min(max(retry_after_s, 0.0), RETRY_AFTER_MAX_S)
