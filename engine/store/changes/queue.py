"""The queue: claiming, settling, cancelling and requeueing jobs."""

from collections.abc import (
    AsyncIterator,
    Callable,
    Iterable,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from engine.clock import Clock
from engine.core.errors import StoreError
from engine.core.lanes import LaneState
from engine.core.states import State
from engine.store.batch import Work
from engine.store.changes.in_parts import OnProgress, PartWriter
from engine.store.queries import (
    claims,
    clocks,
    expansion,
    lanes,
    queue,
    runs,
    workers,
)
from engine.store.queries.runs import Requeueing, RunRow
from engine.store.requests import (
    Claim,
    LaneGrant,
    Outcome,
)
from engine.store.worker import Worker
from engine.store.writer import Piggyback, Writer

Decide = Callable[[Sequence[Outcome]], Claim]
"""Decides what to claim, given the outcomes that the same transaction settles."""


@dataclass(frozen=True, slots=True)
class _Claiming:
    """A claim for the writer; equal to another with the same `decide`."""

    decide: Decide
    clock: Clock
    reached: Callable[[int], expansion.Position | None]

    def __call__(self, settled: Sequence[Outcome]) -> Work[list[LaneGrant]]:
        request = self.decide(settled)

        def work(connection: Connection) -> list[LaneGrant]:
            grants = claims.claim(connection, request, until=self.reached(request.run_id))
            lanes.publish(
                connection, request.run_id, request.worker_id, request.lane_states, now=request.now
            )
            if any(grant.jobs for grant in grants):
                workers.record_claim(connection, request.worker_id, self.clock.now())
            return grants

        return work


class QueueChanges:
    """Changes the states of jobs: claims, outcomes, cancelling and requeueing.

    Each change is durable when its method returns. All methods raise StoreError if they cannot commit.
    """

    def __init__(
        self,
        clock: Clock,
        writer: Writer,
        worker: Worker,
        parts: PartWriter,
        reached: Callable[[int], expansion.Position | None],
    ) -> None:
        self._clock = clock
        self._writer = writer
        self._worker = worker
        self._parts = parts
        self._reached = reached

    async def claim(self, decide: Decide) -> list[LaneGrant]:
        """Claim due jobs for this worker, within rates and quota, in one transaction.

        `decide` runs in the event loop just before the transaction; it gets the outcomes that commit with it, and
        returns how many jobs of which lanes to claim. The attempts are written in the same transaction, so the store
        knows every request before it leaves.

        Returns one grant per lane: the claimed jobs, or when to ask again and why. Raises StoreError if the claim
        cannot be committed.
        """
        return await self._writer.write_prepared(_Claiming(decide, self._clock, self._reached))

    @asynccontextmanager
    async def claiming_with_outcomes(
        self, decide: Decide, deliver: Callable[[list[LaneGrant]], None]
    ) -> AsyncIterator[None]:
        """Within the block, also claim in each transaction that settles outcomes, so that free slots are refilled.

        `deliver` is called in the event loop with the grants, right after COMMIT, and never after the block.
        """
        piggyback = Piggyback(_Claiming(decide, self._clock, self._reached), deliver)
        self._writer.piggybacks.append(piggyback)
        try:
            yield
        finally:
            self._writer.piggybacks.remove(piggyback)
            # A claim that is being committed now is delivered before this returns. While commits fail,
            # there is no such claim.
            with suppress(StoreError):
                await self._writer.write(lambda _: None)

    async def settle(self, outcome: Outcome) -> bool:
        """Record the outcome of an attempt with its answer, and settle its quota; durable on return.

        Returns whether it changed its job: a failure under an older claim and an answer to an answered job do
        not.
        """
        return await self._writer.settle(outcome)

    async def publish_lanes(self, run_id: int, states: Iterable[LaneState]) -> None:
        """Show other processes what lanes of a run wait for here, as in `nightsweep runs`.

        Replaces what this worker published of the same lanes; its other lanes stay as they are.
        """
        now = self._clock.now()
        await self._writer.write(
            lambda connection: lanes.publish(connection, run_id, self._worker.id, states, now=now)
        )

    async def cancel(self, run_id: int, on_progress: OnProgress | None = None) -> int:
        """Cancel the jobs that are not in flight, including those of dead workers; returns how many.

        Many jobs are cancelled in parts; if that is interrupted, it has to be repeated. `on_progress` is called
        before the first part and after each.
        """
        await self._worker.reclaim_from_dead()
        ids = await self._parts.ids(queue.select_claimable(run_id))
        return await self._parts.write(
            ids, lambda connection, part, _: queue.cancel(connection, part), on_progress
        )

    async def requeue(
        self, run_id: int, states: Iterable[State], on_progress: OnProgress | None = None
    ) -> int:
        """Requeue the jobs in these states, succeeded ones only with unanswered questions; returns how many.

        The run becomes active. Many jobs are requeued in parts; if that is interrupted, the run's message says so,
        and its row has what is left for `complete_requeueing`. `on_progress` is called once that is committed, before
        the first part and after each.
        """
        wanted = Requeueing(worker=self._worker.id, states=tuple(states))
        now = self._clock.now()
        await self._writer.write(
            lambda connection: runs.begin_requeueing(connection, run_id, wanted, now=now)
        )
        if on_progress is not None:
            on_progress(0, None)
        return await self._requeue(run_id, wanted.states, on_progress)

    async def complete_requeueing(self, of: RunRow) -> int:
        """Requeue what a process that has ended was requeueing when `of` was read; returns how many jobs."""
        if of.requeueing is None or not self._worker.has_ended(of.requeueing.worker):
            return 0
        return await self._requeue(of.id, of.requeueing.states, None)

    async def _requeue(
        self, run_id: int, wanted: Sequence[State], on_progress: OnProgress | None
    ) -> int:
        ids = await self._parts.ids(queue.select_requeueable(run_id, wanted))

        def work(connection: Connection, part: Sequence[int], is_last: bool) -> int:
            if runs.find_requeueing(connection, run_id) is None:
                # The run was cancelled meanwhile.
                return 0
            count = queue.requeue(connection, part, wanted)
            if count or is_last:
                now = self._clock.now()
                runs.reopen(connection, run_id, is_cut_short=not is_last, now=now)
            return count

        count = await self._parts.write(ids, work, on_progress)
        await self._writer.write(lambda connection: runs.end_requeueing(connection, run_id))
        return count

    async def follow_clock(self) -> float:
        """Shorten waits that grew because the clock was set back; returns by how many seconds."""
        now = self._clock.now()
        return await self._writer.write(
            lambda connection: clocks.follow(connection, now, self._worker.id)
        )
