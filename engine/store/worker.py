"""A worker and the other workers of its store: arrival, heartbeats, end, and the jobs of dead workers."""

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
"""A heartbeat further ahead than this comes from another clock."""
STALLED_S = 30.0
"""If the heartbeat of a live process is older than this, the process cannot commit."""
_MAX_REMOVED = 2_000
"""Rows of workers that are removed in one transaction, in some hundredths of a second."""
FULL_BYTES = 1_048_576
"""A disk with less space counts as full, because the store's log grows by pages."""


class Worker:
    """The worker that this opening of a store is.

    A process that only reads the store is not a worker: its `id` is empty, and it must not write.
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
        """The ids of workers whose side files cannot be recovered completely; that was logged."""
        self._signed_off = anyio.Event()

    async def run_until_lost(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run a background task of a run, and end it without an error if the store vanishes.

        The process that executes the run reports the loss.
        """
        try:
            await work()
        except StoreError:
            if not self._database.is_lost:
                raise

    async def find_lanes_elsewhere(self, run_id: int) -> list[LaneState]:
        """What the lanes of a run wait for in the other live processes, the latest change last.

        A lane occurs once for each process that works on it. Raises StoreError if the store cannot be read.
        """
        found = await self._database.ask(
            lambda connection: lanes.find_of_others(connection, run_id, but=self.id)
        )
        await self._liveness.look()
        return [state for worker_id, state in found if not self._liveness.has_gone(worker_id)]

    async def find_stall(self, run_id: int) -> tuple[float, str] | None:
        """Whether commits of a run that is being executed fail: (since when, why), or None.

        On a full disk, another process cannot record its trouble; it shows in an old heartbeat of a live process.
        """
        if self.writer.trouble is not None:
            return self.writer.troubled_since, str(self.writer.trouble)
        found = await self._reader.find_executors(run_id)
        await self._liveness.look()
        beats = [
            heartbeat_at
            for worker_id, heartbeat_at in found
            if not self._liveness.has_gone(worker_id)
        ]
        if not beats or self._clock.now() - max(beats) < STALLED_S:
            return None
        free = await self._database.disk_free_bytes()
        if free is not None and free < FULL_BYTES:
            return max(beats), f"{self._database.path}: the disk is full; free some space"
        return max(beats), "the process that executes it is stopped, or cannot write to its disk"

    def retrying_commits(self) -> AbstractContextManager[Callable[[], None]]:
        """Within the block, retry failing commits without limit; see `Writer.retrying_commits`."""
        return self.writer.retrying_commits()

    async def adopt_clock(self) -> None:
        """Use the clock of the store's server, or else that of the workers on this store, if there are any."""
        clock = self._clock
        if self._database.has_clock:
            await self._database.follow_clock(clock)
        elif isinstance(clock, AnchoredClock):
            kept = await self._database.ask(self._clock_of_others)
            if kept is not None and kept.boot == clock.boot:
                clock.follow(kept.offset_s)

    def _clock_of_others(self, connection: Connection) -> StoreClock | None:
        return clocks.store_clock(connection) if self._find_others_alive(connection) else None

    def _find_others_alive(self, connection: Connection) -> list[workers.OtherWorker]:
        found = workers.find_others(connection, self.id)
        self._liveness.look_within(connection)
        return [one for one in found if not self._liveness.has_gone(one.id)]

    @asynccontextmanager
    async def between_commits(self) -> AsyncIterator[None]:
        """Within the block, no transaction of this worker is running."""
        async with self.writer.turn:
            yield

    def _arrive(self, connection: Connection) -> None:
        assert self._identity is not None, "only workers write"
        if isinstance(self._clock, AnchoredClock) and not self._database.has_clock:
            self._agree_on_time(connection, self._clock)
        self._identity.is_registered = True
        workers.arrive(connection, self._identity, self._clock.now())

    def _agree_on_time(self, connection: Connection, clock: AnchoredClock) -> None:
        """Use the clock of the other workers; raises StoreError if that is impossible."""
        others = self._find_others_alive(connection)
        kept = clocks.store_clock(connection)
        if others and kept is not None and kept.boot != clock.boot:
            raise StoreError(
                f"{self._database.path}: process {others[0].pid} on {others[0].host} works on it under another"
                " kernel, such as that of a virtual machine, whose clock cannot be compared with this"
                " one's; stop it first, or use another store here"
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
                " if both use the machine's own clock"
            )

    async def recover_side_files(self, *, patience_s: float | None = 0.0) -> None:
        """Recover the side files of workers that have ended, as far as commits succeed.

        A failing commit is retried for `patience_s` seconds; None for as long as that of any change. What cannot be
        recovered is logged and stays in its file.
        """
        if self._database.side_files is None:
            return
        found = await anyio.to_thread.run_sync(leftovers.find_side_files, self._database.side_files)
        await self._liveness.look()
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
                logger.info("recovered %s that could not be committed before", new)
            if foreign := describe_counts(taken.foreign_answers, taken.foreign_replies):
                self._unrecoverable.add(worker_id)
                logger.warning(
                    "%s holds %s of another store: put that store back in its place, or move the file into"
                    " the folder next to it; left as it is",
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
        """Wait until this worker has signed off; if cancelled before that, do not let the database delay the end.

        Running statements are interrupted, and the last changes are tried once. But while a run is being executed,
        its answers are committed, however long that takes.
        """
        try:
            await self._signed_off.wait()
        except anyio.get_cancelled_exc_class():
            if not self.writer.is_retrying_commits:
                self._database.interrupt()
                self.writer.fail_fast()
            raise

    async def sign_off(self) -> None:
        """Commit the remaining changes, give back jobs that are still held, and record this worker's end.

        Waits only PATIENCE_S for a full disk or a locked store. If that fails, the next process that opens the store
        finds this worker dead.
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
                self._identity.is_registered = False
        except StoreError as error:
            # The loss of the store was reported already.
            if not self._database.is_lost:
                logger.warning("could not sign off: %s", error)
        finally:
            self._signed_off.set()
            self.writer.close()

    async def is_alone(self) -> bool:
        """Whether no other worker of the store is alive."""
        others = await self._reader.find_other_workers()
        await self._liveness.look()
        return all(self._liveness.has_gone(worker_id) for worker_id, _ in others)

    async def is_executed_elsewhere(self, run_id: int) -> bool:
        """Whether another worker that is alive executes a run, or holds jobs of it.

        A worker counts as alive unless it has surely ended. Raises StoreError if the store cannot be read.
        """
        found = await self._reader.find_executors(run_id)
        await self._liveness.look()
        return not all(self._liveness.has_gone(worker_id) for worker_id, _ in found)

    def has_ended(self, worker_id: str) -> bool:
        """Whether a worker has no process any more; also True of this one, for what it was stopped in."""
        return worker_id == self.id or self._liveness.has_gone(worker_id)

    async def record_heartbeat(self) -> None:
        """Record that this worker is alive, even if another has declared it dead.

        The same transaction removes some workers that have ended without sending anything; there may be very many.
        """
        idle = await self._database.ask(
            lambda connection: workers.find_idle(connection, _MAX_REMOVED)
        )
        # A stopped process is declared dead after a while, and may still come back.
        gone = await self._liveness.find_ended(idle)

        def work(connection: Connection) -> None:
            workers.record_heartbeat(connection, self.id, self._clock.now())
            if gone:
                workers.remove_idle(connection, gone)

        await self.writer.write(work)

    async def reclaim_from_dead(
        self, *, attempts: int | None = None, run_id: int | None = None
    ) -> tuple[int, int]:
        """Reclaim the jobs of dead workers: (jobs to be sent again, jobs that have failed).

        Their side files are recovered first. A job fails if it has used `attempts`, the limit of the run `run_id`, or
        of all runs if that is None.
        """
        await self.recover_side_files(patience_s=None)
        again = spent = 0
        found = await self._reader.find_other_workers()
        await self._liveness.look()
        for worker_id, heartbeat_at in found:
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
