"""Which attempt a lane learns from, and what is said of an outage."""

from dataclasses import dataclass
from typing import TypeAlias

from engine.core.breaker import Breaker
from engine.core.runs import EventKind
from engine.report.times import time_of_day

Noted: TypeAlias = tuple[EventKind, str]
"""A line of the event log: its kind and what it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """The attempt that feedback is of: its job and claim, and when its request left, or would have."""

    job_id: int
    fence: int
    started_at: float


def outage(error: str, breaker: Breaker, patience_s: float, *, was_answered: bool) -> str:
    """Why a lane waits whose service is away, and for how long."""
    assert breaker.away_since is not None, "only told of an outage"
    until = breaker.away_since + breaker.unasked_s + patience_s
    since, end = _from_to(breaker.away_since, until)
    if not patience_s:
        return f"{error}; away since {since}"
    if not was_answered:
        return f"{error}; no answer yet (wrong address?), given up at {end}"
    return f"{error}; away since {since}, asked once a minute until {end}"


def outage_over(error: str, breaker: Breaker, now: float, *, was_answered: bool) -> str:
    """Why a lane is given up whose service stayed away."""
    assert breaker.away_since is not None, "only told of an outage"
    since, end = _from_to(breaker.away_since, now)
    if not was_answered:
        return f"{error}; no answer from {since} to {end}"
    return f"{error}; away from {since} to {end}"


def _from_to(first: float, last: float) -> tuple[str, str]:
    """Both times, with the dates where they are of two days."""
    return time_of_day(first, now=last), time_of_day(last, now=first)
