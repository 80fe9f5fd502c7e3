"""Group commit: one task owns the write connection and commits many changes at once.

Callers return only after COMMIT. Commits are paced: under load, each commit carries all changes that arrived since
the last one, while a single change is committed at once. If a commit fails because the disk is full or another
process has locked the store, it is retried until it succeeds. Meanwhile all callers wait, and uncommitted answers
and replies are written to a side file. Commits are retried without limit only while a run is executed; other
changes, and those of a process that is ending, fail after PATIENCE_S, except answers and replies that are safe in
the side file.

The first transaction also registers this worker, so a process that only reads writes nothing.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
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
from engine.store.database import Database, UnknownCommit
from engine.store.requests import CallReply, Outcome
from engine.store.spill import Spill

logger = logging.getLogger(__name__)

T = TypeVar("T")

COMMIT_INTERVAL_S = 0.008
"""The least time between two commits under load, in which other processes get the lock."""
PATIENCE_S = 10.0
"""How long a failing commit is retried if no run is executed or the process is ending."""
_MAX_CHANGES_PER_COMMIT = 400
_RETRY_INTERVAL_S = 1.0
_CHECKS_PER_RETRY = 5
"""How often a pause between two retries checks whether the commit is still wanted."""


@dataclass(frozen=True, slots=True)
class Piggyback(Generic[T]):
    """A change that is added to every transaction that settles outcomes, so that it needs no commit of its own.

    `deliver` is called in the event loop with its value after COMMIT. It is skipped if the batch already contains an
    equal change; otherwise, for example, the same slots would be filled twice.
    """

    prepare: Preparation[T]
    deliver: Callable[[T], None]


@dataclass(frozen=True, slots=True)
class _UnknownBatch:
    """The changes of a commit whose answer was lost; their values are set already."""

    error: UnknownCommit
    changes: Sequence[Change[Any]]

    def leave_rest(self, batch: list[Change[Any]], waiting: deque[Change[Any]]) -> None:
        """Remove from a batch what was not part of that commit, and have it wait for the next one."""
        made = {id(change) for change in self.changes}
        waiting.extendleft(change for change in reversed(batch) if id(change) not in made)
        batch[:] = [change for change in batch if id(change) in made]


class Writer:
    """Commits all changes of this process, one transaction after the other.

    Changes that arrive while a commit is under way go into the next one together; each caller is released
    after COMMIT. Two commits are at least `commit_interval_s` seconds apart, which gives other processes
    their turn.
    """

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
        """Whether this worker's row was committed."""
        self._clock = clock
        self._spill = spill
        self._waiting: deque[Change[Any]] = deque()
        """Changes that no commit has taken up, in the order in which they came."""
        self._has_come = anyio.Event()
        """Set by a change that comes, and by the end."""
        self._is_closed = False
        self._pace = AsyncLimiter(1, commit_interval_s) if commit_interval_s else nullcontext()
        self._thread = anyio.CapacityLimiter(1)
        self.turn = anyio.Lock(fast_acquire=True)
        """Held during each transaction."""
        self._owed: list[Change[Any]] = []
        self.troubled_since = inf
        self._retrying: set[object] = set()
        self.piggybacks: list[Piggyback[Any]] = []
        self.trouble: StoreError | None = None
        """Why commits fail at present; None if they succeed."""
        self._lost = ""
        """What happened to a store that has vanished, and what to do; empty while it is in place."""

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Commit changes as they arrive, until `close`.

        It is shielded from cancellation, because cancelled callers wait for their last commits.
        """
        with anyio.CancelScope(shield=True):
            task_status.started()
            try:
                while await self._has_changes():
                    await self._handle()
            finally:
                self._is_closed = True
            if self._spill.is_open:
                await to_thread.run_sync(self._spill.close, limiter=self._thread)

    async def _has_changes(self) -> bool:
        """Wait for a change; returns False at the end, once all changes are taken up."""
        while not (self._waiting or self._is_closed):
            self._has_come = anyio.Event()
            await self._has_come.wait()
        return bool(self._waiting)

    async def _handle(self) -> None:
        batch: list[Change[Any]] = []
        try:
            async with self._pace:
                self._collect(batch)
            # Answers that are only in the side file are committed as soon as a commit succeeds.
            batch += self._owed
            self._owed = []
            along = self._take_along(batch)
            await self._commit_all(batch)
            for piggyback, change in along:
                if change.error is None:
                    piggyback.deliver(change.value)
        except BaseException as error:
            # A bug: every waiting caller must get the error.
            for change in (*batch, *self._waiting):
                if not change.done.is_set():
                    change.finish(error)
            raise

    @property
    def is_lost(self) -> bool:
        """Whether the store is no longer the one that was opened."""
        return self._database.is_lost

    def close(self) -> None:
        """Accept no more changes; accepted ones are still committed."""
        self._is_closed = True
        self._has_come.set()

    @contextmanager
    def retrying_commits(self) -> Iterator[Callable[[], None]]:
        """Within the block, retry failing commits without limit, unless a change is cancelled.

        Yields a function that ends this before the block does.
        """
        block = object()

        def stop() -> None:
            self._retrying.discard(block)
            self._database.wait_for_server(is_wanted=self.is_retrying_commits)

        self._retrying.add(block)
        self._database.wait_for_server(is_wanted=True)
        try:
            yield stop
        finally:
            stop()

    def fail_fast(self) -> None:
        """Stop waiting for locks and for the disk: changes that cannot be committed now fail."""
        self._database.fail_fast()

    @property
    def is_retrying_commits(self) -> bool:
        """Whether failing commits are retried without limit."""
        return bool(self._retrying)

    async def write(self, work: Work[T], *, patience_s: float | None = None) -> T:
        """Run `work` in a write transaction, together with other changes; returns its value after COMMIT.

        Raises StoreError if commits fail for `patience_s` seconds; if that is None, for PATIENCE_S, or never while
        commits are retried without limit.
        """
        return await self._submit(Change(lambda _: work, patience_s=patience_s))

    async def write_prepared(self, prepare: Preparation[T]) -> T:
        """Like `write`, but `prepare` makes the change in the event loop, just before the transaction.

        It gets the outcomes that the same transaction settles.
        """
        return await self._submit(Change(prepare))

    async def settle(self, outcome: Outcome) -> bool:
        """Record an outcome; returns, after COMMIT, whether it changed its job.

        An answer whose commit failed for too long is durable as well: this returns True, and the next process that
        opens the store recovers the answer from the side file.
        """
        change: Change[bool] = Change(outcome)
        return await self._submit(change)

    async def keep(self, reply: CallReply) -> bool:
        """Store a reply to a call within a job; returns, after COMMIT, whether it is the one that counts.

        A reply whose commit failed for too long is durable in the side file, like an answer. If the store has
        vanished, raises StoreLost once the reply is in the side file, because nothing more may be sent.
        """
        change: Change[bool] = Change(reply)
        return await self._submit(change)

    async def _submit(self, change: Change[T]) -> T:
        if self._is_closed:
            raise StoreError(f"{self._database.path}: the store is closed")
        self._waiting.append(change)
        self._has_come.set()
        try:
            # A change that was handed over will be made, so its caller must wait for the result.
            await change.done.wait()
        except anyio.get_cancelled_exc_class():
            change.patience_s = PATIENCE_S
            with anyio.CancelScope(shield=True):
                await change.done.wait()
            if anyio.current_effective_deadline() > -inf:
                raise  # asyncio's own cancellation, which is delivered only once
        if change.error is not None:
            raise change.error
        return change.value  # type: ignore[return-value]  # set before `done`

    def _collect(self, batch: list[Change[Any]]) -> None:
        """Add waiting changes to a batch, up to a limit."""
        count = min(len(self._waiting), _MAX_CHANGES_PER_COMMIT)
        batch.extend(self._waiting.popleft() for _ in range(count))

    def _take_along(self, batch: list[Change[Any]]) -> list[tuple[Piggyback[Any], Change[Any]]]:
        if not any(isinstance(change.work, Outcome) for change in batch):
            return []
        along: list[tuple[Piggyback[Any], Change[Any]]] = [
            (piggyback, Change(piggyback.prepare))
            for piggyback in self.piggybacks
            if all(change.work != piggyback.prepare for change in batch)
        ]
        batch += [change for _, change in along]
        return along

    async def _commit_all(self, batch: list[Change[Any]]) -> None:
        error = await self._commit(batch)
        if error is not None and self.trouble is None and len(batch) > 1:
            # One of the changes is at fault, so each gets its own transaction.
            for change in list(batch):
                await self._commit_all([change])
            return
        if self.trouble is None and self._spill.is_used:
            # Before the callers are released, so that a committed answer is not in the side file as well.
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
        """Commit a batch, retrying while the error may go away; returns the error if it cannot be committed.

        Changes with less patience fail meanwhile and are removed from the batch.
        """
        unknown: _UnknownBatch | None = None
        while batch:
            began = perf_counter()
            try:
                if unknown is not None and await self._was_committed(unknown):
                    self.has_arrived = True
                    unknown.leave_rest(batch, self._waiting)
                    return self._end_trouble(None)
                unknown = None
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
                if isinstance(error, UnknownCommit):
                    unknown = _UnknownBatch(error, list(batch))
                self._report(trouble)
                await self._wait(batch, trouble)
            except Exception as error:
                return self._end_trouble(error)
            else:
                return self._end_trouble(None)
        return None

    async def _was_committed(self, unknown: "_UnknownBatch") -> bool:
        async with self.turn:
            return await self._database.was_committed(unknown.error)

    async def _reserve(self, transaction: Transaction) -> None:
        """Reserve space in the side file before a commit of paid answers can fail."""
        is_wanted = transaction.settled or transaction.replies or self._retrying
        if is_wanted and self._spill.is_missing and not self.is_lost:
            await to_thread.run_sync(self._spill.reserve, limiter=self._thread)

    def _run(self, transaction: Transaction, connection: Connection) -> None:
        if not self.has_arrived:
            self._arrive(connection)
        transaction.run(connection)

    async def _fail_lost(self, batch: list[Change[Any]]) -> None:
        """After the store has vanished: keep answers and replies in the side file, and fail all other changes."""
        if not self._lost:
            self._lost = await self._database.rescue(self._spill)
        await self._keep(batch)
        for change in batch:
            change.value = self._is_safe(change)
            # An outcome without an answer need not be kept: its job counts as lost in flight.
            is_over = isinstance(change.work, Outcome) and (
                change.value or change.work.answer is None
            )
            # A reply gets the error even if it is kept, because its job would send more.
            change.finish(None if is_over else self._store_lost_error())
        batch.clear()

    def _store_lost_error(self) -> StoreLost:
        """The error for changes from now on; it says where uncommitted answers and replies are."""
        spill = self._spill
        if not spill.is_used:
            return StoreLost(self._lost)
        return StoreLost(
            f"{self._lost}; {spill.contents} in hand {'is' if spill.count == 1 else 'are'} kept in"
            f" {spill.place}, and the next start on that store recovers {'it' if spill.count == 1 else 'them'}"
        )

    async def _keep(self, batch: list[Change[Any]]) -> None:
        """Write the answers and replies of a batch to the side file."""
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
        """Write answers and replies to the side file, fail the changes without patience left, and pause."""
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
            if batch and not self._database.is_failing_fast:
                await self._clock.sleep(_RETRY_INTERVAL_S / _CHECKS_PER_RETRY)

    def _patience_s(self, change: Change[Any]) -> float:
        if self._database.is_failing_fast:
            return 0.0
        if change.patience_s is not None:
            return change.patience_s
        return inf if self._retrying else PATIENCE_S
