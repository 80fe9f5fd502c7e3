"""A store in memory: the statements of every store, run in the event loop without a thread or a file."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from os import getpid
from pathlib import Path
from socket import gethostname
from typing import Any, TypeVar, cast
from uuid import uuid4
from weakref import finalize

from anyio.lowlevel import checkpoint
from sqlalchemy import create_engine
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from engine.clock import Clock
from engine.core.errors import StoreError, UsageError
from engine.core.status import Backup
from engine.sqlite.connections import PROGRESS_INSTRUCTIONS
from engine.store.database import refuse_if_read_only
from engine.store.revisions import schema
from engine.store.spill import Spill
from engine.store.sqlite.location import explain
from engine.store.store import Store, serving

T = TypeVar("T")


class Memory:
    """The contents of a store in memory, which last as long as this object.

    Any number of engines may have it open at once, all of them in one event loop.
    """

    def __init__(self) -> None:
        self.workers: set[str] = set()
        """The ids of the workers that have it open."""
        database = create_engine(
            "sqlite://",
            poolclass=StaticPool,
            connect_args={"isolation_level": None, "check_same_thread": False},
            hide_parameters=True,
        )
        # Without transactions of SQLAlchemy's own, which cost more than those of SQLite.
        self.connection = database.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._driver = cast(sqlite3.Connection, self.connection.connection.driver_connection)
        finalize(self, _close, self.connection)
        with self.transaction():
            for statement in schema(sqlite.dialect):
                self.connection.exec_driver_sql(statement)
        # The pragma has no effect within a transaction.
        self._driver.execute("PRAGMA foreign_keys = ON")

    @contextmanager
    def transaction(self, *, is_broken_off: bool = False) -> Iterator[Connection]:
        """A transaction, committed at the end of the block and rolled back if that raises.

        If it is broken off, its long statements are interrupted, which raises the driver's error.
        """
        driver = self._driver
        if is_broken_off:
            driver.set_progress_handler(lambda: True, PROGRESS_INSTRUCTIONS)
        try:
            driver.execute("BEGIN")
            with driver:
                yield self.connection
        finally:
            if is_broken_off:
                driver.set_progress_handler(None, PROGRESS_INSTRUCTIONS)


def _close(connection: Connection) -> None:
    connection.close()
    connection.engine.dispose()


class _Identity:
    def __init__(self) -> None:
        self.id = str(uuid4())
        self.host = gethostname()
        self.pid = getpid()
        self.is_registered = False


class _Liveness:
    """All workers are in this process: each is there until its opening ends."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def look(self) -> None:
        """Nothing needs to be asked."""

    def look_within(self, connection: Connection) -> None:
        """Nothing needs to be asked."""

    def is_dead(self, worker_id: str, heartbeat_at: float, now: float) -> bool:
        """Whether a worker has ended; its event loop is this one, so it cannot hang alone."""
        return self.has_gone(worker_id)

    def has_gone(self, worker_id: str) -> bool:
        """Whether a worker has ended."""
        return worker_id not in self._memory.workers

    async def find_ended(self, worker_ids: Sequence[str]) -> list[str]:
        """Those of these workers that have ended."""
        return [worker_id for worker_id in worker_ids if self.has_gone(worker_id)]

    def forget(self, worker_id: str) -> None:
        """Nothing is left behind."""


class MemoryDatabase:
    """One opening of a memory; without an `identity` it is only read."""

    path = Path("memory")
    has_clock = False
    side_files = None
    is_failing_fast = False
    is_lost = False

    def __init__(self, memory: Memory, identity: _Identity | None) -> None:
        self.identity = identity
        self.liveness = _Liveness(memory)
        self._memory = memory
        self._is_interrupted = False

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction; its value, after COMMIT. Other tasks run while the writer waits for changes."""
        self.check_writable()
        with self._memory.transaction(is_broken_off=self._is_interrupted) as connection:
            return work(connection)

    async def ask(self, question: Callable[[Connection], T]) -> T:
        """The answer to one question: nothing changes meanwhile."""
        await checkpoint()
        try:
            with self._memory.transaction(is_broken_off=self._is_interrupted) as connection:
                return question(connection)
        except DBAPIError as error:
            raise explain(error, self.path) from error

    async def was_committed(self, error: Any) -> bool:
        """Never called, because a commit always says how it ended."""
        raise AssertionError("the end of a commit is always known")

    def wait_for_server(self, *, is_wanted: bool) -> None:
        """There is no server to wait for."""

    async def explain(self, error: Exception) -> StoreError:
        """An error in the user's words."""
        return explain(error, self.path)

    def is_passing(self, error: Exception) -> bool:
        """Never: there is neither a lock nor a disk."""
        return False

    def check_writable(self) -> None:
        """Raise UsageError where the store is only read."""
        refuse_if_read_only(self)

    def interrupt(self) -> None:
        """Interrupt the long statements to come, until `allow_statements`: none is being executed meanwhile."""
        self._is_interrupted = True

    def allow_statements(self) -> None:
        """Let statements be executed again."""
        self._is_interrupted = False

    def fail_fast(self) -> None:
        """There is no lock to wait for."""

    def refuse_if_lost(self) -> None:
        """It cannot vanish."""

    async def rescue(self, spill: Spill) -> str:
        """It cannot vanish."""
        raise AssertionError("a store in memory is never lost")

    async def follow_clock(self, clock: Clock) -> None:
        """It has no clock of its own."""

    async def disk_free_bytes(self) -> None:
        """No disk limits it."""

    async def check_log(self, above: int, clock: Clock) -> tuple[int, str]:
        """There is no log."""
        return 0, ""

    async def reusable_bytes(self) -> int:
        """Nothing that could be given back."""
        return 0

    async def give_back_space(self) -> int:
        """There is no disk to give anything back to."""
        return 0

    async def back_up(self, target: Path | None, now: float) -> Backup:
        """Refused: there is no file to copy."""
        raise UsageError(f"{self.path}: a store in memory cannot be backed up; use one in a file")


@asynccontextmanager
async def open_memory_store(
    memory: Memory, clock: Clock, *, read_only: bool = False
) -> AsyncIterator[Store]:
    """Open what is in `memory` as a new worker, or only to read it; its commits are not paced.

    Several may be open at once in one event loop, as processes would be on a file; the content outlives
    them all. Raises UsageError on writes if `read_only`.
    """
    identity = None if read_only else _Identity()
    if identity is not None:
        memory.workers.add(identity.id)
    try:
        async with serving(MemoryDatabase(memory, identity), clock, commit_interval_s=0) as store:
            yield store
    finally:
        if identity is not None:
            memory.workers.discard(identity.id)
