"""A worker among the others of its store: how it comes and goes, and what becomes of who dies."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path

import anyio
from sqlalchemy.engine import Connection

from engine.clock import AnchoredClock, Clock
from engine.core.errors import StoreError
from engine.core.lanes import LaneState
from engine.core.listing import quantity
from engine.store import leftovers
from engine.store.batch import Work
from engine.store.database import Database
from engine.store.leftovers import Recovery
from engine.store.paid import describe_counts
from engine.store.queries import clocks, lanes, outcomes, workers
from engine.store.queries.clocks import StoreClock
from engine.store.reader import StoreReader
from engine.store.spill import Spill
from engine.store.writer import PATIENCE_S, Writer

logger = logging.getLogger(__name__)

_CLOCKS_DIFFER_S = 5.0
"""A heartbeat further ahead than this was not given by this clock."""
STUCK_S = 30.0
"""A heartbeat this old, of a process that is there, says that it cannot commit."""
_MOST_FORGOTTEN = 2_000
"""Rows of workers that are removed in one transaction, in some hundredths of a second."""
FULL_BYTES = 1_048_576
"""A disk with less room is as good as full: the store's log grows by pages."""


class Worker:
    """This opening of a store among its workers: it comes, is alive, goes, and outlives others.

    Who only reads the store is no worker, and has no identity.
    """

    def __init__(
        self, database: Database, clock: Clock, reader: StoreReader, *, commit_interval_s: float
    ) -> None:
        self.id = reader.worker_id
        self._database = database
        self._clock = clock
        self._reader = reader
        self._identity = database.identity
        self._liveness = database.liveness
        spill = Spill(database.side_files, self.id)
        self.writer = Writer(
            database, clock, spill, self._arrive, commit_interval_s=commit_interval_s
        )
        self._unrecoverable: set[str] = set()
        """The workers whose side files cannot be taken in wholly, as was said."""
        self._signed_off = anyio.Event()

    async def run_until_lost(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do what is done beside the jobs of a run, until the store vanishes: who works on the run says so."""
        try:
            await work()
        except StoreError:
            if not self._database.is_lost:
                raise

    async def find_lanes_elsewhere(self, run_id: int) -> list[LaneState]:
        """What the lanes of a run wait for in the other processes that are alive, the latest to speak last."""
        found = await self._database.ask(
            lambda connection: lanes.find_of_others(connection, run_id, but=self.id)
        )
        return [state for worker_id, state in found if not self._liveness.has_gone(worker_id)]

    async def find_stall(self, run_id: int) -> tuple[float, str] | None:
        """Since when nothing is committed of a run that is worked on, and why; None where all is well.

        What another process is in trouble with cannot be written down on a full disk: it shows in a
        heartbeat that stands still while its lock is held.
        """
        if self.writer.trouble is not None:
            return self.writer.troubled_since, str(self.writer.trouble)
        beats = [
            heartbeat_at
            for worker_id, heartbeat_at in await self._reader.find_executors(run_id)
            if not self._liveness.has_gone(worker_id)
        ]
        if not beats or self._clock.now() - max(beats) < STUCK_S:
            return None
        free = await self._database.disk_free_bytes()
        if free is not None and free < FULL_BYTES:
            return max(beats), f"{self._database.path}: the disk is full; free some space"
        return max(beats), "the process that works on it is stopped, or cannot write to its disk"

    def retrying_commits(self) -> AbstractContextManager[Callable[[], None]]:
        """Within the block changes wait out a full disk; elsewhere they are given up after a moment.

        What the block is given ends that before the block does.
        """
        return self.writer.retrying_commits()

    async def adopt_clock(self) -> None:
        """Count on the clock of those who work on the store, if anybody does."""
        clock = self._clock
        if isinstance(clock, AnchoredClock):
            kept = await self._database.ask(self._clock_of_others)
            if kept is not None and kept.boot == clock.boot:
                clock.follow(kept.offset_s)

    def _clock_of_others(self, connection: Connection) -> StoreClock | None:
        return clocks.store_clock(connection) if self._find_others_alive(connection) else None

    def _find_others_alive(self, connection: Connection) -> list[workers.OtherWorker]:
        found = workers.find_others(connection, self.id)
        return [one for one in found if not self._liveness.has_gone(one.id)]

    @asynccontextmanager
    async def between_commits(self) -> AsyncIterator[None]:
        """Within the block no transaction of this worker's is under way."""
        async with self.writer.turn:
            yield

    def _arrive(self, connection: Connection) -> None:
        assert self._identity is not None, "only workers write"
        if isinstance(self._clock, AnchoredClock):
            self._agree_on_time(connection, self._clock)
        self._identity.is_missed = True
        workers.arrive(connection, self._identity, self._clock.now())

    def _agree_on_time(self, connection: Connection, clock: AnchoredClock) -> None:
        """Have the clock of those who are here; raises StoreError where it cannot be had."""
        others = self._find_others_alive(connection)
        kept = clocks.store_clock(connection)
        if others and kept is not None and kept.boot != clock.boot:
            raise StoreError(
                f"{self._database.path}: process {others[0].pid} on {others[0].host} works on it under another"
                " kernel, such as that of a virtual machine, whose clock cannot be compared with this"
                " one's; stop it first, or use a store of its own here"
            )
        by_s = clocks.anchor(connection, clock, is_alone=not others)
        if by_s:
            way = "ahead" if by_s > 0 else "back"
            logger.warning("the clock was set %s by %s s", way, f"{abs(by_s):,.0f}")
        latest_s = self._clock.now() + _CLOCKS_DIFFER_S
        ahead = [one for one in others if kept is not None and one.heartbeat_at > latest_s]
        if ahead:
            raise StoreError(
                f"{self._database.path}: the clock of process {ahead[0].pid}, which works on it, is"
                f" {ahead[0].heartbeat_at - self._clock.now():,.0f} s ahead of this process's; rates hold only"
                " where both have the machine's own clock"
            )

    async def recover_side_files(self, *, patience_s: float | None = 0.0) -> None:
        """Take in what workers that are gone could not commit, as far as anything can be committed now.

        Or else within `patience_s`; None waits as any change does.
        """
        if self._database.side_files is None:
            return
        found = await anyio.to_thread.run_sync(leftovers.find_side_files, self._database.side_files)
        for worker_id, path in found.items():
            if worker_id in (self.id, *self._unrecoverable):
                continue
            if self._liveness.has_gone(worker_id):
                try:
                    await self._recover(worker_id, path, patience_s)
                except FileNotFoundError:
                    pass  # Another process was faster.
                except (OSError, StoreError) as error:
                    logger.warning(
                        "%s holds answers or replies that are not in the store: %s", path, error
                    )

    async def _recover(self, worker_id: str, path: Path, patience_s: float | None) -> None:
        left = await anyio.to_thread.run_sync(leftovers.read, path)

        def work(connection: Connection) -> Recovery:
            return leftovers.recover(connection, worker_id, left)

        if left.answers or left.replies:
            taken = await self.writer.write(work, patience_s=patience_s)
            if new := describe_counts(taken.answers, taken.replies):
                logger.info("took in %s that could not be committed before", new)
            if foreign := describe_counts(taken.foreign_answers, taken.foreign_replies):
                self._unrecoverable.add(worker_id)
                logger.warning(
                    "%s holds %s of another store: put that store back in its place, or move the file into"
                    " the folder beside it; left as it is",
                    path,
                    foreign,
                )
        if left.unreadable:
            self._unrecoverable.add(worker_id)
            logger.warning(
                "%s has %s that cannot be read; left as it is",
                path,
                quantity(left.unreadable, "line"),
            )
        if worker_id not in self._unrecoverable:
            await anyio.to_thread.run_sync(leftovers.remove, path)

    async def interrupt_when_cancelled(self) -> None:
        """Wait for the end, and if cancelled before it keep nobody waiting for the database.

        What is being read or changed is broken off; what has to be said in the end is said at once or
        not. While a run is executed its answers are kept, however long that takes.
        """
        try:
            await self._signed_off.wait()
        except anyio.get_cancelled_exc_class():
            if not self.writer.is_retrying_commits:
                self._database.interrupt()
                self.writer.hurry()
            raise

    async def sign_off(self) -> None:
        """Commit what is left, give back what is still held, tell others that this worker is gone.

        Waits for a full disk or a store that is held for a moment only; whatever could not be said
        is found out by the next one to open the store.
        """

        def work(connection: Connection) -> None:
            now = self._clock.now()
            outcomes.give_back(connection, self.id, now=now)
            workers.leave(connection, self.id, now)

        self._database.allow_statements()
        try:
            if self.writer.has_arrived:
                await self.writer.write(work, patience_s=PATIENCE_S)
            if self._identity is not None:
                self._identity.is_missed = False
        except StoreError as error:
            # Who works on the store has heard of its loss already.
            if not self._database.is_lost:
                logger.warning("could not sign off: %s", error)
        finally:
            self._signed_off.set()
            self.writer.close()

    async def is_alone(self) -> bool:
        """Whether no other worker of the store is alive."""
        others = await self._reader.find_other_workers()
        return all(self._liveness.has_gone(worker_id) for worker_id, _ in others)

    async def is_executed_elsewhere(self, run_id: int) -> bool:
        """Whether another worker that is alive executes a run, or holds jobs of it."""
        found = await self._reader.find_executors(run_id)
        return not all(self._liveness.has_gone(worker_id) for worker_id, _ in found)

    async def record_heartbeat(self) -> None:
        """Say that this worker is alive, even if somebody has given it up.

        Some of those that have gone and sent nothing are forgotten along with it: there may be very many.
        """
        idle = await self._database.ask(
            lambda connection: workers.find_idle(connection, _MOST_FORGOTTEN)
        )
        # One that was stopped for long was given up, and still comes back.
        gone = await self._liveness.find_ended(idle)

        def work(connection: Connection) -> None:
            workers.record_heartbeat(connection, self.id, self._clock.now())
            if gone:
                workers.remove_idle(connection, gone)

        await self.writer.write(work)

    async def reclaim_from_dead(
        self, *, attempts: int | None = None, run_id: int | None = None
    ) -> tuple[int, int]:
        """Take back what dead workers were doing: (jobs to be sent again, jobs out of attempts).

        What they could not commit is taken in before. `attempts` is the most that jobs of the run `run_id`
        have, or without one those of all runs.
        """
        await self.recover_side_files(patience_s=None)
        again = spent = 0
        for worker_id, heartbeat_at in await self._reader.find_other_workers():
            if not self._liveness.is_dead(worker_id, heartbeat_at, self._clock.now()):
                continue
            counts = await self.writer.write(
                self._bury(worker_id, heartbeat_at, attempts=attempts, run_id=run_id)
            )
            if counts is not None:
                logger.info(
                    "worker %s is dead, its last heartbeat %.0f s ago: %d of its jobs are due again,"
                    " %d are out of attempts",
                    worker_id,
                    self._clock.now() - heartbeat_at,
                    *counts,
                )
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
