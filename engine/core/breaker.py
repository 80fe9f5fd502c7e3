"""A lane in which everything fails alike is parked; one whose service is away waits until it is back."""

from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil, inf, log2

THRESHOLD = 25
"""So many failures of one fingerprint in a row, without any success between, open a breaker."""
OBSERVATIONS = 3
"""A breaker opens after failures at so many different moments: what fails at once was seen failing once."""
APART_S = 1.0
"""Failures further apart than this are different moments, whenever their requests were started."""
PROBE_EVERY_S = 60.0
"""The longest distance of the probes in an outage."""


class BreakerState(StrEnum):
    """What a breaker lets through."""

    CLOSED = "closed"
    """Everything."""
    OPEN = "open"
    """Nothing until the cooldown is over, then one job at a time, as a probe.

    What was started before it opened is no probe, however late it ends.
    """
    PARKED = "parked"
    """Nothing more in this session: every probe failed, or the service was away for too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """The breaker of one lane; every change gives a new one. Times in seconds since the epoch.

    Cooldowns grow from `base_delay_s` to `max_delay_s`, doubling: what breaks for seconds stops nothing for
    longer. The lane is parked once `attempts` probes in a row have failed after one of at least an eighth
    of `max_delay_s`. While the service is away, probes are sent at distances from `base_delay_s` to a
    minute for as long as it is waited for.
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
    observations: int = 0
    """At how many different moments since the last success."""
    observed_at: float = -inf
    """The last of them."""
    probes: int = 0
    """How many probes have failed since the breaker opened."""
    probing: bool = False
    open_until: float = 0.0
    misses: int = 0
    """How often in a row the service seemed to be away."""
    since: float | None = None
    """When it was first missed."""
    away_since: float | None = None
    """When the service was first missed, once that is an outage."""
    unasked_s: float = 0.0
    """How long in the outage no probe could be sent, as in a machine that slept: that is not waited for."""

    def admits(self, now: float) -> int | None:
        """How many jobs may be started at `now`: None for any number, else 0 or 1."""
        match self.state:
            case BreakerState.CLOSED:
                return None
            case BreakerState.OPEN:
                return 1 if now >= self.open_until and not self.probing else 0
            case BreakerState.PARKED:
                return 0

    def on_start(self) -> "Breaker":
        """After a job was started: where the breaker is open, it is the probe."""
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
        """After a request that began at `started` found the service away: `surely`, or as far as one can tell.

        The lane is parked once the outage has lasted for `patience_s`; with 0, after `attempts` probes.
        The next probe is sent no sooner than after `asked_s`, which the answer asked to wait.
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
            self._observe(now, started, anew=self.misses == 0),
            fingerprint=fingerprint,
            misses=misses,
            since=since,
        )
        if not surely and counted.observations < OBSERVATIONS:
            return counted.on_inconclusive() if is_probe else counted
        away = replace(counted, away_since=since, probes=0, failures=misses)
        return _wait_for_service(away, since, now, patience_s, asked_s)

    def on_success(self) -> "Breaker":
        """After an answer, wherever it came from: the lane works."""
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
        """After a request that began at `started` failed; those in flight when it opened do not count."""
        if self.misses and (is_probe or self.state is BreakerState.CLOSED):
            # What fails like this is there.
            return self.on_success().on_failure(fingerprint, now, started=started)
        match self.state:
            case BreakerState.CLOSED:
                alike = fingerprint == self.fingerprint
                failures = self.failures + 1 if alike else 1
                counted = replace(
                    self._observe(now, started, anew=not alike),
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

    def _observe(self, now: float, started: float, *, anew: bool) -> "Breaker":
        """After a failure; of a request that was in flight at the last one, soon after, it is the same again."""
        if anew:
            return replace(self, observations=1, observed_at=now)
        if started < self.observed_at and now < self.observed_at + APART_S:
            return self
        return replace(self, observations=self.observations + 1, observed_at=now)

    def on_inconclusive(self) -> "Breaker":
        """After a probe that says nothing of the lane (throttled, interrupted): probe again."""
        return replace(self, probing=False)

    def on_refusal(self, *, is_probe: bool, sent: bool = True) -> "Breaker":
        """After a refusal, which only a service that is there can send; not `sent`, it is one of our own."""
        if self.misses and sent:
            return self.on_success()
        return self.on_inconclusive() if is_probe else self


def _open(breaker: Breaker, now: float) -> Breaker:
    # The short cooldowns at first are for what passes in seconds: they use up none of the attempts.
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
