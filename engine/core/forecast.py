"""How long the rest of a run will take, and which limit decides that."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLoad:
    """Requests that a lane still has to send, and its own rate."""

    jobs: int
    rate_per_min: int | None


def seconds_left(
    lanes: Iterable[LaneLoad], *, rate_per_min: int | None, sent_last_minute: float
) -> tuple[float | None, str]:
    """(seconds, the limit that binds); None while nothing is known.

    A rate that is set is taken at its word; without one the last minute is taken for the rest.
    """
    loads = [lane for lane in lanes if lane.jobs]
    jobs = sum(lane.jobs for lane in loads)
    if not jobs:
        return 0.0, "nothing left"
    known = [
        (lane.jobs / lane.rate_per_min * 60.0, "a model's rate")
        for lane in loads
        if lane.rate_per_min is not None
    ]
    if rate_per_min is not None:
        known.append((jobs / rate_per_min * 60.0, "rate"))
    if sent_last_minute:
        known.append((jobs / sent_last_minute * 60.0, "speed so far"))
    return max(known, default=(None, "nothing yet"))
