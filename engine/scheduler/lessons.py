"""What the outcome of an attempt says of its lane, and of its costs."""

from typing import TypeAlias

from engine.core.breaker import BreakerState
from engine.core.retry import Fail, GiveBack, Hold, RetryLater, Succeed, Verdict
from engine.limits import Block, Lane

Noted: TypeAlias = tuple[str, str]
"""A line of the event log: its kind and what it says."""


def learn(
    lane: Lane, verdict: Verdict, now: float, *, took_s: float, is_gated: bool
) -> list[Noted]:
    """Take over what an outcome says of its lane; what is to be noted of it.

    Before it is committed: that very transaction fills the slot again, or leaves it. `is_gated` says
    whether there is somebody who can be asked for the health of the lane's model.
    """
    notes: list[Noted] = []
    match verdict:
        case Succeed():
            lane.throttled = 0
            lane.concurrency = lane.concurrency.on_success(now)
            lane.breaker = lane.breaker.succeeded()
        case GiveBack():
            lane.breaker = lane.breaker.unanswered()
            notes = _hold(lane, verdict, now, is_gated=is_gated)
        case RetryLater() | Fail():
            before = lane.breaker
            lane.breaker = before.failed(verdict.fingerprint, now)
            if lane.breaker is not before:
                notes = _break(lane, verdict.error, is_gated=is_gated)
    if isinstance(verdict, RetryLater | GiveBack) and verdict.overloaded:
        lane.concurrency = lane.concurrency.on_overload(
            now, in_flight=lane.in_flight, latency_s=took_s
        )
    return notes


def _hold(lane: Lane, verdict: GiveBack, now: float, *, is_gated: bool) -> list[Noted]:
    match verdict.hold:
        case Hold.RATE:
            lane.throttle(now, now + verdict.delay_s)
        case Hold.QUOTA if lane.block is None:
            lane.block, lane.why = Block.QUOTA, verdict.error
            return [("quota", verdict.error)]
        case Hold.CREDIT if lane.block is not Block.CREDIT:
            lane.block, lane.why = Block.CREDIT, verdict.error
            return [("credit", verdict.error)]
        case Hold.HEALTH if is_gated:
            lane.block, lane.why = Block.HEALTH, verdict.error
        case _:
            pass
    return []


def _break(lane: Lane, error: str, *, is_gated: bool) -> list[Noted]:
    match lane.breaker.state:
        case BreakerState.PARKED:
            lane.block, lane.why = Block.PARKED, error
            return [("parked", f"the lane is given up for now: {error}")]
        case BreakerState.OPEN:
            lane.why = error
            if is_gated:
                lane.block = Block.HEALTH
            return [("breaker", f"{lane.breaker.failures} times in a row: {error}")]
        case BreakerState.CLOSED:
            return []


def may_have_cost(verdict: Succeed | RetryLater | GiveBack | Fail) -> bool:
    """Whether an attempt may have used quota; only what surely did not gets its reservation back."""
    match verdict:
        case Succeed():
            return True
        case GiveBack():
            # A refusal costs nothing; a request that we broke off may have been worked on.
            return verdict.sent and verdict.hold is Hold.JOB
        case RetryLater() | Fail():
            return verdict.sent
