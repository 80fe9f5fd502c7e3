"""Doubt about a refusal: one that may be a mistake is confirmed before a lane is given up."""

from dataclasses import dataclass, replace
from math import inf

from engine.core.retry import Hold

DOUBTED = frozenset({Hold.QUOTA, Hold.CREDIT, Hold.UNAUTHORIZED})
"""Refusals that may be a mistake, or due to quota that is only reserved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A refusal in a lane, until it is confirmed or a job is answered; every change gives a new one.

    While it `is_asking` the service about its key or quota, nothing is sent. After that, one request
    at a time is sent, not before `until`; only these count. Times in seconds since the epoch.
    """

    hold: Hold
    why: str
    """The service's explanation."""
    since: float
    """When the first request was refused."""
    needs: int = 0
    """Tests that the request may cost, by the service or its reservation; 0 if unknown."""
    refusals: int = 1
    """Requests refused one after the other."""
    is_asking: bool = True
    until: float = 0.0
    is_trying: bool = False
    is_alone: bool = False
    """Whether nothing else was in flight in any process when the last one was sent."""
    unasked_s: float = 0.0
    """Seconds in which a request was due but could not be sent, as outside the run's window."""

    def admits(self, now: float) -> int:
        """The number of jobs that may be started: 1 if it is time to try again, else 0."""
        return int(now >= self.admits_at)

    @property
    def admits_at(self) -> float:
        """When a job may be started; infinite if time alone does not decide."""
        return inf if self.is_asking or self.is_trying else self.until

    @property
    def is_repeated(self) -> bool:
        """Whether more than one request was refused."""
        return self.refusals > 1

    def on_try(self, now: float, *, is_alone: bool) -> "Doubt":
        """After a job was started to see whether the refusal stands.

        `is_alone` says whether nothing else that may hold quota is in flight: if it is then refused as well,
        reservations are not the cause.
        """
        unasked_s = self.unasked_s + max(0.0, now - self.until)
        return replace(self, is_trying=True, is_alone=is_alone, unasked_s=unasked_s)

    def on_refusal(self, why: str, needs: int) -> "Doubt":
        """After that job was refused, too: the service must be asked again before another is sent.

        `why` is the service's explanation, `needs` the tests that the request may cost, 0 if unknown.
        """
        return replace(
            self,
            why=why,
            needs=needs,
            refusals=self.refusals + 1,
            is_trying=False,
            is_asking=True,
        )

    def on_inconclusive(self) -> "Doubt":
        """After that job ended in a way that says nothing about the refusal."""
        return replace(self, is_trying=False)

    def try_again(self, until: float) -> "Doubt":
        """After the service was asked and did not confirm it: send another request, not before `until`."""
        return replace(self, is_asking=False, until=until)

    def hasten(self, now: float) -> "Doubt":
        """After everything in flight has ended: reservations are free, so try now if that was not tried yet."""
        return self if self.is_alone else replace(self, until=min(self.until, now))
