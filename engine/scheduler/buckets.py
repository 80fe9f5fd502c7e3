"""The rate rows that the requests of a lane count under."""

from engine.clock import Clock
from engine.core.model import Sends
from engine.limits import bucket_of
from engine.scheduler.assignment import Assignment
from engine.scheduler.lanes import Lanes
from engine.store import Bucket


class LaneBuckets:
    """The rate rows of a run's lanes."""

    def __init__(self, clock: Clock, assignment: Assignment, lanes: Lanes) -> None:
        self._clock = clock
        self._run = assignment
        self._lanes = lanes
        self._sends_jobs = assignment.kind.sends is Sends.JOB

    def of(self, lane: str) -> tuple[Bucket, ...]:
        """Return the rows of a lane: the key's, then the model's, which also carries a Retry-After.

        If jobs send requests of their own, or none, the sweep's rates do not apply to the jobs themselves. After
        refusals, requests are sent no faster than the service let them through, whatever the sweep allows.
        """
        model = Bucket(
            name=bucket_of(self._run.account, lane),
            rate_per_min=self._run.limits.for_lane(lane).rate_per_min if self._sends_jobs else None,
            pace_per_min=self._lanes.lane(lane).pace.rate_per_min(self._clock.now()),
        )
        # The key's row is needed without a rate, too: another process may have been given one for the key.
        return (*self.of_key, model) if self._sends_jobs else (model,)

    @property
    def of_key(self) -> tuple[Bucket, ...]:
        """The row of the service's key."""
        return (Bucket(name=self._run.account, rate_per_min=self._run.limits.rate_per_min),)
