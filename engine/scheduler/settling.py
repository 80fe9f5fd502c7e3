"""Settling attempts: what the end of each one changes for its job, its lane and the run."""

import logging

from engine.clock import Clock
from engine.core.circuit import Sent
from engine.core.model import Sends
from engine.core.progress import Progress
from engine.core.runs import EventKind, StopReason
from engine.core.settlement import Settlement, settlement
from engine.scheduler.assignment import Assignment, Note
from engine.scheduler.attempts import Attempt, AttemptRunner
from engine.scheduler.lane import Noted
from engine.scheduler.lanes import UNMET_S, Lanes
from engine.scheduler.quota import QuotaTracker
from engine.scheduler.refusals import RefusalChecker
from engine.scheduler.steering import Steering
from engine.store import Store

logger = logging.getLogger(__name__)


class Settler:
    """Settles the attempts of one run."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        assignment: Assignment,
        lanes: Lanes,
        steering: Steering,
        attempts: AttemptRunner,
        quota: QuotaTracker,
        refusals: RefusalChecker,
        progress: Progress,
        note: Note,
    ) -> None:
        self._store = store
        self._clock = clock
        self._run = assignment
        self._lanes = lanes
        self._steering = steering
        self._attempts = attempts
        self._quota = quota
        self._refusals = refusals
        self._progress = progress
        self._note = note
        self._reserves = bool(quota.keys_to_reserve(clock.now()))

    async def settle(self, attempt: Attempt) -> None:
        """Store what an attempt came to, after its lane and the run have learnt from it.

        Returns once the outcome is committed, or the store is full and the run is being left. The attempt's
        slot is freed in any case, also if this raises StoreError. A job that is to be tried again is
        offered to its lane.
        """
        claimed, lane, began, now = attempt.claimed, attempt.lane, attempt.began, self._clock.now()
        settled = settlement(attempt.end, now, reserved=claimed.reserved or 0)
        logger.debug(
            "attempt %d %s after %.3f s",
            claimed.attempt,
            settled.outcome,
            now - began,
            extra={"run": self._run.run, "lane": lane.name, "status": settled.status},
        )
        feedback = settled.feedback
        notes = lane.apply(
            feedback,
            now,
            of=Sent(job_id=claimed.id, fence=claimed.fence, started_at=began),
            patience_s=self._lanes.patience_s(lane),
            is_gated=self._run.ask_health is not None,
            sends_jobs=self._run.kind.sends is Sends.JOB,
        )
        notes += self._apply(settled)
        try:
            with self._steering.leaving_full_store():
                await self._store.queue.settle(
                    self._attempts.make_outcome(attempt, settled, reserves=self._reserves)
                )
        finally:
            self._lanes.end(claimed)
        if settled.is_charged:
            self._quota.note_end(began, has_answer=feedback.has_succeeded)
        if feedback.has_outcome or self._lanes.peers:
            # Another process may take a job that is given back.
            self._progress.end(claimed.id, has_outcome=feedback.has_outcome)
        if not feedback.has_outcome:
            lane.offer(claimed.cost_class, settled.due_at)
        self._lanes.retry_refused()
        if not self._lanes.in_flight:
            self._refusals.hasten(self._lanes)
        self._steering.wake()
        for kind, message in notes:
            await self._note(kind, message, lane)

    def _apply(self, settled: Settlement) -> list[Noted]:
        """Stop, slow down or recover after an attempt; return lines for the event log."""
        if settled.stops is not None:
            self._steering.stop(settled.stops, settled.feedback.error)
        if settled.is_machine_short:
            return self._slow_down(settled.feedback.error, settled.ended_at)
        if settled.feedback.has_succeeded:
            self._lanes.recover()
        return []

    def _slow_down(self, error: str, now: float) -> list[Noted]:
        """Slow down because this machine ran short; stop once that lasts as long as an outage may."""
        lanes = self._lanes
        is_new = lanes.pause(now, error)
        if lanes.faults > 1 and now - lanes.faulty_since > (self._run.retry.outage_s or UNMET_S):
            self._steering.stop(StopReason.UNHEALTHY, error)
        return (
            [(EventKind.MACHINE, f"{error}; fewer requests are sent meanwhile")] if is_new else []
        )
