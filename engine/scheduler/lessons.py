"""What the outcome of an attempt says of its lane, and of its costs."""

from dataclasses import dataclass
from typing import TypeAlias

from engine.core.breaker import Breaker, BreakerState
from engine.core.doubt import DOUBTED, Doubt
from engine.core.retry import Fail, GiveBack, Hold, RetryLater, Succeed, Verdict
from engine.core.runs import EventKind
from engine.core.states import AttemptOutcome
from engine.limits import Block, Lane
from engine.report.times import time_of_day

_MAY_HAVE_COST = (Hold.JOB, Hold.UNREACHABLE, Hold.OUTAGE, Hold.MACHINE)
_ANSWERED = (Hold.RATE, Hold.QUOTA, Hold.CREDIT, Hold.UNAUTHORIZED, Hold.KEY)

Noted: TypeAlias = tuple[EventKind, str]
"""A line of the event log: its kind and what it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """The request that an outcome is of."""

    job_id: int
    started_at: float
    """When it left, or would have."""
    is_probe: bool = False
    reserved: int = 0
    """The tests that were held for it."""


def learn(
    lane: Lane,
    verdict: Verdict,
    now: float,
    *,
    of: Sent,
    patience_s: float,
    is_gated: bool,
    sends_jobs: bool,
) -> list[Noted]:
    """Take over what an outcome says of its lane; what is to be noted of it.

    Before it is committed: that very transaction fills the slot again, or leaves it. `patience_s` is for how
    long the lane's service may be away; `is_gated` says whether there is somebody who can be asked for the
    health of the lane's model; `sends_jobs`, whether a job is the request itself: the pace of jobs says
    nothing of the pace of the many calls inside them.
    """
    before = lane.breaker
    notes = _doubt(lane, verdict, now, of=of)
    notes += _take(lane, verdict, now, of=of, patience_s=patience_s, is_gated=is_gated)
    if isinstance(verdict, Succeed):
        lane.throttled = 0
        lane.concurrency = lane.concurrency.on_success(now)
    elif not isinstance(verdict, Fail) and verdict.overloaded:
        lane.concurrency = lane.concurrency.on_overload(
            now, in_flight=lane.in_flight, latency_s=now - of.started_at
        )
    if isinstance(verdict, Succeed | Fail):
        lane.suspects.pop(of.job_id, None)
    _keep_pace(lane, verdict, now, started=of.started_at, sends_jobs=sends_jobs)
    if _is_answer(verdict):
        lane.answered(now)
    if isinstance(verdict, Succeed) or (before.misses and not lane.breaker.misses):
        lane.worked_at = now
    if before.away_since is not None and lane.breaker.away_since is None:
        lane.block = None if lane.block is Block.PARKED else lane.block
        if before.probes:
            notes.append(
                (EventKind.BACK, f"answered again, after {now - before.away_since:,.0f} s")
            )
    return notes


def _doubt(lane: Lane, verdict: Verdict, now: float, *, of: Sent) -> list[Noted]:
    """Let the lane doubt what its service refused, or stop doubting it; what is to be noted of it.

    Not of a first refusal: many are odd ones.
    """
    was = lane.doubt is not None and lane.doubt.refusals > 1
    _take_refusal(lane, verdict, now, of=of)
    is_refused = lane.doubt is not None and lane.doubt.refusals > 1
    if is_refused and not was:
        return [(EventKind.REFUSED, lane.why)]
    if was and lane.doubt is None:
        return [(EventKind.ANSWERED, "let through again")]
    return []


def _take_refusal(lane: Lane, verdict: Verdict, now: float, *, of: Sent) -> None:
    doubt = lane.doubt
    if is_doubtful(verdict):
        assert isinstance(verdict, GiveBack), "only what is given back was refused so"
        needs = max(verdict.needs, of.reserved)
        if doubt is not None and doubt.hold is verdict.hold:
            lane.doubt = doubt.refused(verdict.error, needs) if of.is_probe else doubt
        elif of.is_probe or (
            doubt is None and lane.block is None and of.started_at >= lane.worked_at
        ):
            lane.why = verdict.error
            lane.doubt = Doubt(hold=verdict.hold, why=verdict.error, since=now, needs=needs)
        if verdict.hold is Hold.QUOTA:
            # What is in flight may hold what was refused: fewer at once need less.
            lane.concurrency = lane.concurrency.on_overload(
                now, in_flight=lane.in_flight, latency_s=now - of.started_at
            )
    elif doubt is not None and of.is_probe:
        is_over = isinstance(verdict, Succeed) or (
            doubt.hold is Hold.UNAUTHORIZED and isinstance(verdict, Fail) and verdict.sent
        )
        lane.doubt = None if is_over else doubt.unanswered()


def is_doubtful(verdict: Verdict) -> bool:
    """Whether an outcome is a refusal of the service's own that may be a mistake."""
    return isinstance(verdict, GiveBack) and verdict.hold in DOUBTED and verdict.sent


def _keep_pace(
    lane: Lane, verdict: Verdict, now: float, *, started: float, sends_jobs: bool
) -> None:
    """Let the lane wait where the service asked for it, and learn how fast it takes requests."""
    held_s = asked_wait_s(verdict)
    if held_s:
        lane.throttle(now, now + held_s, is_told_when=_is_told_when(verdict))
    if sends_jobs and held_s:
        lane.pace = lane.pace.refused(now, started=started)
    elif _is_answer(verdict):
        lane.pace = lane.pace.answered(now, started=started)


def _take(
    lane: Lane, verdict: Verdict, now: float, *, of: Sent, patience_s: float, is_gated: bool
) -> list[Noted]:
    """Let the lane's breaker see an outcome; what is to be noted."""
    before = lane.breaker
    is_stale = of.started_at < lane.worked_at and not of.is_probe
    match verdict:
        case Succeed() | RetryLater(service_answers=True) | Fail(service_answers=True):
            lane.breaker = before.succeeded()
        case GiveBack(hold=Hold.UNREACHABLE | Hold.OUTAGE) | RetryLater(is_away=True):
            # The first time counts: a job that fails so again after others were answered is itself to blame.
            lane.suspects.setdefault(of.job_id, lane.answers)
            if not is_stale:
                return _miss(lane, verdict, now, of=of, patience_s=patience_s)
        case GiveBack(hold=Hold.JOB | Hold.MACHINE):
            if of.is_probe:
                lane.breaker = before.unanswered()
        case GiveBack():
            lane.breaker = before.reached(is_probe=of.is_probe, sent=verdict.sent)
            return _hold(lane, verdict, now, is_gated=is_gated)
        case RetryLater() | Fail() if not is_stale:
            lane.breaker = before.failed(
                verdict.fingerprint, now, started=of.started_at, is_probe=of.is_probe
            )
            if lane.breaker is not before:
                return _break(lane, verdict.error, is_gated=is_gated)
    return []


def _is_answer(verdict: Verdict) -> bool:
    """Whether only a service that is there can have brought this about."""
    match verdict:
        case Succeed():
            return True
        case GiveBack():
            return verdict.sent and verdict.hold in _ANSWERED
        case RetryLater():
            return not verdict.is_away and verdict.outcome is not AttemptOutcome.TIMED_OUT
        case Fail():
            return verdict.sent and verdict.outcome is not AttemptOutcome.TIMED_OUT


def _miss(
    lane: Lane, verdict: GiveBack | RetryLater, now: float, *, of: Sent, patience_s: float
) -> list[Noted]:
    """A request found the service away."""
    before = lane.breaker
    surely = isinstance(verdict, GiveBack) and verdict.hold is Hold.UNREACHABLE
    after = lane.breaker = before.missed(
        verdict.fingerprint,
        now,
        started=of.started_at,
        surely=surely,
        patience_s=patience_s,
        is_probe=of.is_probe,
        asked_s=verdict.asked_s,
    )
    if after.away_since is None:
        return []
    if after.state is BreakerState.PARKED:
        if before.state is BreakerState.PARKED:
            return []
        lane.block, lane.why = Block.PARKED, _given_up(lane, after, now, verdict.error)
        return [(EventKind.PARKED, lane.why)]
    lane.why = _away(lane, after, patience_s, verdict.error)
    # One request that did not get through is no news; the first probe tells.
    is_news = after.probes == 1 and before.probes == 0
    return [(EventKind.OUTAGE, lane.why)] if is_news else []


def _away(lane: Lane, breaker: Breaker, patience_s: float, error: str) -> str:
    """Why a lane waits whose service is away, and for how long."""
    assert breaker.away_since is not None, "only told of an outage"
    until = breaker.away_since + breaker.unasked_s + patience_s
    since, end = _from_to(breaker.away_since, until)
    if not patience_s:
        return f"{error}; away since {since}"
    if lane.answered_at is None:
        return f"{error}; no answer yet (wrong address?), given up at {end}"
    return f"{error}; away since {since}, asked once a minute until {end}"


def _given_up(lane: Lane, breaker: Breaker, now: float, error: str) -> str:
    assert breaker.away_since is not None, "only told of an outage"
    since, end = _from_to(breaker.away_since, now)
    if lane.answered_at is None:
        return f"{error}; no answer from {since} to {end}"
    return f"{error}; away from {since} to {end}"


def _from_to(first: float, last: float) -> tuple[str, str]:
    """Both times, with the dates where they are of two days."""
    return time_of_day(first, now=last), time_of_day(last, now=first)


def _hold(lane: Lane, verdict: GiveBack, now: float, *, is_gated: bool) -> list[Noted]:
    match verdict.hold:
        case Hold.QUOTA if lane.block is None and not is_doubtful(verdict):
            lane.block, lane.why = Block.QUOTA, verdict.error
            return [(EventKind.QUOTA, verdict.error)]
        case Hold.HEALTH if is_gated:
            lane.block, lane.why = Block.HEALTH, verdict.error
        case _:
            pass
    return []


def _break(lane: Lane, error: str, *, is_gated: bool) -> list[Noted]:
    match lane.breaker.state:
        case BreakerState.PARKED:
            lane.block, lane.why = Block.PARKED, error
            return [(EventKind.PARKED, f"{error}; given up for this session")]
        case BreakerState.OPEN:
            lane.why = error
            if is_gated:
                lane.block = Block.HEALTH
            return [(EventKind.BREAKER, f"{error}; {lane.breaker.failures} times in a row")]
        case BreakerState.CLOSED:
            return []


def _is_told_when(verdict: Verdict) -> bool:
    """Whether the service said itself for how long a lane is held."""
    return not (isinstance(verdict, GiveBack) and verdict.hold is Hold.RATE) or verdict.is_told_when


def asked_wait_s(verdict: Verdict) -> float:
    """For how long an outcome holds its lane, for all processes: a refusal for its rate, or a Retry-After."""
    if isinstance(verdict, GiveBack) and verdict.hold is Hold.RATE:
        return verdict.delay_s
    return verdict.asked_s if isinstance(verdict, GiveBack | RetryLater) else 0.0


def may_have_cost(verdict: Succeed | RetryLater | GiveBack | Fail) -> bool:
    """Whether an attempt may have used quota; only what surely did not gets its reservation back."""
    match verdict:
        case Succeed():
            return True
        case GiveBack():
            # A refusal costs nothing; a request that we broke off, or that was lost, may have been worked on.
            return verdict.sent and verdict.hold in _MAY_HAVE_COST
        case RetryLater() | Fail():
            return verdict.sent
