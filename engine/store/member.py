"""A worker among the others of its store: how it comes and goes, and what becomes of who dies."""

import logging
from pathlib import Path

import anyio
from sqlalchemy import select
from sqlalchemy.engine import Connection

from engine.clock import Clock
from engine.core.errors import StoreError
from engine.store import outcomes, spill, workers
from engine.store.liveness import Liveness, WorkerLock
from engine.store.questions import Questions
from engine.store.schema import attempt
from engine.store.spill import Spill
from engine.store.writer import Work, Writer

logger = logging.getLogger(__name__)


class Member(Questions):
    """An open store as one of its workers sees it: it comes, is alive, goes, and outlives others."""

    def __init__(self, path: Path, clock: Clock, identity: WorkerLock, folder: Path) -> None:
        super().__init__(path, clock, identity.id)
        self._identity = identity
        self._folder = folder
        self._liveness = Liveness(folder, identity.id)
        self._writer = Writer(self._databases, clock, Spill(folder, identity.id))
        self.serve = self._writer.run

    @property
    def trouble(self) -> StoreError | None:
        """Why nothing can be committed at present, such as a full disk."""
        return self._writer.trouble

    async def sign_on(self) -> None:
        """Tell other processes that this worker is there, and take in what dead ones could not commit."""
        now = self._clock.now()
        self._identity.is_missed = True
        await self._writer.write(lambda connection: workers.arrive(connection, self._identity, now))
        for worker_id, path in spill.left_behind(self._folder).items():
            if worker_id != self.worker_id and self._liveness.has_gone(worker_id):
                await self._take_in(worker_id, path)

    async def _take_in(self, worker_id: str, path: Path) -> None:
        left = await anyio.to_thread.run_sync(spill.read, path)

        def work(connection: Connection) -> int:
            # Only what this very store knows to have been sent: a store made anew has other jobs.
            rows = connection.execute(
                select(attempt.c.job_id, attempt.c.fence).where(
                    attempt.c.job_id.in_([one.job_id for one in left]),
                    attempt.c.worker == worker_id,
                )
            )
            sent = {(row.job_id, row.fence) for row in rows}
            known = [one for one in left if (one.job_id, one.fence) in sent]
            return sum(outcomes.settle(connection, known)) if known else 0

        if left and (count := await self._writer.write(work)):
            logger.info("took in %d answers that could not be committed before", count)
        await anyio.to_thread.run_sync(spill.remove, path)

    async def sign_off(self) -> None:
        """Commit what is left, give back what is still held, tell others that this worker is gone.

        Waits for a full disk or a store that is held for a moment only; whatever could not be said
        is found out by the next one to open the store.
        """

        def work(connection: Connection) -> None:
            now = self._clock.now()
            outcomes.give_back(connection, self.worker_id, now=now)
            workers.leave(connection, self.worker_id, now)

        try:
            await self._writer.write_last(work)
            self._identity.is_missed = False
        except StoreError as error:
            logger.warning("could not sign off: %s", error)
        finally:
            self._writer.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._databases.close()

    async def is_alone(self) -> bool:
        """Whether no other worker of the store is alive."""
        others = await self.other_workers()
        return all(self._liveness.has_gone(worker_id) for worker_id, _ in others)

    async def beat(self) -> None:
        """Say that this worker is alive, even if somebody has given it up."""
        await self._writer.write(
            lambda connection: workers.beat(connection, self.worker_id, self._clock.now())
        )

    async def reclaim_from_dead(
        self, *, attempts: int | None = None, run_id: int | None = None
    ) -> tuple[int, int]:
        """Take back what dead workers were doing: (jobs to be sent again, jobs out of attempts).

        `attempts` is the most that jobs of the run `run_id` have, or without one those of all runs.
        """
        again = spent = 0
        for worker_id, heartbeat_at in await self.other_workers():
            if not self._liveness.is_dead(worker_id, heartbeat_at, self._clock.now()):
                continue
            counts = await self._writer.write(
                self._bury(worker_id, heartbeat_at, attempts=attempts, run_id=run_id)
            )
            if counts is not None:
                self._liveness.forget(worker_id)
                again += counts[0]
                spent += counts[1]
        return again, spent

    def _bury(
        self, worker_id: str, heartbeat_at: float, *, attempts: int | None, run_id: int | None
    ) -> Work[tuple[int, int] | None]:
        def work(connection: Connection) -> tuple[int, int] | None:
            now = self._clock.now()
            if workers.has_beaten_since(connection, worker_id, heartbeat_at):
                return None  # It came back to life while this waited for its turn.
            taken = outcomes.reclaim(
                connection, worker_id, now=now, attempts=attempts, run_id=run_id
            )
            workers.leave(connection, worker_id, now)
            return taken

        return work
