"""What to claim for the free slots of the lanes, and what follows from what was granted."""

import logging
from collections.abc import Sequence

from engine.clock import Clock
from engine.permits import LEAD_MAX_S, LeadTime
from engine.scheduler.assignment import Assignment
from engine.scheduler.buckets import LaneBuckets
from engine.scheduler.lane import Lane
from engine.scheduler.lanes import Lanes
from engine.scheduler.publisher import LanePublisher
from engine.scheduler.quota import QuotaTracker
from engine.scheduler.steering import Steering
from engine.scheduler.turns import Turns
from engine.store import Claim, Claimed, LaneClaim, LaneGrant, Outcome, Store

logger = logging.getLogger(__name__)

_HORIZON_S = 0.2
"""How far ahead slots are taken: a fast lane is claimed a handful at a time, not one by one."""


class Claimer:
    """Decides what one run claims, and takes what it was granted."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        assignment: Assignment,
        lanes: Lanes,
        steering: Steering,
        publisher: LanePublisher,
        quota: QuotaTracker,
        turns: Turns,
        buckets: LaneBuckets,
    ) -> None:
        self._store = store
        self._clock = clock
        self._run = assignment
        self._lanes = lanes
        self._steering = steering
        self._publisher = publisher
        self._quota = quota
        self._turns = turns
        self._buckets = buckets
        self._lead = LeadTime()

    def decide(self, settled: Sequence[Outcome]) -> Claim:
        """Return what to claim, just before the transaction, with which the outcomes in `settled` commit.

        The slots that they free count as free. Once the run is stopped, no lane asks for jobs.
        """
        now = self._clock.now()
        freed = self._lanes.count_freed(settled)
        wants = self._lanes.wants(now, freed) if self._steering.stopped is None else {}
        return Claim(
            run_id=self._run.run_id,
            worker_id=self._store.worker_id,
            service=self._run.costs_of,
            now=now,
            lead_s=min(self._lead.seconds + self._turns.ahead_s, LEAD_MAX_S),
            # When commits are slow we claim rarely, so take every slot up to the next claim at once.
            horizon_s=max(_HORIZON_S, self._lead.seconds),
            lanes=tuple(
                LaneClaim(
                    lane=name,
                    classes=self._lanes.lane(name).classes,
                    count=count,
                    buckets=self._buckets.of(name),
                )
                for name, count in wants.items()
            ),
            quotas=self._quota.keys_to_reserve(now),
            charged_by_reply=self._run.kind.charged_by_reply,
            lane_states=self._publisher.add_to_claim(now),
        )

    def take(self, grants: Sequence[LaneGrant]) -> list[tuple[Claimed, Lane]]:
        """Count the claimed jobs as in flight and return them with their lanes, as soon as the claim is committed.

        Lanes learn what was found in their queues, those that got least first, and get later turns if they
        got jobs. It awaits nothing: no claimed job can go uncounted because of a cancellation.
        """
        self._publisher.confirm_claim()
        if any(job.is_rated for grant in grants for job in grant.jobs):
            self._lead.adapt(self._clock.now() - grants[0].asked_at)
        taken = []
        # Those that got less come first the next time.
        for grant in sorted(grants, key=lambda one: len(one.jobs)):
            self._log_grant(grant)
            lane = self._lanes.lane(grant.lane)
            lane.take(grant)
            if grant.jobs:
                self._lanes.serve(lane)
            self._quota.note_claims(grant.jobs)
            for claimed in grant.jobs:
                self._lanes.start(lane, claimed, self._clock.now())
                taken.append((claimed, lane))
        return taken

    def _log_grant(self, grant: LaneGrant) -> None:
        extra = {"run": self._run.run, "lane": grant.lane}
        if grant.jobs:
            logger.debug("jobs claimed: %d", len(grant.jobs), extra=extra)
        elif grant.next_at is not None:
            logger.debug(
                "no job claimed (%s); next claim in %.1f s",
                grant.why,
                max(0.0, grant.next_at - grant.asked_at),
                extra=extra,
            )
