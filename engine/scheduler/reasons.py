"""Why a lane waits for its service or was given up because of it, in words."""

from engine.core.breaker import Breaker
from engine.report.times import moment_to_the_second, time_of_day


def describe_outage(error: str, breaker: Breaker, patience_s: float, *, was_answered: bool) -> str:
    """Return why a lane waits whose service is away, and until when it is asked.

    `patience_s` is how long it may be away; 0 if the lane is given up after a few probes. `was_answered` says
    whether the service ever answered, else its address may be wrong.
    """
    assert breaker.away_since is not None, "called in an outage only"
    until = breaker.away_since + breaker.unasked_s + patience_s
    since, end = _format_period(breaker.away_since, until)
    if not patience_s:
        return f"{error}; away since {since}"
    if not was_answered:
        return f"{error}; no answer yet (wrong address?), given up at {end}"
    return f"{error}; away since {since}, asked once a minute until {end}"


def describe_hold(error: str, until: float) -> str:
    """Return with which error the service asked to wait, and until when nothing is sent, in local time to the second."""
    return f"{error}; nothing is sent until {moment_to_the_second(until)}"


def describe_end_of_outage(error: str, breaker: Breaker, now: float, *, was_answered: bool) -> str:
    """Return why a lane is given up whose service stayed away until `now`, with the time of the outage.

    `was_answered` says whether the service answered before in this session. The `breaker` must be in an
    outage. Times are local, with dates if they are of different days.
    """
    assert breaker.away_since is not None, "called in an outage only"
    since, end = _format_period(breaker.away_since, now)
    if not was_answered:
        return f"{error}; no answer from {since} to {end}"
    return f"{error}; away from {since} to {end}"


def _format_period(first: float, last: float) -> tuple[str, str]:
    """Return both times of day, with dates if they are not of the same day."""
    return time_of_day(first, now=last), time_of_day(last, now=first)
