"""The store: one SQLite file that holds runs, jobs, attempts, results, rates and quotas.

The only package that speaks SQL. `Store` opens it and is all that the rest of the engine uses.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from sqlalchemy import bindparam, func, select, update
from sqlalchemy.engine import Connection

from engine.clock import Clock
from engine.core.errors import StoreError
from engine.core.quota import QuotaState
from engine.core.states import State
from engine.core.status import RunState, StopReason
from engine.store import queue, quotas, rates, results, submission
from engine.store.connection import Databases
from engine.store.dialect import insert
from engine.store.liveness import Liveness, WorkerLock
from engine.store.location import prepare
from engine.store.migrate import migrate
from engine.store.queue import compress
from engine.store.requests import (
    Bucket,
    Claim,
    Claimed,
    LaneClaim,
    LaneGrant,
    NewJob,
    Outcome,
    QuotaKey,
)
from engine.store.results import JobRow, Totals
from engine.store.schema import call, document, event, run, worker
from engine.store.submission import NewRun, RunRow
from engine.store.writer import Rider, Work, Writer

Decide = Callable[[Sequence[Outcome]], Claim]
"""What to claim, told the outcomes that the same transaction settles."""

__all__ = [
    "Bucket",
    "Claim",
    "Claimed",
    "JobRow",
    "LaneClaim",
    "LaneGrant",
    "NewJob",
    "NewRun",
    "Outcome",
    "QuotaKey",
    "RunLook",
    "RunRow",
    "Store",
    "Totals",
    "open_store",
]


@asynccontextmanager
async def open_store(path: Path, clock: Clock) -> AsyncIterator["Store"]:
    """Open the store at `path`, creating and migrating it as needed, and close it afterwards.

    Raises StoreError, with what to do, when it cannot be opened.
    """
    prepare(path)
    folder = path.with_name(f"{path.name}.workers")
    identity = WorkerLock(folder)
    try:
        await anyio.to_thread.run_sync(migrate, path, folder / "migration.lock")
        async with _serving(Store(path, clock, identity, folder)) as store:
            yield store
    finally:
        identity.release()


@asynccontextmanager
async def _serving(store: "Store") -> AsyncIterator["Store"]:
    raised: Exception | None = None
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(store.serve, name="writer")
            try:
                await store.sign_on()
                yield store
            except Exception as error:
                # Raised again below, as itself and not as a group of one.
                raised = error
            finally:
                with anyio.CancelScope(shield=True):
                    await store.sign_off()
    finally:
        with anyio.CancelScope(shield=True):
            await store.close()
    if raised is not None:
        raise raised


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLook:
    """What changes when another process touches a run: its state, its sweep, or who was here."""

    state: RunState
    generation: int
    workers: int


class Store:
    """An open store: questions are asked of the readers, changes go through the writer."""

    def __init__(self, path: Path, clock: Clock, identity: WorkerLock, folder: Path) -> None:
        self.path = path
        self.worker_id = identity.id
        self._clock = clock
        self._identity = identity
        self._liveness = Liveness(folder, identity.id)
        self._databases = Databases(path)
        self._writer = Writer(self._databases, clock)
        self.serve = self._writer.run

    @property
    def trouble(self) -> StoreError | None:
        """Why nothing can be committed at present, such as a full disk."""
        return self._writer.trouble

    async def sign_on(self) -> None:
        """Tell other processes that this worker is there."""
        now = self._clock.now()
        await self._writer.write(
            lambda connection: connection.execute(
                worker.insert().values(
                    id=self._identity.id,
                    host=self._identity.host,
                    pid=self._identity.pid,
                    started_at=now,
                    heartbeat_at=now,
                )
            )
        )

    async def sign_off(self) -> None:
        """Commit what is left and tell other processes that this worker is gone."""
        await self._writer.write(self._bury(self.worker_id, attempts=None))
        self._writer.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._databases.close()

    # Runs

    async def begin(self, new: NewRun) -> RunRow:
        """Create the run of a sweep, or take up the one of its name; see `submission.begin`."""
        now = self._clock.now()
        return await self._writer.write(
            lambda connection: submission.begin(connection, new, now=now)
        )

    async def find_run(self, name: str | None) -> RunRow | None:
        """The run of a name, or without one the run that was used last."""
        return await self._databases.ask(lambda connection: submission.find(connection, name))

    async def runs(self) -> list[tuple[RunRow, Mapping[State, int]]]:
        """All runs, the latest first, with their jobs by state."""
        return await self._databases.ask(results.runs)

    async def set_state(
        self,
        run_id: int,
        state: RunState,
        *,
        reason: StopReason | None = None,
        message: str = "",
        resume_at: float | None = None,
        unless: Iterable[RunState] = (),
    ) -> None:
        """Say where a run stands, unless somebody has meanwhile put it into one of `unless`."""
        await self._writer.write(
            lambda connection: connection.execute(
                update(run)
                .where(run.c.id == run_id, run.c.state.not_in(list(unless)))
                .values(
                    state=state,
                    reason=reason,
                    message=message,
                    resume_at=resume_at,
                    updated_at=self._clock.now(),
                )
            )
        )

    async def look(self, run_id: int) -> RunLook:
        """A glance at a run, cheap enough to be taken every second."""
        workers = select(func.count()).select_from(worker).scalar_subquery()
        query = select(run.c.state, run.c.generation, workers).where(run.c.id == run_id)
        async with self._databases.read() as connection:
            state, generation, count = (await connection.execute(query)).one()
        return RunLook(state=RunState(state), generation=generation, workers=count)

    # The matrix

    async def add_documents(self, contents: Mapping[str, Any]) -> None:
        """Keep prompts and other large contents once, under their digests."""
        await self._writer.write(lambda connection: submission.add_documents(connection, contents))

    async def documents(self, digests: Iterable[str]) -> dict[str, Any]:
        """The contents kept under `digests`."""
        query = select(document).where(document.c.digest.in_(bindparam("wanted", expanding=True)))
        async with self._databases.read() as connection:
            rows = await connection.execute(query, {"wanted": sorted(set(digests))})
            return {digest: json.loads(content) for digest, content in rows}

    async def has_other_runs(self, of: RunRow) -> bool:
        """Whether there are other runs that answers could be reused from."""
        return await self._databases.ask(
            lambda connection: submission.has_other_runs(connection, of)
        )

    async def add_jobs(self, of: RunRow, jobs: Sequence[NewJob], *, reuse: bool) -> None:
        """Put a batch of the matrix into the queue; see `submission.add_jobs`."""
        now = self._clock.now()
        await self._writer.write(
            lambda connection: submission.add_jobs(connection, of, jobs, reuse=reuse, now=now)
        )

    async def finish_expansion(self, of: RunRow) -> int:
        """Say that the matrix is wholly there; returns how many jobs the sweep no longer asks for."""
        now = self._clock.now()
        return await self._writer.write(
            lambda connection: submission.finish(connection, of, now=now)
        )

    # The queue

    async def claim(self, decide: Decide) -> list[LaneGrant]:
        """Make jobs ours, within rates and quota; what to claim is decided when the transaction runs."""
        return await self._writer.write_prepared(_claiming(decide))

    @contextmanager
    def claiming_along(
        self, decide: Decide, deliver: Callable[[list[LaneGrant]], None]
    ) -> Iterator[None]:
        """Claim within every transaction that settles outcomes, too: a slot is filled as it is freed.

        `deliver` is called in the event loop with what was granted, right after COMMIT.
        """
        rider = Rider(_claiming(decide), deliver)
        self._writer.riders.append(rider)
        try:
            yield
        finally:
            self._writer.riders.remove(rider)

    async def settle(self, outcome: Outcome) -> bool:
        """Record an attempt's outcome; whether it changed its job. Durable when this returns."""
        return await self._writer.settle(outcome)

    async def cancel(self, run_id: int) -> int:
        """Cancel what is not yet sent; returns how many jobs."""
        return await self._writer.write(lambda connection: queue.cancel(connection, run_id))

    async def requeue(self, run_id: int, states: Iterable[State]) -> int:
        """Put failed or cancelled jobs back in line; returns how many."""
        wanted = tuple(states)
        return await self._writer.write(
            lambda connection: queue.requeue(connection, run_id, wanted)
        )

    async def queues(self, run_id: int) -> dict[str, tuple[str, ...]]:
        """The cost classes in which each lane has jobs to be claimed."""
        return await self._databases.ask(lambda connection: results.queues(connection, run_id))

    async def has_open_jobs(self, run_id: int) -> bool:
        """Whether anything of a run is still to be answered."""
        return await self._databases.ask(lambda connection: results.open_jobs(connection, run_id))

    async def running_elsewhere(self, run_id: int) -> dict[str, int]:
        """Jobs in flight per lane in other processes."""
        return await self._databases.ask(
            lambda connection: queue.running(connection, run_id, but=self.worker_id)
        )

    # Limits

    async def take_permit(self, bucket: Bucket) -> float:
        """Take one start within a rate; the time it may happen at, or asks again at if later than now."""

        def work(connection: Connection) -> float:
            now = self._clock.now()
            buckets = rates.load(connection, [bucket.name])
            taken = buckets.take([bucket], want=1, now=now, horizon_s=0.0)
            rates.save(connection, buckets)
            return taken[0] if taken else buckets.next_at([bucket], now)[0]

        return await self._writer.write(work)

    async def refresh_quota(self, key: QuotaKey, *, allotted: int, used: int) -> None:
        """Take over what the service says of its quota."""
        await self._writer.write(
            lambda connection: quotas.refresh(connection, key, allotted=allotted, used=used)
        )

    async def cap_quota(self, key: QuotaKey, *, allotted: int | None) -> None:
        """Set or lift what the user allows."""
        if allotted is None:
            await self._writer.write(lambda connection: quotas.lift(connection, key))
            return
        amount = allotted
        await self._writer.write(lambda connection: quotas.cap(connection, key, allotted=amount))

    async def quotas(self, keys: Iterable[QuotaKey]) -> dict[tuple[str, str], QuotaState]:
        """The quota rows of `keys` that there are."""
        return await self._databases.ask(lambda connection: quotas.status(connection, keys))

    async def blocked_until(self, names: Iterable[str]) -> dict[str, float]:
        """Until when the service holds these rate rows."""
        return await self._databases.ask(
            lambda connection: results.blocked_until(connection, names)
        )

    # Workers

    async def beat(self) -> None:
        """Say that this worker is alive."""
        await self._writer.write(
            lambda connection: connection.execute(
                update(worker)
                .where(worker.c.id == self.worker_id)
                .values(heartbeat_at=self._clock.now())
            )
        )

    async def other_workers(self) -> list[tuple[str, float]]:
        """The other workers that have not said goodbye: (id, time of the last heartbeat)."""
        async with self._databases.read() as connection:
            rows = await connection.execute(
                select(worker.c.id, worker.c.heartbeat_at).where(
                    worker.c.ended_at.is_(None), worker.c.id != self.worker_id
                )
            )
            return [(worker_id, heartbeat_at) for worker_id, heartbeat_at in rows]

    async def reclaim_from_dead(self, *, attempts: int) -> tuple[int, int]:
        """Take back what dead workers were doing: (jobs to be sent again, jobs out of attempts)."""
        again = spent = 0
        for worker_id, heartbeat_at in await self.other_workers():
            if not self._liveness.is_dead(worker_id, heartbeat_at, self._clock.now()):
                continue

            counts = await self._writer.write(self._bury(worker_id, attempts=attempts))
            self._liveness.forget(worker_id)
            again += counts[0]
            spent += counts[1]
        return again, spent

    def _bury(
        self, worker_id: str, *, attempts: int | None
    ) -> Callable[[Connection], tuple[int, int]]:
        def work(connection: Connection) -> tuple[int, int]:
            now = self._clock.now()
            taken = queue.reclaim(connection, worker_id, now=now, attempts=attempts)
            connection.execute(update(worker).where(worker.c.id == worker_id).values(ended_at=now))
            return taken

        return work

    # Results

    async def totals(self, run_id: int) -> Totals:
        """What the rows of a run add up to."""
        return await self._databases.ask(
            lambda connection: results.totals(connection, run_id, now=self._clock.now())
        )

    def job_rows(self, run_id: int) -> AsyncIterator[JobRow]:
        """The jobs of a run with their numbers, in the order they were asked for."""
        return results.job_rows(self._databases, run_id)

    async def raw_answer(self, job_id: int) -> bytes | None:
        """The bytes of a job's answer as they were received."""
        return await self._databases.ask(lambda connection: results.raw_answer(connection, job_id))

    # Events and calls

    async def note(
        self, run_id: int | None, kind: str, message: str, *, lane: str | None = None
    ) -> None:
        """Add to the event log: what the morning report tells."""
        await self._writer.write(
            lambda connection: connection.execute(
                event.insert().values(
                    run_id=run_id, at=self._clock.now(), kind=kind, lane=lane, message=message
                )
            )
        )

    async def events(
        self, run_id: int, *, limit: int = 100
    ) -> list[tuple[float, str, str | None, str]]:
        """The latest events of a run, oldest first: (time, kind, lane, message)."""
        return await self._databases.ask(
            lambda connection: results.events(connection, run_id, limit=limit)
        )

    async def kept_call(self, run_id: int, key: Mapping[str, Any]) -> bytes | None:
        """The response kept under `key` in a run."""
        query = select(call.c.response).where(
            call.c.run_id == run_id, call.c.digest == _digest(key)
        )
        async with self._databases.read() as connection:
            kept = (await connection.execute(query)).scalar()
        return None if kept is None else queue.decompress(kept)

    async def keep_call(self, run_id: int, key: Mapping[str, Any], response: bytes) -> None:
        """Keep a response under `key` in a run; the first one stays."""
        values = {
            "run_id": run_id,
            "digest": _digest(key),
            "response": compress(response),
            "recorded_at": self._clock.now(),
        }
        await self._writer.write(
            lambda connection: connection.execute(
                insert(connection, call).on_conflict_do_nothing(), values
            )
        )


def _claiming(decide: Decide) -> Callable[[Sequence[Outcome]], Work[list[LaneGrant]]]:
    def prepare(settled: Sequence[Outcome]) -> Work[list[LaneGrant]]:
        request = decide(settled)
        return lambda connection: queue.claim(connection, request)

    return prepare


def _digest(key: Mapping[str, Any]) -> bytes:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).digest()
