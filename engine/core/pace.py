"""How fast a lane may start, learnt from a service that refuses what comes too fast.

A refusal says how long to wait, and not how much may be sent afterwards. Sent together, as many as were
refused are refused again. So after a wait one request tries, and once it is let through the others follow
evenly, as fast as the service took them before: the requests that it let through, spread over the time
until it did so again. That pace is kept for a while and then grows, faster and faster, until it is
refused or no pace at all. Evenly paced, a refusal costs the one request that met it.
"""

from dataclasses import dataclass, replace
from math import ceil

WINDOW_S = 60.0
"""What is longer ago says nothing of a limit by the minute; a longer wait neither."""
GROWTH_S = 33.0
"""After so long without a refusal the pace is twice as fast, after twice as long sixteen times."""
MARGIN = 0.97
"""The share of what was let through that is used at first."""
_FAST_PER_MIN = 6000
"""A pace above this is as good as none."""
_PATIENCE_MIN_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The pace of one lane; every change gives a new one. Times in seconds since the epoch."""

    began: float = 0.0
    """When the stretch of requests began that `through` counts."""
    last: float = 0.0
    """The last start."""
    through: int = 0
    """Starts of the stretch that were not refused, as far as is known."""
    stopped: float | None = None
    """When the service began to refuse; None while it lets requests through."""
    tried_at: float | None = None
    """The start of the request that tries whether it lets them through again."""
    patience_s: float = _PATIENCE_MIN_S
    """A request that is not refused by then has been let through."""
    spacing_s: float = 0.0
    """The distance of starts when it was learnt; 0: there is no pace."""
    learnt: float = 0.0

    def on_start(self, now: float, count: int) -> "Pace":
        """After so many starts."""
        if self.stopped is not None:
            return self if self.tried_at is not None else replace(self, tried_at=now)
        began, through = self.began, self.through
        if now - self.last > WINDOW_S:
            began, through = now, 0
        elif now - began > 2 * WINDOW_S:
            # About the last minute counts, without a record of each start in it.
            began, through = now - WINDOW_S, ceil(through * WINDOW_S / (now - began))
        return replace(self, began=began, last=now, through=through + count)

    def on_refusal(self, now: float, *, started: float) -> "Pace":
        """After a request that began at `started` was refused."""
        patience_s = max(self.patience_s, min(2 * (now - started), WINDOW_S))
        if self.stopped is None:
            return replace(
                self, stopped=now, through=self.through - 1, patience_s=patience_s, tried_at=None
            )
        if self.tried_at is not None and started >= self.tried_at:
            return replace(self, tried_at=None, patience_s=patience_s)
        return replace(self, through=self.through - 1, patience_s=patience_s)

    def on_answer(self, now: float, *, started: float) -> "Pace":
        """After a request that began at `started` was let through."""
        tried = self.tried_at is not None and started >= self.tried_at
        return self._resume(now) if tried else self

    def at(self, now: float) -> "Pace":
        """As time alone changes it: a try that is not refused in time was let through."""
        if self.tried_at is None or now < self.tried_at + self.patience_s:
            return self
        return self._resume(now)

    def admits(self) -> int | None:
        """How many may start, whatever the rate: None for any number, else 0 or 1."""
        if self.stopped is None:
            return None
        return 1 if self.tried_at is None else 0

    @property
    def admits_at(self) -> float:
        """When `admits` changes by time alone, while a request tries."""
        assert self.tried_at is not None, "only a try that is under way ends by time"
        return self.tried_at + self.patience_s

    def rate_per_min(self, now: float) -> int | None:
        """The starts that are allowed in any minute; None: no pace was learnt, or it has grown out of it."""
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
