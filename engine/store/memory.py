"""A store in memory: the statements of every store, run in the event loop without a thread or a file.

It is gone with its `Memory`. Until then it may be opened many times, each time by another worker.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from os import getpid
from pathlib import Path
from socket import gethostname
from typing import TypeVar
from uuid import uuid4

from anyio.lowlevel import checkpoint
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from engine.clock import Clock
from engine.core.errors import StoreError, UsageError
from engine.core.status import Backup
from engine.sqlite.connections import break_off_when
from engine.store.spill import Spill
from engine.store.sqlite.location import explain
from engine.store.sqlite.migrate import schema
from engine.store.store import Store, serving

T = TypeVar("T")


class Memory:
    """What is stored: it outlives its openings, and no process."""

    def __init__(self) -> None:
        self.workers: set[str] = set()
        """The workers that are there."""
        self.is_broken_off = False
        self._engine = create_engine(
            "sqlite://",
            poolclass=StaticPool,
            connect_args={"isolation_level": None, "check_same_thread": False},
            hide_parameters=True,
        )
        break_off_when(self._engine, lambda: self.is_broken_off)
        event.listen(self._engine, "begin", _begin)
        self.connection = self._engine.connect()
        with self.connection.begin():
            for statement in schema():
                self.connection.exec_driver_sql(statement)
        driver = self.connection.connection.driver_connection
        assert driver is not None, "it has just been used"
        # Within a transaction the pragma would do nothing.
        driver.execute("PRAGMA foreign_keys = ON")

    def close(self) -> None:
        """Forget everything."""
        self.connection.close()
        self._engine.dispose()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


class _Identity:
    def __init__(self) -> None:
        self.id = uuid4().hex
        self.host = gethostname()
        self.pid = getpid()
        self.is_missed = False


class _Liveness:
    """All workers are in this process: each is there until its opening ends."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def is_dead(self, worker_id: str, heartbeat_at: float, now: float) -> bool:
        """Whether a worker has ended: its event loop is this one, so its heart cannot stand still alone."""
        return self.has_gone(worker_id)

    def has_gone(self, worker_id: str) -> bool:
        """Whether a worker has ended."""
        return worker_id not in self._memory.workers

    def forget(self, worker_id: str) -> None:
        """Nothing is left behind."""


class MemoryDatabase:
    """One opening of a memory."""

    path = Path("memory")
    side_files = None
    is_hurried = False
    is_lost = False

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.identity = _Identity()
        self.liveness = _Liveness(memory)

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction; its value, after COMMIT."""
        await checkpoint()
        with self._memory.connection.begin():
            return work(self._memory.connection)

    async def ask(self, question: Callable[[Connection], T]) -> T:
        """The answer to one question: nothing changes meanwhile."""
        await checkpoint()
        try:
            with self._memory.connection.begin():
                return question(self._memory.connection)
        except DBAPIError as error:
            raise explain(error, self.path) from error

    async def explain(self, error: Exception) -> StoreError:
        """An error in the user's words."""
        return explain(error, self.path)

    def is_passing(self, error: Exception) -> bool:
        """Never: there is neither a lock nor a disk."""
        return False

    def check_writable(self) -> None:
        """It is."""

    def break_off(self) -> None:
        """End the statements to come, until `go_on`."""
        self._memory.is_broken_off = True

    def go_on(self) -> None:
        """Let statements be executed again."""
        self._memory.is_broken_off = False

    def hurry(self) -> None:
        """There is no lock to wait for."""

    def refuse_if_lost(self) -> None:
        """It cannot vanish."""

    async def rescue(self, spill: Spill) -> str:
        """It cannot vanish."""
        raise AssertionError("a store in memory is never lost")

    async def disk_free_bytes(self) -> None:
        """No disk limits it."""

    async def log_held(self, above: int, clock: Clock) -> tuple[int, str]:
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
async def open_memory_store(memory: Memory, clock: Clock) -> AsyncIterator[Store]:
    """Open what is in `memory` as a new worker; its commits are not paced."""
    database = MemoryDatabase(memory)
    memory.workers.add(database.identity.id)
    try:
        async with serving(database, clock, commit_interval_s=0) as store:
            yield store
    finally:
        memory.workers.discard(database.identity.id)
