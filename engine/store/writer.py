"""Group commit: one task owns the write connection and commits many changes at once.

Whoever writes is answered only after COMMIT. Commits are paced, so that under load each carries what
has come in meanwhile, while a lone write is committed at once. A commit that fails because the disk
is full or another process holds the store is tried again until it goes through; meanwhile the bounded
stream holds back everyone who wants to write.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import anyio
from aiolimiter import AsyncLimiter
from anyio import to_thread
from anyio.abc import TaskStatus
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError, OperationalError

from engine.clock import Clock
from engine.core.errors import StoreError
from engine.store import queue
from engine.store.connection import Databases
from engine.store.location import explain, is_passing
from engine.store.requests import Outcome

logger = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Connection], T]
"""A change, made inside a write transaction, in the writer's thread."""
Preparation = Callable[[Sequence[Outcome]], Work[T]]
"""Gives the change when its transaction is about to begin, told the outcomes that commit with it."""

COMMIT_INTERVAL_S = 0.008
"""The least time between two commits under load: a fair share for other processes, too."""
_MOST_PER_COMMIT = 400
_RETRY_INTERVAL_S = 1.0


@dataclass(slots=True)
class _Change(Generic[T]):
    work: Preparation[T] | Outcome
    done: anyio.Event = field(default_factory=anyio.Event)
    value: T | None = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Rider(Generic[T]):
    """A change that goes along with every transaction that settles outcomes: no commit of its own.

    `deliver` is called in the event loop with its value after COMMIT.
    """

    prepare: Preparation[T]
    deliver: Callable[[T], None]


class Writer:
    """The only way into the database for changes."""

    def __init__(self, databases: Databases, clock: Clock) -> None:
        self._databases = databases
        self._clock = clock
        self._send, self._receive = anyio.create_memory_object_stream[_Change[Any]](
            _MOST_PER_COMMIT
        )
        self._pace = AsyncLimiter(1, COMMIT_INTERVAL_S)
        self._thread = anyio.CapacityLimiter(1)
        self.riders: list[Rider[Any]] = []
        self.trouble: StoreError | None = None
        """Why commits do not go through at present."""

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Commit what comes in, until closed."""
        task_status.started()
        async with self._receive:
            async for first in self._receive:
                batch = [first]
                async with self._pace:
                    self._collect(batch)
                riding = self._take_along(batch)
                await self._commit_all(batch)
                for rider, change in riding:
                    if change.error is None:
                        rider.deliver(change.value)

    def close(self) -> None:
        """Take nothing more; what was taken is still committed."""
        self._send.close()

    async def write(self, work: Work[T]) -> T:
        """Run `work` in a write transaction, together with others; its value, after COMMIT."""
        return await self.write_prepared(lambda _: work)

    async def write_prepared(self, prepare: Preparation[T]) -> T:
        """Like `write`; what to do is decided in the event loop just before the transaction."""
        change: _Change[T] = _Change(prepare)
        await self._submit(change)
        return change.value  # type: ignore[return-value]  # set before `done`

    async def settle(self, outcome: Outcome) -> bool:
        """Record an outcome; whether it changed its job. Returns after COMMIT."""
        change: _Change[bool] = _Change(outcome)
        await self._submit(change)
        return bool(change.value)

    async def _submit(self, change: _Change[Any]) -> None:
        # Once handed over it will happen: nobody may walk away without knowing whether it did.
        with anyio.CancelScope(shield=True):
            await self._send.send(change)
            await change.done.wait()
        if change.error is not None:
            raise change.error

    def _collect(self, batch: list[_Change[Any]]) -> None:
        while len(batch) < _MOST_PER_COMMIT:
            try:
                batch.append(self._receive.receive_nowait())
            except (anyio.WouldBlock, anyio.EndOfStream):
                return

    def _take_along(self, batch: list[_Change[Any]]) -> list[tuple[Rider[Any], _Change[Any]]]:
        if not any(isinstance(change.work, Outcome) for change in batch):
            return []
        riding = [(rider, _Change[Any](rider.prepare)) for rider in self.riders]
        batch += [change for _, change in riding]
        return riding

    async def _commit_all(self, batch: list[_Change[Any]]) -> None:
        error = await self._commit(batch)
        if error is not None and len(batch) > 1:
            # One of them is at fault: each gets a transaction of its own.
            for change in batch:
                await self._commit_all([change])
            return
        for change in batch:
            change.error = error
            change.done.set()

    async def _commit(self, batch: list[_Change[Any]]) -> BaseException | None:
        while True:
            try:
                transaction = _prepare(batch)
                await to_thread.run_sync(self._transact, transaction, limiter=self._thread)
            except OperationalError as error:
                if not is_passing(error):
                    return explain(error, self._databases.path)
                self._report(explain(error, self._databases.path))
                await self._clock.sleep(_RETRY_INTERVAL_S)
            except DatabaseError as error:
                return explain(error, self._databases.path)
            except Exception as error:
                return error
            else:
                self.trouble = None
                return None

    def _transact(self, transaction: "_Transaction") -> None:
        with self._databases.write() as connection:
            transaction.run(connection)

    def _report(self, trouble: StoreError) -> None:
        if self.trouble is None:
            logger.warning("cannot commit, trying again: %s", trouble)
        self.trouble = trouble


@dataclass(slots=True)
class _Transaction:
    """A batch, ready to be run: outcomes first, so that a claim sees what they set free."""

    settled: list[tuple[_Change[Any], Outcome]]
    works: list[tuple[_Change[Any], Work[Any]]]

    def run(self, connection: Connection) -> None:
        if self.settled:
            applied = queue.settle(connection, [outcome for _, outcome in self.settled])
            for (change, _), counts in zip(self.settled, applied, strict=True):
                change.value = counts
        for change, work in self.works:
            change.value = work(connection)


def _prepare(batch: list[_Change[Any]]) -> _Transaction:
    settled = [(change, change.work) for change in batch if isinstance(change.work, Outcome)]
    outcomes = [outcome for _, outcome in settled]
    works = [
        (change, change.work(outcomes)) for change in batch if not isinstance(change.work, Outcome)
    ]
    return _Transaction(settled, works)
