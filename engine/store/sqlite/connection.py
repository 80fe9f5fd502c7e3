"""Connections to the database: one for writing, a few for reading.

A write transaction begins with BEGIN IMMEDIATE, so that it never fails half-way for want of the
write lock; a read begins plainly and sees one snapshot.

Readers are asynchronous. The writer is not: it runs whole transactions in a thread of their own.
Measured on two cores with 64 requests in flight, a transaction of some fifteen statements needed
about fifty hops between the event loop and aiosqlite's thread, each waiting for its turn on a busy
loop; now it is one.
"""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import anyio
from anyio.lowlevel import checkpoint_if_cancelled
from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import (
    AsyncAdaptedQueuePool,
    ConnectionPoolEntry,
    PoolProxiedConnection,
    QueuePool,
)

from engine.core.errors import StoreLost, UsageError
from engine.sqlite.connections import (
    BUSY_TIMEOUT_S,
    WAIT_S,
    begin_when_free,
    break_off_when,
    set_pragmas,
)
from engine.sqlite.database_file import DatabaseFile
from engine.store.sqlite.location import explain
from engine.store.sqlite.source import READ_TIMEOUT_S, TRIES, ChangedMeanwhile, Source

T = TypeVar("T")

WRITE_TIMEOUT_S = 5.0
"""How long a transaction waits for the write lock before it is said who holds it."""
_READERS = 4
_STATE = "state of the file"


class Databases:
    """The pools of one process on one store: `write()` and `read()` give a transaction each.

    With a `source` they read from there alone, and nothing can be written.
    """

    def __init__(self, path: Path, source: Source | None = None) -> None:
        self.path = path
        self.source = source
        self.file = DatabaseFile(path)
        self._is_broken_off = False
        self.is_hurried = False
        """Whether a lock that somebody else holds is not waited for any more."""
        options = {"timeout": BUSY_TIMEOUT_S, "isolation_level": None}
        # What a statement is given are prompts and what models say: no error or log repeats it.
        self._writer = create_engine(
            URL.create("sqlite", database=str(path)),
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=0,
            connect_args={**options, "timeout": WAIT_S, "check_same_thread": False},
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
            break_off_when(database, lambda: self._is_broken_off)
        begin_when_free(self._writer, WRITE_TIMEOUT_S, lambda: self.is_hurried)
        event.listen(self._reader.sync_engine, "begin", _begin)
        set_pragmas(self._writer, cache_kib=65_536)
        set_pragmas(self._reader.sync_engine, cache_kib=16_384)
        if source is None:
            _refuse_others(self.file, self._writer)
            _refuse_others(self.file, self._reader.sync_engine)
        else:
            _read_from(source, self._reader.sync_engine)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One write transaction: committed at the end of the block, rolled back if it raises.

        Blocking: for the writer's thread. Raises UsageError where the store is only read.
        """
        self.check_writable()
        with self._writer.begin() as connection:
            yield connection

    def check_writable(self) -> None:
        """Raise UsageError where the store is only read."""
        if self.source is not None:
            raise UsageError(
                f"{self.path}: was opened with read_only=True; open it without to change it"
            )

    @contextmanager
    def lost(self) -> Iterator[sqlite3.Connection]:
        """The connection for writing as it is, to a store that is no longer at its path. Blocking."""
        connection = self._writer.raw_connection()
        try:
            yield cast(sqlite3.Connection, connection.driver_connection)
        finally:
            connection.close()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """One consistent snapshot. Keep it short: it holds back the checkpoint of the log.

        Raises StoreError when the database cannot be read, ChangedMeanwhile where it has to be read again.
        """
        await checkpoint_if_cancelled()
        try:
            # Short as it is, it is not broken off: a connection that is cut off is closed behind our back.
            with anyio.CancelScope(shield=True):
                async with self._reader.begin() as connection:
                    yield connection
                    if self.source and not self.source.is_unchanged(connection.info[_STATE]):
                        raise self.source.changed()
        except (DBAPIError, PoolTimeout) as error:
            if self.source is None:
                refuse_if_lost(self.file)
            raise explain(error, self.path) from error

    async def ask(self, question: Callable[[Connection], T]) -> T:
        """The answer to one question, from one snapshot."""
        for _ in range(TRIES - 1):
            with suppress(ChangedMeanwhile):
                return await self._ask_once(question)
        return await self._ask_once(question)

    async def _ask_once(self, question: Callable[[Connection], T]) -> T:
        async with self.read() as connection:
            return await connection.run_sync(question)

    def break_off(self) -> None:
        """End the statements that are being executed, and those to come, until `go_on`."""
        self._is_broken_off = True

    def go_on(self) -> None:
        """Let statements be executed again."""
        self._is_broken_off = False

    async def close(self) -> None:
        """Close every connection."""
        await self._reader.dispose()
        self._writer.dispose()


def refuse_if_lost(file: DatabaseFile) -> None:
    """Raise StoreLost where a store is no longer the file that was opened."""
    if (loss := file.loss()) is not None:
        raise StoreLost(f"{file.path}: {loss.what} while this process worked on it")


def _refuse_others(file: DatabaseFile, database: Engine) -> None:
    """Have no connection opened to what has taken the place of a store."""

    @event.listens_for(database, "connect")
    def check(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        if file.loss() is not None:
            connection.close()
            refuse_if_lost(file)


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _read_from(source: Source, database: Engine) -> None:
    """Have each connection opened to be read only, and not used any more once it shows an old state."""

    @event.listens_for(database, "do_connect")
    def address(
        _dialect: Dialect, entry: ConnectionPoolEntry, arguments: list[Any], options: dict[str, Any]
    ) -> None:
        arguments[0], entry.info[_STATE] = source.address()
        options.update(uri=True, timeout=READ_TIMEOUT_S)

    @event.listens_for(database, "checkout")
    def check(
        _connection: DBAPIConnection, entry: ConnectionPoolEntry, _proxy: PoolProxiedConnection
    ) -> None:
        if not source.is_current(entry.info[_STATE]):
            raise DisconnectionError
