"""Group commit: one task owns the write connection and commits many changes at once.

Whoever writes is answered only after COMMIT. Commits are paced, so that under load each carries what
has come in meanwhile, while a lone write is committed at once. A commit that fails because the disk
is full or another process holds the store is tried again until it goes through; meanwhile the bounded
stream holds back everyone who wants to write, and answers in hand are written to a side file. Only
somebody who is leaving is not kept waiting: with the answers safe in that file, the rest is given up.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Generic, TypeVar

import anyio
from aiolimiter import AsyncLimiter
from anyio import to_thread
from anyio.abc import TaskStatus
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError, OperationalError

from engine.clock import Clock
from engine.core.errors import StoreError
from engine.store import outcomes
from engine.store.connection import Databases
from engine.store.location import explain, is_passing
from engine.store.requests import Outcome
from engine.store.spill import Spill

logger = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Connection], T]
"""A change, made inside a write transaction, in the writer's thread."""
Preparation = Callable[[Sequence[Outcome]], Work[T]]
"""Gives the change when its transaction is about to begin, told the outcomes that commit with it."""

COMMIT_INTERVAL_S = 0.008
"""The least time between two commits under load: a fair share for other processes, too."""
PATIENCE_S = 10.0
"""How long somebody who is leaving is kept waiting for a commit that does not go through."""
_MOST_PER_COMMIT = 400
_RETRY_INTERVAL_S = 1.0


@dataclass(slots=True)
class _Change(Generic[T]):
    work: Preparation[T] | Outcome
    done: anyio.Event = field(default_factory=anyio.Event)
    is_leaving: bool = False
    """Whether who waits for it was cancelled, or is the last to write."""
    value: T | None = None
    error: BaseException | None = None

    def finish(self, error: BaseException | None) -> None:
        self.error = error
        self.done.set()


@dataclass(frozen=True, slots=True)
class Rider(Generic[T]):
    """A change that goes along with every transaction that settles outcomes: no commit of its own.

    `deliver` is called in the event loop with its value after COMMIT. It stays behind where an equal
    change is in the transaction already: what both would decide on must not be had twice.
    """

    prepare: Preparation[T]
    deliver: Callable[[T], None]


class Writer:
    """The only way into the database for changes."""

    def __init__(self, databases: Databases, clock: Clock, spill: Spill) -> None:
        self._databases = databases
        self._clock = clock
        self._spill = spill
        self._send, self._receive = anyio.create_memory_object_stream[_Change[Any]](
            _MOST_PER_COMMIT
        )
        self._pace = AsyncLimiter(1, COMMIT_INTERVAL_S)
        self._thread = anyio.CapacityLimiter(1)
        self._owed: list[_Change[Any]] = []
        self._troubled_since = inf
        self.riders: list[Rider[Any]] = []
        self.trouble: StoreError | None = None
        """Why commits do not go through at present."""

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Commit what comes in, until closed.

        Nobody else's cancellation reaches it: those who are cancelled wait for their last commits.
        """
        with anyio.CancelScope(shield=True):
            task_status.started()
            async with self._receive:
                async for first in self._receive:
                    await self._handle([first])
            await to_thread.run_sync(self._spill.close, limiter=self._thread)

    async def _handle(self, batch: list[_Change[Any]]) -> None:
        try:
            async with self._pace:
                self._collect(batch)
            # What the side file holds alone is committed as soon as anything is.
            batch += self._owed
            self._owed = []
            riding = self._take_along(batch)
            await self._commit_all(batch)
            for rider, change in riding:
                if change.error is None:
                    rider.deliver(change.value)
        except BaseException as error:
            # A bug: whoever waits has to hear of it.
            while self._collect(batch):
                pass
            for change in batch:
                if not change.done.is_set():
                    change.finish(error)
            raise

    def close(self) -> None:
        """Take nothing more; what was taken is still committed."""
        self._send.close()

    async def write(self, work: Work[T]) -> T:
        """Run `work` in a write transaction, together with others; its value, after COMMIT."""
        return await self.write_prepared(lambda _: work)

    async def write_last(self, work: Work[T]) -> T:
        """Like `write`, for somebody who is leaving: raises StoreError rather than wait for ever."""
        change: _Change[T] = _Change(lambda _: work, is_leaving=True)
        return await self._submit(change)

    async def write_prepared(self, prepare: Preparation[T]) -> T:
        """Like `write`; what to do is decided in the event loop just before the transaction."""
        return await self._submit(_Change(prepare))

    async def settle(self, outcome: Outcome) -> bool:
        """Record an outcome; whether it changed its job. Returns after COMMIT.

        An answer whose commit could not be waited for is durable as well: True, and found in the
        side file by who opens the store next.
        """
        return await self._submit(_Change[bool](outcome))

    async def _submit(self, change: _Change[T]) -> T:
        try:
            try:
                self._send.send_nowait(change)
            except anyio.WouldBlock:
                # Once handed over it will happen: nobody may walk away without knowing whether it did.
                with anyio.CancelScope(shield=True):
                    await self._send.send(change)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise StoreError(f"{self._databases.path}: the store is closed") from None
        try:
            await change.done.wait()
        except anyio.get_cancelled_exc_class():
            change.is_leaving = True
            with anyio.CancelScope(shield=True):
                await change.done.wait()
            if anyio.current_effective_deadline() > -inf:
                raise  # asyncio's own cancellation, of which a task is told once
        if change.error is not None:
            raise change.error
        return change.value  # type: ignore[return-value]  # set before `done`

    def _collect(self, batch: list[_Change[Any]]) -> int:
        """Add what has come in to a batch, up to a limit; how many."""
        room = range(_MOST_PER_COMMIT)
        for count in room:
            try:
                batch.append(self._receive.receive_nowait())
            except (anyio.WouldBlock, anyio.EndOfStream):
                return count
        return len(room)

    def _take_along(self, batch: list[_Change[Any]]) -> list[tuple[Rider[Any], _Change[Any]]]:
        if not any(isinstance(change.work, Outcome) for change in batch):
            return []
        riding = [
            (rider, _Change[Any](rider.prepare))
            for rider in self.riders
            if all(change.work != rider.prepare for change in batch)
        ]
        batch += [change for _, change in riding]
        return riding

    async def _commit_all(self, batch: list[_Change[Any]]) -> None:
        error = await self._commit(batch)
        if error is not None and self.trouble is None and len(batch) > 1:
            # One of them is at fault: each gets a transaction of its own.
            for change in list(batch):
                await self._commit_all([change])
            return
        if self.trouble is None and self._spill.is_used:
            # Before the callers are released: an answer reported as committed is in the store only.
            settled = [change.work for change in batch if isinstance(change.work, Outcome)]
            await to_thread.run_sync(self._spill.forget, settled, limiter=self._thread)
        for change in batch:
            if self.trouble is not None and self._is_safe(change):
                self._owed.append(_Change(change.work))
                change.value = True
                change.finish(None)
            else:
                change.finish(error)

    def _is_safe(self, change: _Change[Any]) -> bool:
        return isinstance(change.work, Outcome) and self._spill.holds(change.work)

    async def _commit(self, batch: list[_Change[Any]]) -> BaseException | None:
        """Commit a batch, for as long as it takes; the error, if it cannot be.

        `trouble` is set after that if the database did not take it, and None if the batch is at fault.
        """
        while True:
            try:
                transaction = _prepare(batch)
                await to_thread.run_sync(self._transact, transaction, limiter=self._thread)
            except OperationalError as error:
                trouble = explain(error, self._databases.path)
                if not is_passing(error):
                    return self._recovered(trouble)
                self._report(trouble)
                if await self._is_given_up(batch):
                    return trouble
            except DatabaseError as error:
                return self._recovered(explain(error, self._databases.path))
            except Exception as error:
                return self._recovered(error)
            else:
                return self._recovered(None)

    def _transact(self, transaction: "_Transaction") -> None:
        if transaction.settled:
            self._spill.reserve()
        with self._databases.write() as connection:
            transaction.run(connection)

    def _report(self, trouble: StoreError) -> None:
        if self.trouble is None:
            logger.warning("cannot commit, trying again: %s", trouble)
            self._troubled_since = self._clock.now()
        self.trouble = trouble

    def _recovered(self, error: BaseException | None) -> BaseException | None:
        self.trouble, self._troubled_since = None, inf
        return error

    async def _is_given_up(self, batch: list[_Change[Any]]) -> bool:
        """Bring the answers in hand to safety and wait a while; True if nobody should wait longer."""
        self._collect(batch)
        answers = [change.work for change in batch if isinstance(change.work, Outcome)]
        await to_thread.run_sync(self._spill.keep, answers, limiter=self._thread)
        if self._clock.now() - self._troubled_since >= PATIENCE_S and _is_leaving(batch):
            return True
        await self._clock.sleep(_RETRY_INTERVAL_S)
        return False


@dataclass(slots=True)
class _Transaction:
    """A batch, ready to be run: outcomes first, so that a claim sees what they set free."""

    settled: list[tuple[_Change[Any], Outcome]]
    works: list[tuple[_Change[Any], Work[Any]]]

    def run(self, connection: Connection) -> None:
        if self.settled:
            applied = outcomes.settle(connection, [outcome for _, outcome in self.settled])
            for (change, _), counts in zip(self.settled, applied, strict=True):
                change.value = counts
        for change, work in self.works:
            change.value = work(connection)


def _prepare(batch: Iterable[_Change[Any]]) -> _Transaction:
    settled = [(change, change.work) for change in batch if isinstance(change.work, Outcome)]
    settling = [outcome for _, outcome in settled]
    works = [
        (change, change.work(settling)) for change in batch if not isinstance(change.work, Outcome)
    ]
    return _Transaction(settled, works)


def _is_leaving(batch: Iterable[_Change[Any]]) -> bool:
    return any(change.is_leaving for change in batch)
