"""The consequences of an attempt's end for its job, its lane and the run, decided in one place."""

from dataclasses import dataclass
from enum import StrEnum

from engine.core.doubt import DOUBTED
from engine.core.model import Answer
from engine.core.retry import Fail, GiveBack, Hold, RetryLater, Succeed, Verdict
from engine.core.runs import StopReason
from engine.core.states import AttemptOutcome, Event

_MAY_HAVE_COST = (Hold.JOB, Hold.UNREACHABLE, Hold.OUTAGE, Hold.MACHINE)
_ANSWERED = (Hold.RATE, Hold.QUOTA, Hold.CREDIT, Hold.UNAUTHORIZED, Hold.KEY)
_AWAY = (Hold.UNREACHABLE, Hold.OUTAGE)


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """How an attempt ended, with the details of the error to store."""

    verdict: Verdict
    status: int | None = None
    detail: str | None = None


class Signal(StrEnum):
    """What the end of an attempt says about the lane's service."""

    WORKS = "works"
    """It answers."""
    AWAY = "away"
    """It seems to be away."""
    FAILS = "fails"
    """It can be reached, and the request failed."""
    REFUSES = "refuses"
    """It can be reached, and refused the request for a reason that is not the job's fault."""
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What a lane learns from the end of an attempt."""

    signal: Signal
    error: str = ""
    fingerprint: str = ""
    hold: Hold | None = None
    """What the lane waits for, if the attempt was given back."""
    is_sent: bool = True
    has_succeeded: bool = False
    has_outcome: bool = False
    """Whether the job has ended."""
    is_answer: bool = False
    """Whether only a service that can be reached can cause this."""
    is_overload: bool = False
    """Whether fewer jobs should be in flight."""
    is_doubtful: bool = False
    """Whether the service refused the request, possibly by mistake."""
    is_refusal_over: bool = False
    """Whether the service accepted the key, whatever else happened to the request."""
    is_surely_away: bool = False
    """Whether no connection could be made: then one request is enough to know."""
    held_s: float = 0.0
    """Seconds for which the lane is held in all processes: a refused rate, or a Retry-After."""
    has_retry_after: bool = True
    """Whether the service named this time itself."""
    asked_s: float = 0.0
    """Seconds that it asked to wait before the next request."""
    needs: int = 0
    """Tests that a request refused for quota may cost; 0 if unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The consequences of an attempt's end."""

    event: Event
    """What happens to the job."""
    outcome: AttemptOutcome
    ended_at: float
    feedback: Feedback
    answer: Answer | None = None
    error: str | None = None
    status: int | None = None
    detail: str | None = None
    due_at: float = 0.0
    """When the job may be sent again; 0 for at once."""
    is_charged: bool
    """Whether the attempt may have used quota; if it surely did not, its reservation is released."""
    is_sent: bool
    """Whether a request may have left."""
    keeps_attempt: bool
    """Whether the attempt counts; it does not if the failure was not the job's fault."""
    stops: StopReason | None = None
    """Why the run can send nothing more; `error` has the details. None if it can."""
    is_machine_short: bool = False
    """Whether this machine could not do what the request needed, so fewer should be sent."""


_SUCCESS = Feedback(
    signal=Signal.WORKS,
    has_succeeded=True,
    has_outcome=True,
    is_answer=True,
    is_refusal_over=True,
)


def settlement(end: AttemptEnd, now: float, *, reserved: int = 0) -> Settlement:
    """Decide the consequences of an attempt that ended at `now` and had `reserved` tests of quota."""
    match end.verdict:
        case Succeed() as verdict:
            return _settle_success(verdict, now)
        case GiveBack() as verdict:
            return _settle_give_back(end, verdict, now, reserved)
        case RetryLater() as verdict:
            return _settle_retry(end, verdict, now)
        case Fail() as verdict:
            return _settle_failure(end, verdict, now)


def _settle_success(verdict: Succeed, now: float) -> Settlement:
    return Settlement(
        event=verdict.event,
        outcome=verdict.outcome,
        ended_at=now,
        answer=verdict.answer,
        is_charged=True,
        is_sent=True,
        keeps_attempt=True,
        feedback=_SUCCESS,
    )


def _settle_give_back(end: AttemptEnd, verdict: GiveBack, now: float, reserved: int) -> Settlement:
    hold, sent = verdict.hold, verdict.sent
    is_doubtful = hold in DOUBTED and sent
    is_rate = hold is Hold.RATE
    return Settlement(
        event=verdict.event,
        outcome=verdict.outcome,
        ended_at=now,
        error=verdict.error,
        status=end.status,
        detail=end.detail,
        due_at=_due_at(now, verdict.delay_s),
        # A refusal costs nothing; the service may have handled a request that was stopped or lost.
        is_charged=sent and hold in _MAY_HAVE_COST,
        is_sent=sent,
        keeps_attempt=False,
        # A key that is not set was not refused by the service, so there is nothing to confirm.
        stops=StopReason.UNAUTHORIZED if hold is Hold.UNAUTHORIZED and not is_doubtful else None,
        is_machine_short=hold is Hold.MACHINE,
        feedback=Feedback(
            signal=_signal_of_hold(hold),
            error=verdict.error,
            fingerprint=verdict.fingerprint,
            hold=hold,
            is_sent=sent,
            is_answer=sent and hold in _ANSWERED,
            # Jobs in flight may hold the quota that was refused; fewer at once hold less.
            is_overload=verdict.overloaded or (hold is Hold.QUOTA and is_doubtful),
            is_doubtful=is_doubtful,
            is_surely_away=hold is Hold.UNREACHABLE,
            held_s=verdict.delay_s if is_rate else verdict.asked_s,
            has_retry_after=verdict.has_retry_after or not is_rate,
            asked_s=verdict.asked_s,
            needs=max(verdict.needs, reserved),
        ),
    )


def _signal_of_hold(hold: Hold) -> Signal:
    if hold in _AWAY:
        return Signal.AWAY
    return Signal.NOTHING if hold in (Hold.JOB, Hold.MACHINE) else Signal.REFUSES


def _settle_retry(end: AttemptEnd, verdict: RetryLater, now: float) -> Settlement:
    signal = Signal.AWAY if verdict.is_away else Signal.FAILS
    return Settlement(
        event=verdict.event,
        outcome=verdict.outcome,
        ended_at=now,
        error=verdict.error,
        status=end.status,
        detail=end.detail,
        due_at=_due_at(now, verdict.delay_s),
        is_charged=verdict.sent,
        is_sent=verdict.sent,
        keeps_attempt=True,
        feedback=Feedback(
            signal=Signal.WORKS if verdict.service_answers else signal,
            error=verdict.error,
            fingerprint=verdict.fingerprint,
            is_sent=verdict.sent,
            is_answer=not verdict.is_away and verdict.outcome is not AttemptOutcome.TIMED_OUT,
            is_overload=verdict.overloaded,
            held_s=verdict.asked_s,
            asked_s=verdict.asked_s,
        ),
    )


def _settle_failure(end: AttemptEnd, verdict: Fail, now: float) -> Settlement:
    return Settlement(
        event=verdict.event,
        outcome=verdict.outcome,
        ended_at=now,
        error=verdict.error,
        status=end.status,
        detail=end.detail,
        is_charged=verdict.sent,
        is_sent=verdict.sent,
        keeps_attempt=True,
        feedback=Feedback(
            signal=Signal.WORKS if verdict.service_answers else Signal.FAILS,
            error=verdict.error,
            fingerprint=verdict.fingerprint,
            is_sent=verdict.sent,
            has_outcome=True,
            is_answer=verdict.sent and verdict.outcome is not AttemptOutcome.TIMED_OUT,
            is_refusal_over=verdict.sent,
        ),
    )


def _due_at(now: float, delay_s: float) -> float:
    return now + delay_s if delay_s else 0.0
