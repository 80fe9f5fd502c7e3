"""What a lane waits for, as the process that sends its jobs reports it."""

from dataclasses import dataclass

from engine.core.breaker import BreakerState
from engine.core.runs import WaitReason

GOES_ON = (WaitReason.QUEUED, WaitReason.RATE, WaitReason.PACE, WaitReason.RETRY)
"""Reasons with which jobs of the lane are still being sent, one after the other."""
STANDS_STILL = (
    WaitReason.QUOTA,
    WaitReason.CREDIT,
    WaitReason.UNHEALTHY,
    WaitReason.ERRORS,
    WaitReason.OUTAGE,
    WaitReason.REFUSED,
    WaitReason.GIVEN_UP,
)
"""Reasons that time alone does not end, so there is no estimate for the lane."""
_SAME_S = 1.0
"""Times that are closer together look the same to users."""
_FAR_S = 5.0
"""A wait that ends sooner is not reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneState:
    """What the jobs of a lane wait for in one process.

    `until` is when the wait ends, in seconds since the Unix epoch, if time decides that. `detail`
    explains the cause.
    """

    name: str
    why: WaitReason = WaitReason.QUEUED
    until: float | None = None
    detail: str = ""
    breaker: BreakerState = BreakerState.CLOSED
    in_flight: int = 0

    @property
    def goes_on(self) -> bool:
        """Whether jobs of the lane are being sent."""
        return self.why in GOES_ON

    def is_news(self, before: "LaneState", now: float) -> bool:
        """Whether users would see something else than `before`, for more than a few seconds.

        Another reason always counts; another time counts if it differs by more than a second, and, while the lane
        sends, if it is at least five seconds after `now`.
        """
        causes = (self.why, self.detail, self.breaker), (before.why, before.detail, before.breaker)
        if causes[0] != causes[1]:
            return True
        if self.until is None or before.until is None:
            return self.until is not before.until and not self.goes_on
        moves = abs(self.until - before.until) > _SAME_S
        return moves and not (self.goes_on and self.until < now + _FAR_S)


def waits_elsewhere(name: str, states: list[LaneState]) -> LaneState:
    """Return what a lane waits for in the other processes, by their latest reports.

    If one of them sends, or none has reported the lane, its jobs are in the queue.
    """
    found = [one for one in states if one.name == name]
    moving = [one for one in found if one.goes_on]
    return (moving or found or [LaneState(name=name)])[-1]
