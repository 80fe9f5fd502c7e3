"""The pace of a lane's starts, learnt from a service that refuses requests that come too fast.

A refusal says how long to wait, but not how much may be sent afterwards; requests sent together would
be refused together again. So after the wait, one request tries. Once it is accepted, the others
follow evenly, at the pace that the service accepted before: the number of accepted requests over the
time until it accepted the next one. That pace holds for a while and then grows, ever faster, until a
request is refused or the pace no longer limits anything. At an even pace, a refusal costs one request.
"""

from dataclasses import dataclass, replace
from math import ceil

WINDOW_S = 60.0
"""Older starts, and longer waits, say nothing about a limit per minute."""
GROWTH_S = 33.0
"""After this long without a refusal the pace has doubled; after twice as long, it is 16 times as fast."""
MARGIN = 0.97
"""The share of the accepted pace that is used at first."""
_FAST_PER_MIN = 6000
"""A faster pace limits nothing."""
_PATIENCE_MIN_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The pace of one lane; every change gives a new one. Times in seconds since the epoch."""

    began: float = 0.0
    """When the stretch of requests that `through` counts began."""
    last: float = 0.0
    """The last start."""
    through: int = 0
    """Starts of the stretch that are not known to be refused."""
    stopped: float | None = None
    """When the service began to refuse; None while it accepts requests."""
    tried_at: float | None = None
    """When the request was started that tests whether it accepts them again."""
    patience_s: float = _PATIENCE_MIN_S
    """A request that is not refused within this time has been accepted."""
    spacing_s: float = 0.0
    """Seconds between starts when the pace was learnt; 0 without a pace."""
    learnt: float = 0.0

    def on_start(self, now: float, count: int) -> "Pace":
        """After `count` jobs were started. While the service refuses requests, the first of them tests it."""
        if self.stopped is not None:
            return self if self.tried_at is not None else replace(self, tried_at=now)
        began, through = self.began, self.through
        if now - self.last > WINDOW_S:
            began, through = now, 0
        elif now - began > 2 * WINDOW_S:
            # An estimate of the last minute's starts, without a record of each.
            began, through = now - WINDOW_S, ceil(through * WINDOW_S / (now - began))
        return replace(self, began=began, last=now, through=through + count)

    def on_refusal(self, now: float, *, started: float) -> "Pace":
        """After a request that began at `started` was refused.

        The first refusal stops the lane. A refused test lets another one follow; a request from before the stop
        only corrects how many were let through.
        """
        patience_s = max(self.patience_s, min(2 * (now - started), WINDOW_S))
        if self.stopped is None:
            return replace(
                self, stopped=now, through=self.through - 1, patience_s=patience_s, tried_at=None
            )
        if self.tried_at is not None and started >= self.tried_at:
            return replace(self, tried_at=None, patience_s=patience_s)
        return replace(self, through=self.through - 1, patience_s=patience_s)

    def on_answer(self, now: float, *, started: float) -> "Pace":
        """After a request that began at `started` was accepted; if it was the test, the lane goes on at its pace."""
        tried = self.tried_at is not None and started >= self.tried_at
        return self._resume(now) if tried else self

    def at(self, now: float) -> "Pace":
        """After time has passed: a test that was not refused in time was accepted."""
        if self.tried_at is None or now < self.tried_at + self.patience_s:
            return self
        return self._resume(now)

    def admits(self) -> int | None:
        """The number of jobs that may start, whatever the rate: 0, 1, or None for any number."""
        if self.stopped is None:
            return None
        return 1 if self.tried_at is None else 0

    @property
    def admits_at(self) -> float:
        """When `admits` changes by time alone, while a request tests the service."""
        assert self.tried_at is not None, "only a try that is under way ends by time"
        return self.tried_at + self.patience_s

    def rate_per_min(self, now: float) -> int | None:
        """The starts that are allowed in any minute; None if no pace was learnt or it no longer limits."""
        if not self.spacing_s:
            return None
        growth = 2.0 ** min(16.0, self._age(now) ** 2)
        rate = WINDOW_S / self.spacing_s * MARGIN * growth
        return None if rate > _FAST_PER_MIN else max(1, int(rate))

    def _age(self, now: float) -> float:
        return max(0.0, now - self.learnt) / GROWTH_S

    def _resume(self, now: float) -> "Pace":
        assert self.stopped is not None, "only what was refused resumes"
        assert self.tried_at is not None, "it is a try that was let through"
        spacing_s = self.spacing_s
        if self.through > 0:
            wait_s = min(self.tried_at - self.stopped, WINDOW_S)
            spacing_s = min((self.stopped - self.began + wait_s) / self.through, WINDOW_S)
        return replace(
            self,
            began=self.tried_at,
            last=now,
            through=1,
            stopped=None,
            tried_at=None,
            spacing_s=spacing_s,
            learnt=now,
        )
