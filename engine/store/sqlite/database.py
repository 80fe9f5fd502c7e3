"""A store's SQLite file as its database: one connection for writing, several for reading.

A write transaction begins with BEGIN IMMEDIATE, so that it never fails in the middle because another process has the
write lock. A read begins with a plain BEGIN and sees one snapshot.

Reads are asynchronous. The writer instead runs whole transactions in a thread of its own. Measured on two cores with
64 requests in flight, a transaction of fifteen statements through aiosqlite needs about fifty switches between the
event loop and its thread, each waiting for a busy loop; in its own thread, it needs one.
"""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import anyio
from anyio import to_thread
from anyio.lowlevel import checkpoint_if_cancelled
from sqlalchemy import URL, create_engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool

from engine.clock import Clock
from engine.core.errors import StoreError
from engine.core.status import Backup
from engine.sqlite.connections import (
    BUSY_TIMEOUT_S,
    LOCK_POLL_S,
    begin_when_free,
    interrupt_when,
    set_pragmas,
)
from engine.sqlite.database_file import DatabaseFile
from engine.sqlite.errors import is_busy, is_passing
from engine.store.database import refuse_if_read_only
from engine.store.spill import Spill
from engine.store.sqlite import backup, holder, readers, space
from engine.store.sqlite.connection import (
    STATE,
    begin_reading,
    read_from,
    refuse_if_lost,
    refuse_others,
)
from engine.store.sqlite.liveness import FileLiveness, WorkerLock, workers_folder
from engine.store.sqlite.location import explain
from engine.store.sqlite.rescue import rescue
from engine.store.sqlite.source import TRIES, ChangedMeanwhile, Source

T = TypeVar("T")

WRITE_TIMEOUT_S = 5.0
"""How long a transaction waits for the write lock before it fails and the holder is reported."""
_READERS = 4
_LONG_S = 1.0
"""A read that takes longer than this keeps the log from being reset."""


class SQLiteDatabase:
    """The connections of one process to one store.

    Without an `identity`, the store is only read, from its `source`. Raises OSError if there is no file.
    """

    has_clock = False

    def __init__(
        self, path: Path, identity: WorkerLock | None = None, source: Source | None = None
    ) -> None:
        self.path = path
        self.identity = identity
        self.side_files = workers_folder(path)
        self.liveness = FileLiveness(self.side_files, "" if identity is None else identity.id)
        self.is_failing_fast = False
        self._file = DatabaseFile(path)
        self._source = source
        self._is_interrupted = False
        self._has_written = False
        self._thread = anyio.CapacityLimiter(1)
        options = {"timeout": BUSY_TIMEOUT_S, "isolation_level": None}
        # Statement parameters hold prompts and model output; `hide_parameters` keeps them out of errors and logs.
        self._writer = create_engine(
            URL.create("sqlite", database=str(path)),
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=0,
            connect_args={**options, "timeout": LOCK_POLL_S, "check_same_thread": False},
            hide_parameters=True,
        )
        self._reader = create_async_engine(
            URL.create("sqlite+aiosqlite", database=str(path)),
            poolclass=AsyncAdaptedQueuePool,
            pool_size=_READERS,
            max_overflow=0,
            pool_timeout=BUSY_TIMEOUT_S,
            connect_args=options,
            hide_parameters=True,
        )
        for database in (self._writer, self._reader.sync_engine):
            interrupt_when(database, lambda: self._is_interrupted)
        begin_when_free(self._writer, WRITE_TIMEOUT_S, lambda: self.is_failing_fast)
        event.listen(self._reader.sync_engine, "begin", begin_reading)
        set_pragmas(self._writer, cache_kib=65_536)
        set_pragmas(self._reader.sync_engine, cache_kib=16_384)
        if source is None:
            refuse_others(self._file, self._writer)
            refuse_others(self._file, self._reader.sync_engine)
        else:
            read_from(source, self._reader.sync_engine)

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a write transaction, in the writer's thread; returns its value after COMMIT."""
        self.check_writable()
        return await to_thread.run_sync(self._transact, work, limiter=self._thread)

    def _transact(self, work: Callable[[Connection], T]) -> T:
        self.refuse_if_lost()
        with self._writer.begin() as connection:
            value = work(connection)
        self._has_written = True
        self._file.remember()
        # A change counts as committed only if the file is still the one at the path.
        self.refuse_if_lost()
        return value

    async def ask(self, question: Callable[[Connection], T]) -> T:
        """Answer one question from one snapshot, which keeps the log from being checkpointed completely."""
        for _ in range(TRIES - 1):
            with suppress(ChangedMeanwhile):
                return await self._ask_once(question)
        return await self._ask_once(question)

    async def _ask_once(self, question: Callable[[Connection], T]) -> T:
        await checkpoint_if_cancelled()
        try:
            # Shielded because it is short, and a cancelled connection would be closed by its driver.
            with anyio.CancelScope(shield=True):
                async with self._reader.begin() as connection:
                    answer = await connection.run_sync(question)
                    if self._source and not self._source.is_unchanged(connection.info[STATE]):
                        raise self._source.change_error()
        except (DBAPIError, PoolTimeout) as error:
            if self._source is None:
                self.refuse_if_lost()
            raise explain(error, self.path) from error
        return answer

    async def was_committed(self, error: Any) -> bool:
        """Never called, because a commit always says how it ended."""
        raise AssertionError("the end of a commit is always known")

    def wait_for_server(self, *, is_wanted: bool) -> None:
        """There is no server to wait for."""

    async def explain(self, error: Exception) -> StoreError:
        """Translate an error into the user's words; for a locked store, name the process that holds the lock."""
        if not is_busy(error):
            return explain(error, self.path)
        return StoreError(f"{self.path}: {await holder.describe(self, self.path)}")

    def is_passing(self, error: Exception) -> bool:
        """Whether an error may go away by itself, such as a full disk or a locked store."""
        return is_passing(error)

    def check_writable(self) -> None:
        """Raise UsageError if the store is only read."""
        refuse_if_read_only(self)

    def interrupt(self) -> None:
        """Interrupt the running statements, and all further ones until `allow_statements`."""
        self._is_interrupted = True

    def allow_statements(self) -> None:
        """Allow statements again after `interrupt`."""
        self._is_interrupted = False

    def fail_fast(self) -> None:
        """Stop waiting for locks of other processes."""
        self.is_failing_fast = True

    async def follow_clock(self, clock: Clock) -> None:
        """It has no clock of its own."""

    async def close(self) -> None:
        """Close every connection."""
        await self._reader.dispose()
        self._writer.dispose()

    # A file that vanishes

    @property
    def is_lost(self) -> bool:
        """Whether the file was removed, moved, replaced or overwritten."""
        return self._file.loss() is not None

    def refuse_if_lost(self) -> None:
        """Raise StoreLost if the store is no longer the file that was opened."""
        refuse_if_lost(self._file)

    async def rescue(self, spill: Spill) -> str:
        """Save the content of the lost file, and find a place for the side file; see `rescue.rescue`."""
        return await to_thread.run_sync(self._rescue, spill, limiter=self._thread)

    def _rescue(self, spill: Spill) -> str:
        loss = self._file.loss()
        assert loss is not None, "only a lost store is rescued"
        if not self._has_written:
            return rescue(self._file, loss, None, spill)
        connection = self._writer.raw_connection()
        try:
            driver = cast(sqlite3.Connection, connection.driver_connection)
            return rescue(self._file, loss, driver, spill)
        finally:
            connection.close()

    # Its disk

    async def disk_free_bytes(self) -> int:
        """Free space, in bytes, on the disk of the file."""
        usage = await to_thread.run_sync(shutil.disk_usage, self.path.parent)
        return usage.free

    async def check_log(self, above: int, clock: Clock) -> tuple[int, str]:
        """The size of the write-ahead log and, if it is `above` a limit, the processes whose reads make it grow."""
        size = readers.log_bytes(self.path)
        if size <= above:
            return size, ""
        found = await to_thread.run_sync(readers.find_readers, self.path)
        # Every process reads for moments; one that is found twice has a long read.
        await clock.sleep(_LONG_S)
        again = await to_thread.run_sync(readers.find_readers, self.path)
        long = None if found is None or again is None else found & again
        return size, readers.describe(self.path, size, long)

    async def reusable_bytes(self) -> int:
        """The size of the file's free pages in bytes."""
        return await self.ask(space.free_bytes)

    async def give_back_space(self) -> int:
        """Rewrite the file without its free pages; returns by how many bytes it shrank."""
        return await to_thread.run_sync(space.give_back, self.path)

    async def back_up(self, target: Path | None, now: float) -> Backup:
        """Copy the store to a new file; see `backup.back_up`."""
        source = self._source or Source(self.path.resolve())
        return await backup.back_up(self.path, source, target, now)
