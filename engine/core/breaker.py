"""A lane in which everything fails alike is parked instead of burning the night."""

from dataclasses import dataclass, replace
from enum import StrEnum

THRESHOLD = 25
"""So many failures of one fingerprint in a row, without any success between, open a breaker."""


class BreakerState(StrEnum):
    """What a breaker lets through."""

    CLOSED = "closed"
    """Everything."""
    OPEN = "open"
    """Nothing until the cooldown is over, then one job at a time, as a probe."""
    PARKED = "parked"
    """Nothing more in this session: every probe failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """The breaker of one lane; every change gives a new one. Times in seconds since the epoch.

    `attempts` probes in a row may fail before the lane is parked; the cooldowns before them grow from
    an eighth of `max_delay_s` (but no less than `base_delay_s`) to `max_delay_s`, doubling.
    """

    attempts: int
    base_delay_s: float
    max_delay_s: float
    threshold: int = THRESHOLD
    state: BreakerState = BreakerState.CLOSED
    fingerprint: str = ""
    """What fails."""
    failures: int = 0
    """How often in a row, probes included."""
    probes: int = 0
    """How many probes have failed since the breaker opened."""
    probing: bool = False
    open_until: float = 0.0

    def admits(self, now: float) -> int | None:
        """How many jobs may be started at `now`: None for any number, else 0 or 1."""
        match self.state:
            case BreakerState.CLOSED:
                return None
            case BreakerState.OPEN:
                return 1 if now >= self.open_until and not self.probing else 0
            case BreakerState.PARKED:
                return 0

    def started(self) -> "Breaker":
        """After a job was started: where the breaker is open, it is the probe."""
        return replace(self, probing=True) if self.state is BreakerState.OPEN else self

    def succeeded(self) -> "Breaker":
        """After an answer, wherever it came from: the lane works."""
        if self.state is BreakerState.CLOSED and not self.failures:
            return self
        return replace(
            self,
            state=BreakerState.CLOSED,
            fingerprint="",
            failures=0,
            probes=0,
            probing=False,
            open_until=0.0,
        )

    def failed(self, fingerprint: str, now: float) -> "Breaker":
        """After a failure. Those of jobs that were in flight when it opened do not count as probes."""
        match self.state:
            case BreakerState.CLOSED:
                alike = fingerprint == self.fingerprint
                failures = self.failures + 1 if alike else 1
                counted = replace(self, fingerprint=fingerprint, failures=failures)
                return _opened(counted, now) if failures >= self.threshold else counted
            case BreakerState.OPEN if self.probing:
                probed = replace(
                    self,
                    fingerprint=fingerprint,
                    failures=self.failures + 1,
                    probes=self.probes + 1,
                )
                return _opened(probed, now)
            case _:
                return self

    def unanswered(self) -> "Breaker":
        """After a probe that says nothing of the lane (throttled, interrupted): probe again."""
        return replace(self, probing=False)


def _opened(breaker: Breaker, now: float) -> Breaker:
    if breaker.probes >= breaker.attempts:
        return replace(breaker, state=BreakerState.PARKED, probing=False)
    shortest_s = max(breaker.base_delay_s, breaker.max_delay_s / 8)
    cooldown_s = min(breaker.max_delay_s, shortest_s * 2.0**breaker.probes)
    return replace(breaker, state=BreakerState.OPEN, probing=False, open_until=now + cooldown_s)
