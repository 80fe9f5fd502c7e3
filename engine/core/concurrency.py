"""How many jobs may be in flight: adaptive per lane, shared fairly between lanes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush
from math import floor, inf

RECOVERY_S = 45.0
"""Seconds from the floor back to the ceiling after the last overload, without any success."""
HALVING_INTERVAL_S = 1.0
"""Overloads closer together than this, or than a request's latency, count as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """Additive increase, multiplicative decrease, of the jobs in flight in one lane.

    `limit` is the value at the time `since`; `capacity(now)` is the current one. It grows with each
    success and with time, so a lane without traffic does not stay at its floor.
    """

    ceiling: int
    limit: float
    since: float = 0.0
    deaf_until: float = 0.0
    """Overloads before this time are echoes of one that has been handled."""

    @classmethod
    def at(cls, ceiling: int) -> "Concurrency":
        """The state of a lane before any overload: `ceiling` jobs, at least one, may be in flight."""
        assert ceiling >= 1
        return cls(ceiling=ceiling, limit=float(ceiling))

    def capacity(self, now: float) -> int:
        """Jobs that may be in flight at `now` (seconds since the epoch): at least 1, at most the ceiling."""
        return self.ceiling if self.limit >= self.ceiling else floor(self._limit(now))

    def allows_at(self, jobs: int) -> float:
        """When time alone lets `jobs` be in flight, in seconds since the epoch; infinite above the ceiling.

        It may lie in the past: then that many are allowed already.
        """
        if jobs > self.ceiling:
            return inf
        if jobs <= self.limit:
            return self.since
        # A millisecond more, so that rounding never leaves it short of the whole number.
        return self.since + (jobs - self.limit) * RECOVERY_S / (self.ceiling - 1) + 0.001

    def on_success(self, now: float) -> "Concurrency":
        """After an answer: about one more in flight per round of answers, up to the ceiling."""
        if self.limit >= self.ceiling:
            return self
        limit = self._limit(now)
        return replace(self, limit=min(self.ceiling, limit + 1 / limit), since=now)

    def on_overload(self, now: float, *, in_flight: int, latency_s: float = 0.0) -> "Concurrency":
        """After a 429 or 503: halve the jobs in flight, at most once per second and per latency."""
        if now < self.deaf_until:
            return self
        return replace(
            self,
            limit=max(1.0, min(self._limit(now), in_flight) / 2),
            since=now,
            deaf_until=now + max(HALVING_INTERVAL_S, latency_s),
        )

    def _limit(self, now: float) -> float:
        regained = (self.ceiling - 1) * max(0.0, now - self.since) / RECOVERY_S
        return min(float(self.ceiling), self.limit + regained)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneDemand:
    """A lane that wants slots: `capacity` is the most it may have in flight, `ready` its due jobs."""

    name: str
    in_flight: int
    capacity: int
    ready: int

    @property
    def room(self) -> int:
        """The most jobs that it can start now."""
        return max(0, min(self.ready, self.capacity - self.in_flight))


def allot(free: int, lanes: Sequence[LaneDemand]) -> Mapping[str, int]:
    """Share `free` slots over `lanes`: lane -> how many to start, without those that get none.

    The emptiest lane is served first, one at a time, so that all end up with as even a number in
    flight as their room allows. Between equals the first in `lanes` is first; the order is kept.
    """
    given = [0] * len(lanes)
    rooms = [lane.room for lane in lanes]
    queue = [(lane.in_flight, index) for index, lane in enumerate(lanes) if rooms[index]]
    heapify(queue)
    while free > 0 and len(queue) > 1:
        in_flight, index = heappop(queue)
        given[index] += 1
        free -= 1
        if given[index] < rooms[index]:
            heappush(queue, (in_flight + 1, index))
    for _, index in queue[:1]:
        # The only lane that still has room gets the rest in one go.
        given[index] += max(0, min(free, rooms[index] - given[index]))
    return {lane.name: count for lane, count in zip(lanes, given, strict=True) if count}


def fair_share(slots: int, share: int) -> int:
    """The number of slots that one of `share` processes may use: an equal part, rounded down, and at least one.

    So more processes than slots use more than `slots` together.
    """
    return max(1, slots // share)
