"""The queue: claiming jobs, settling them, and putting them in line."""

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
from engine.store.changes.in_parts import PartWriter
from engine.store.queries import (
    claims,
    clocks,
    expansion,
    lanes,
    queue,
    runs,
    workers,
)
from engine.store.requests import (
    Claim,
    LaneGrant,
    Outcome,
)
from engine.store.worker import Worker
from engine.store.writer import Piggyback, Writer

Decide = Callable[[Sequence[Outcome]], Claim]
"""What to claim, told the outcomes that the same transaction settles."""


@dataclass(frozen=True, slots=True)
class _Claiming:
    """A claim for the writer; equal to another that is decided by the same."""

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
    """What changes the states of jobs."""

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
        """Make jobs ours, within rates and quota; what to claim is decided when the transaction runs."""
        return await self._writer.write_prepared(_Claiming(decide, self._clock, self._reached))

    @asynccontextmanager
    async def claiming_with_outcomes(
        self, decide: Decide, deliver: Callable[[list[LaneGrant]], None]
    ) -> AsyncIterator[None]:
        """Claim within every transaction that settles outcomes, too: a slot is filled as it is freed.

        `deliver` is called in the event loop with what was granted, right after COMMIT; never again
        once the block has ended.
        """
        piggyback = Piggyback(_Claiming(decide, self._clock, self._reached), deliver)
        self._writer.piggybacks.append(piggyback)
        try:
            yield
        finally:
            self._writer.piggybacks.remove(piggyback)
            # A claim that is being committed just now is still delivered, before this returns; while
            # nothing can be committed there is none.
            with suppress(StoreError):
                await self._writer.write(lambda _: None)

    async def settle(self, outcome: Outcome) -> bool:
        """Record an attempt's outcome; whether it changed its job. Durable when this returns."""
        return await self._writer.settle(outcome)

    async def publish_lanes(self, run_id: int, states: Iterable[LaneState]) -> None:
        """Tell other processes what lanes of a run wait for here."""
        now = self._clock.now()
        await self._writer.write(
            lambda connection: lanes.publish(connection, run_id, self._worker.id, states, now=now)
        )

    async def cancel(self, run_id: int) -> int:
        """Cancel what is not yet sent; returns how many jobs.

        What dead workers held is among them. Many are cancelled in parts: cut short, it is to be done again.
        """
        await self._worker.reclaim_from_dead()
        ids = await self._parts.ids(queue.select_claimable(run_id))
        return await self._parts.write(
            ids, lambda connection, part, _: queue.cancel(connection, part)
        )

    async def requeue(self, run_id: int, states: Iterable[State]) -> int:
        """Put jobs back in line; returns how many. Of those that succeeded: with unanswered questions.

        The run is active with the first of them. Many are put back in parts: cut short, the run says so.
        """
        wanted = tuple(states)
        ids = await self._parts.ids(queue.select_requeueable(run_id, wanted))

        def work(connection: Connection, part: Sequence[int], is_last: bool) -> int:
            count = queue.requeue(connection, part, wanted)
            if count or is_last:
                now = self._clock.now()
                runs.reopen(connection, run_id, is_cut_short=not is_last, now=now)
            return count

        return await self._parts.write(ids, work)

    async def follow_clock(self) -> float:
        """Bring waits nearer that a clock which was set back has moved away; by how many seconds."""
        now = self._clock.now()
        return await self._writer.write(
            lambda connection: clocks.follow(connection, now, self._worker.id)
        )
