"""Circuit breakers: a lane in which every job fails alike is parked; one in an outage waits."""

from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil, inf, log2

THRESHOLD = 25
"""Failures with one fingerprint in a row that open a breaker."""
OBSERVATIONS = 3
"""Different moments at which failures must occur before a breaker opens."""
APART_S = 1.0
"""Failures further apart than this count as different moments, whenever their requests began."""
PROBE_EVERY_S = 60.0
"""The longest time between two probes in an outage, in seconds."""


class BreakerState(StrEnum):
    """What a breaker admits."""

    CLOSED = "closed"
    """Everything."""
    OPEN = "open"
    """Nothing until the cooldown is over, then one job at a time, as a probe.

    A job that was started before it opened is not a probe, however late it ends.
    """
    PARKED = "parked"
    """Nothing more in this session: every probe failed, or the outage lasted too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """The breaker of one lane; every change gives a new one. Times in seconds since the epoch.

    Cooldowns double from `base_delay_s` to `max_delay_s`, so a fault of seconds costs no more than
    seconds. The lane is parked once `attempts` probes in a row have failed after a cooldown of at
    least an eighth of `max_delay_s`. In an outage, the time between probes grows from `base_delay_s`
    to a minute, until the lane's patience ends.
    """

    attempts: int
    base_delay_s: float
    max_delay_s: float
    threshold: int = THRESHOLD
    state: BreakerState = BreakerState.CLOSED
    fingerprint: str = ""
    """That of the last failure."""
    failures: int = 0
    """Failures in a row with this fingerprint, probes included."""
    observations: int = 0
    """Different moments with a failure since the last success."""
    observed_at: float = -inf
    """The last of these moments."""
    probes: int = 0
    """Probes that have failed since the breaker opened."""
    probing: bool = False
    open_until: float = 0.0
    misses: int = 0
    """Requests in a row that found the service away."""
    since: float | None = None
    """When the first of these requests ended."""
    away_since: float | None = None
    """When the outage began, once there is one."""
    unasked_s: float = 0.0
    """Seconds of the outage in which no probe could be sent, as while a machine sleeps: they do not count."""

    def admits(self, now: float) -> int | None:
        """The number of jobs that may be started at `now`: 0, 1, or None for any number."""
        match self.state:
            case BreakerState.CLOSED:
                return None
            case _:
                return int(now >= self.admits_at)

    @property
    def admits_at(self) -> float:
        """When a job may be started; infinite if time alone does not decide."""
        match self.state:
            case BreakerState.CLOSED:
                return -inf
            case BreakerState.OPEN:
                return inf if self.probing else self.open_until
            case BreakerState.PARKED:
                return inf

    def on_start(self) -> "Breaker":
        """After a job was started: it is the probe if the breaker is open."""
        return replace(self, probing=True) if self.state is BreakerState.OPEN else self

    def on_away(
        self,
        fingerprint: str,
        now: float,
        *,
        started: float,
        surely: bool,
        patience_s: float,
        is_probe: bool = False,
        asked_s: float = 0.0,
    ) -> "Breaker":
        """After a request that began at `started` found the service away, `surely` or probably.

        The lane is parked once the outage has lasted for `patience_s`, or with 0 after `attempts`
        probes. The next probe waits for at least `asked_s`, the answer's Retry-After.
        """
        if self.state is BreakerState.PARKED:
            return self
        if self.state is BreakerState.OPEN and self.away_since is not None:
            if not is_probe:
                return self
            probed = replace(
                self,
                fingerprint=fingerprint,
                failures=self.failures + 1,
                probes=self.probes + 1,
                unasked_s=self.unasked_s + max(0.0, started - self.open_until),
            )
            return _wait_for_service(probed, self.away_since, now, patience_s, asked_s)
        misses = self.misses + 1
        since = now if self.misses == 0 or self.since is None else self.since
        counted = replace(
            self._observe(now, started, is_first=self.misses == 0),
            fingerprint=fingerprint,
            misses=misses,
            since=since,
        )
        if not surely and counted.observations < OBSERVATIONS:
            return counted.on_inconclusive() if is_probe else counted
        away = replace(counted, away_since=since, probes=0, failures=misses)
        return _wait_for_service(away, since, now, patience_s, asked_s)

    def on_success(self) -> "Breaker":
        """After an answer to any job: the lane works."""
        if self.state is BreakerState.CLOSED and not self.failures and not self.misses:
            return self
        return Breaker(
            attempts=self.attempts,
            base_delay_s=self.base_delay_s,
            max_delay_s=self.max_delay_s,
            threshold=self.threshold,
        )

    def on_failure(
        self, fingerprint: str, now: float, *, started: float, is_probe: bool = False
    ) -> "Breaker":
        """After a request that began at `started` failed; one in flight when it opened does not count."""
        if self.misses and (is_probe or self.state is BreakerState.CLOSED):
            # A service that fails a request is not away.
            return self.on_success().on_failure(fingerprint, now, started=started)
        match self.state:
            case BreakerState.CLOSED:
                alike = fingerprint == self.fingerprint
                failures = self.failures + 1 if alike else 1
                counted = replace(
                    self._observe(now, started, is_first=not alike),
                    fingerprint=fingerprint,
                    failures=failures,
                )
                is_enough = failures >= self.threshold and counted.observations >= OBSERVATIONS
                return _open(counted, now) if is_enough else counted
            case BreakerState.OPEN if is_probe:
                probed = replace(
                    self,
                    fingerprint=fingerprint,
                    failures=self.failures + 1,
                    probes=self.probes + 1,
                )
                return _open(probed, now)
            case _:
                return self

    def _observe(self, now: float, started: float, *, is_first: bool) -> "Breaker":
        """Count a moment with a failure, unless the request was in flight at the previous one, just before."""
        if is_first:
            return replace(self, observations=1, observed_at=now)
        if started < self.observed_at and now < self.observed_at + APART_S:
            return self
        return replace(self, observations=self.observations + 1, observed_at=now)

    def on_inconclusive(self) -> "Breaker":
        """After a probe that says nothing about the lane (throttled, interrupted): probe again."""
        return replace(self, probing=False)

    def on_refusal(self, *, is_probe: bool, sent: bool = True) -> "Breaker":
        """After a refusal by the service, which is therefore not away; if not `sent`, by the engine."""
        if self.misses and sent:
            return self.on_success()
        return self.on_inconclusive() if is_probe else self


def _open(breaker: Breaker, now: float) -> Breaker:
    # The first, short cooldowns are for faults that last seconds; they use up no attempts.
    longest_s = breaker.max_delay_s
    short = max(0, ceil(log2(longest_s / 8 / breaker.base_delay_s)))
    if breaker.probes >= short + breaker.attempts:
        return replace(breaker, state=BreakerState.PARKED, probing=False)
    cooldown_s = min(longest_s, breaker.base_delay_s * 2.0 ** min(breaker.probes, 32))
    return replace(breaker, state=BreakerState.OPEN, probing=False, open_until=now + cooldown_s)


def _wait_for_service(
    breaker: Breaker, since: float, now: float, patience_s: float, asked_s: float
) -> Breaker:
    waited_s = now - since - breaker.unasked_s
    is_over = waited_s >= patience_s if patience_s else breaker.probes >= breaker.attempts
    if is_over:
        return replace(breaker, state=BreakerState.PARKED, probing=False)
    longest_s = min(PROBE_EVERY_S, breaker.max_delay_s)
    cooldown_s = min(longest_s, breaker.base_delay_s * 2.0 ** min(breaker.probes, 32))
    open_until = now + max(cooldown_s, asked_s)
    return replace(breaker, state=BreakerState.OPEN, probing=False, open_until=open_until)
