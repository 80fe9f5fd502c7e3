"""Group commit: one task owns the write connection and commits many changes at once.

Whoever writes is answered only after COMMIT. Commits are paced, so that under load each carries what
has come in meanwhile, while a lone write is committed at once. A commit that fails because the disk
is full or another process holds the store is tried again until it goes through; meanwhile the bounded
stream holds back everyone who wants to write, and answers and replies in hand are written to a side
file. That goes for runs that are executed. Other changes, and those of a process that is ending, wait
for a moment only: with what was paid for safe in that file, the rest is given up.

The first transaction also registers this worker, so a process that only reads writes nothing.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from math import inf
from time import perf_counter
from typing import Any, Generic, TypeVar

import anyio
from aiolimiter import AsyncLimiter
from anyio import to_thread
from anyio.abc import TaskStatus
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError, OperationalError

from engine.clock import Clock
from engine.core.errors import StoreError, StoreLost
from engine.store.batch import Change, Preparation, Transaction, Work, paid_of, prepare
from engine.store.database import Database
from engine.store.requests import CallReply, Outcome
from engine.store.spill import Spill

logger = logging.getLogger(__name__)

T = TypeVar("T")

COMMIT_INTERVAL_S = 0.008
"""The least time between two commits under load: a fair share for other processes, too."""
PATIENCE_S = 10.0
"""How long a change waits for a commit that fails, when no run is executed or the process is ending."""
_MAX_CHANGES_PER_COMMIT = 400
_RETRY_INTERVAL_S = 1.0
_CHECKS_PER_RETRY = 5
"""How often it is looked meanwhile whether a commit is still waited for."""


@dataclass(frozen=True, slots=True)
class Piggyback(Generic[T]):
    """A change that goes along with every transaction that settles outcomes: no commit of its own.

    `deliver` is called in the event loop with its value after COMMIT. It stays behind where an equal
    change is in the transaction already: what both would decide on must not be had twice.
    """

    prepare: Preparation[T]
    deliver: Callable[[T], None]


class Writer:
    """The only way into the database for changes."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        spill: Spill,
        arrive: Work[None],
        *,
        commit_interval_s: float,
    ) -> None:
        self._database = database
        self._arrive = arrive
        self.has_arrived = False
        """Whether the store tells of this worker."""
        self._clock = clock
        self._spill = spill
        self._send, self._receive = anyio.create_memory_object_stream[Change[Any]](
            _MAX_CHANGES_PER_COMMIT
        )
        self._pace = AsyncLimiter(1, commit_interval_s) if commit_interval_s else nullcontext()
        self._thread = anyio.CapacityLimiter(1)
        self.turn = anyio.Lock()
        """Held during each transaction."""
        self._owed: list[Change[Any]] = []
        self.troubled_since = inf
        self._retrying: set[object] = set()
        self.piggybacks: list[Piggyback[Any]] = []
        self.trouble: StoreError | None = None
        """Why commits do not go through at present."""
        self._lost = ""
        """What became of a store that has vanished, and what to do, once that is known."""

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Commit what comes in, until closed.

        Nobody else's cancellation reaches it: those who are cancelled wait for their last commits.
        """
        with anyio.CancelScope(shield=True):
            task_status.started()
            async with self._receive:
                async for first in self._receive:
                    await self._handle([first])
            if self._spill.is_open:
                await to_thread.run_sync(self._spill.close, limiter=self._thread)

    async def _handle(self, batch: list[Change[Any]]) -> None:
        try:
            async with self._pace:
                self._collect(batch)
            # What the side file holds alone is committed as soon as anything is.
            batch += self._owed
            self._owed = []
            along = self._take_along(batch)
            await self._commit_all(batch)
            for piggyback, change in along:
                if change.error is None:
                    piggyback.deliver(change.value)
        except BaseException as error:
            # A bug: whoever waits has to hear of it.
            while self._collect(batch):
                pass
            for change in batch:
                if not change.done.is_set():
                    change.finish(error)
            raise

    @property
    def is_lost(self) -> bool:
        """Whether the store is no longer the one that was opened."""
        return self._database.is_lost

    def close(self) -> None:
        """Take nothing more; what was taken is still committed."""
        self._send.close()

    @contextmanager
    def retrying_commits(self) -> Iterator[Callable[[], None]]:
        """Within the block a change waits for as long as its commit fails, unless it is cancelled.

        What the block is given ends that before the block does.
        """
        who = object()
        self._retrying.add(who)
        try:
            yield lambda: self._retrying.discard(who)
        finally:
            self._retrying.discard(who)

    def hurry(self) -> None:
        """Wait neither for a lock nor for a disk any more: what cannot be committed now is given up."""
        self._database.hurry()

    @property
    def is_retrying_commits(self) -> bool:
        """Whether changes wait for as long as it takes."""
        return bool(self._retrying)

    async def write(self, work: Work[T], *, patience_s: float | None = None) -> T:
        """Run `work` in a write transaction, together with others; its value, after COMMIT.

        Raises StoreError when commits fail for too long, or for `patience_s`.
        """
        return await self._submit(Change(lambda _: work, patience_s=patience_s))

    async def write_prepared(self, prepare: Preparation[T]) -> T:
        """Like `write`; what to do is decided in the event loop just before the transaction."""
        return await self._submit(Change(prepare))

    async def settle(self, outcome: Outcome) -> bool:
        """Record an outcome; whether it changed its job. Returns after COMMIT.

        An answer whose commit could not be waited for is durable as well: True, and found in the
        side file by who opens the store next.
        """
        return await self._submit(Change[bool](outcome))

    async def keep(self, reply: CallReply) -> bool:
        """Keep a reply to a call within a job; whether it is the one that counts. Returns after COMMIT.

        One whose commit could not be waited for is durable as well, as an answer is. Raises StoreLost once
        it is in the side file of a store that has vanished: nothing more may be asked.
        """
        return await self._submit(Change[bool](reply))

    async def _submit(self, change: Change[T]) -> T:
        try:
            try:
                self._send.send_nowait(change)
            except anyio.WouldBlock:
                # Once handed over it will happen: nobody may walk away without knowing whether it did.
                with anyio.CancelScope(shield=True):
                    await self._send.send(change)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise StoreError(f"{self._database.path}: the store is closed") from None
        try:
            await change.done.wait()
        except anyio.get_cancelled_exc_class():
            change.patience_s = PATIENCE_S
            with anyio.CancelScope(shield=True):
                await change.done.wait()
            if anyio.current_effective_deadline() > -inf:
                raise  # asyncio's own cancellation, of which a task is told once
        if change.error is not None:
            raise change.error
        return change.value  # type: ignore[return-value]  # set before `done`

    def _collect(self, batch: list[Change[Any]]) -> int:
        """Add what has come in to a batch, up to a limit; how many."""
        room = range(_MAX_CHANGES_PER_COMMIT)
        for count in room:
            try:
                batch.append(self._receive.receive_nowait())
            except (anyio.WouldBlock, anyio.EndOfStream):
                return count
        return len(room)

    def _take_along(self, batch: list[Change[Any]]) -> list[tuple[Piggyback[Any], Change[Any]]]:
        if not any(isinstance(change.work, Outcome) for change in batch):
            return []
        along = [
            (piggyback, Change[Any](piggyback.prepare))
            for piggyback in self.piggybacks
            if all(change.work != piggyback.prepare for change in batch)
        ]
        batch += [change for _, change in along]
        return along

    async def _commit_all(self, batch: list[Change[Any]]) -> None:
        error = await self._commit(batch)
        if error is not None and self.trouble is None and len(batch) > 1:
            # One of them is at fault: each gets a transaction of its own.
            for change in list(batch):
                await self._commit_all([change])
            return
        if self.trouble is None and self._spill.is_used:
            # Before the callers are released: an answer reported as committed is in the store only.
            await to_thread.run_sync(self._spill.forget, paid_of(batch), limiter=self._thread)
        for change in batch:
            change.finish(error)

    def _give_up(self, change: Change[Any], trouble: StoreError) -> None:
        if self._is_safe(change):
            self._owed.append(Change(change.work))
            change.value = True
            change.finish(None)
        else:
            change.finish(trouble)

    def _is_safe(self, change: Change[Any]) -> bool:
        return change.paid is not None and self._spill.holds(change.paid)

    async def _commit(self, batch: list[Change[Any]]) -> BaseException | None:
        """Commit a batch, for as long as it takes; the error, if it cannot be.

        Changes that do not wait that long fail meanwhile, and are taken out of the batch.
        """
        while batch:
            began = perf_counter()
            try:
                transaction = prepare(batch)
                await self._reserve(transaction)
                async with self.turn:
                    await self._database.transact(partial(self._run, transaction))
                self.has_arrived = True
                logger.debug("changes committed: %d in %.3f s", len(batch), perf_counter() - began)
            except (DatabaseError, StoreLost) as error:
                if self.is_lost:
                    await self._fail_lost(batch)
                    return self._end_trouble(None)
                trouble = await self._database.explain(error)
                if not (isinstance(error, OperationalError) and self._database.is_passing(error)):
                    return self._end_trouble(trouble)
                self._report(trouble)
                await self._wait(batch, trouble)
            except Exception as error:
                return self._end_trouble(error)
            else:
                return self._end_trouble(None)
        return None

    async def _reserve(self, transaction: Transaction) -> None:
        """Have space for what is paid for before it can be refused."""
        is_wanted = transaction.settled or transaction.replies or self._retrying
        if is_wanted and self._spill.is_missing and not self.is_lost:
            await to_thread.run_sync(self._spill.reserve, limiter=self._thread)

    def _run(self, transaction: Transaction, connection: Connection) -> None:
        if not self.has_arrived:
            self._arrive(connection)
        transaction.run(connection)

    async def _fail_lost(self, batch: list[Change[Any]]) -> None:
        """Keep what was paid for in the side file, and fail all else: the store has vanished."""
        if not self._lost:
            self._lost = await self._database.rescue(self._spill)
        await self._keep(batch)
        for change in batch:
            change.value = self._is_safe(change)
            # Bad news that is not kept costs nothing: its job is found to have been in flight.
            is_over = isinstance(change.work, Outcome) and (
                change.value or change.work.answer is None
            )
            # A reply has the same said, kept or not: its job would ask on.
            change.finish(None if is_over else self._store_lost_error())
        batch.clear()

    def _store_lost_error(self) -> StoreLost:
        """What is raised from now on; it says where the answers and replies in hand are."""
        spill = self._spill
        if not spill.is_used:
            return StoreLost(self._lost)
        return StoreLost(
            f"{self._lost}; {spill.contents} in hand {'is' if spill.count == 1 else 'are'} kept in"
            f" {spill.place}, for the next start on that store to take in"
        )

    async def _keep(self, batch: list[Change[Any]]) -> None:
        """Put what was paid for into the side file."""
        if self._spill.is_open:
            await to_thread.run_sync(self._spill.keep, paid_of(batch), limiter=self._thread)

    def _report(self, trouble: StoreError) -> None:
        if self.trouble is None:
            logger.warning("cannot commit, trying again: %s", trouble)
            self.troubled_since = self._clock.now()
        else:
            waited_s = self._clock.now() - self.troubled_since
            logger.debug("cannot commit since %.1f s: %s", waited_s, trouble)
        self.trouble = trouble

    def _end_trouble(self, error: BaseException | None) -> BaseException | None:
        if self.trouble is not None and error is None:
            waited_s = self._clock.now() - self.troubled_since
            logger.info("commits go through again, after %.1f s", waited_s)
        self.trouble, self.troubled_since = None, inf
        return error

    async def _wait(self, batch: list[Change[Any]], trouble: StoreError) -> None:
        """Put what was paid for into the side file, fail the changes that have waited long enough, and wait."""
        self._collect(batch)
        await self._keep(batch)
        waited_s = self._clock.now() - self.troubled_since
        stay: list[Change[Any]] = []
        for change in batch:
            if waited_s < self._patience_s(change):
                stay.append(change)
            else:
                self._give_up(change, trouble)
        batch[:] = stay
        for _ in range(_CHECKS_PER_RETRY):
            if batch and not self._database.is_hurried:
                await self._clock.sleep(_RETRY_INTERVAL_S / _CHECKS_PER_RETRY)

    def _patience_s(self, change: Change[Any]) -> float:
        if self._database.is_hurried:
            return 0.0
        if change.patience_s is not None:
            return change.patience_s
        return inf if self._retrying else PATIENCE_S
