"""A refusal that may be a mistake: a key, a quota or an account is not given up for what was said once."""

from dataclasses import dataclass, replace

from engine.core.retry import Hold

DOUBTED = frozenset({Hold.QUOTA, Hold.CREDIT, Hold.UNAUTHORIZED})
"""What a service may refuse by mistake, or because of what is only held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """What a lane was refused for, until that is confirmed or a job is answered; every change gives a new one.

    Nothing is sent while it `is_asking` what the service has to say of it, and then one request at a time,
    not before `until`: only these count. Times in seconds since the epoch.
    """

    hold: Hold
    why: str
    """What the service said."""
    since: float
    """When the first was refused."""
    needs: int = 0
    """How many tests the request may have come to, as far as the service or its reservation tells."""
    refusals: int = 1
    """How many were refused, each sent after the one before it was."""
    is_asking: bool = True
    until: float = 0.0
    is_trying: bool = False
    is_alone: bool = False
    """Whether nothing else was in flight, here or in another process, when the last was sent."""
    unasked_s: float = 0.0
    """For how long nothing could be sent although it was due, as outside the run's window."""

    def admits(self, now: float) -> int:
        """How many jobs may be started: 1 where it is time to try again, else 0."""
        return int(not self.is_asking and not self.is_trying and now >= self.until)

    def on_try(self, now: float, *, is_alone: bool) -> "Doubt":
        """After a job was started that finds out whether the refusal stands."""
        unasked_s = self.unasked_s + max(0.0, now - self.until)
        return replace(self, is_trying=True, is_alone=is_alone, unasked_s=unasked_s)

    def on_refusal(self, why: str, needs: int) -> "Doubt":
        """After that job was refused as well: the service is to be asked again."""
        return replace(
            self,
            why=why,
            needs=needs,
            refusals=self.refusals + 1,
            is_trying=False,
            is_asking=True,
        )

    def on_inconclusive(self) -> "Doubt":
        """After it came to an end that says nothing of the refusal."""
        return replace(self, is_trying=False)

    def try_again(self, until: float) -> "Doubt":
        """After the service was asked and has not confirmed it: another request, not before `until`."""
        return replace(self, is_asking=False, until=until)

    def hasten(self, now: float) -> "Doubt":
        """After all that was in flight has ended: what was held is free, unless that was tried already."""
        return self if self.is_alone else replace(self, until=min(self.until, now))
