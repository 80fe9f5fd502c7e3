"""A database on a PostgreSQL server as that of a store: one connection for writing, several for reading.

A write transaction waits for those of all other workers, so that transactions are as serial as on SQLite. Each of
its statements sees what was committed before it (READ COMMITTED), which is all that was committed before the lock was
granted. A read sees one snapshot.

The writer runs whole transactions in a thread of its own; reads are asynchronous. Both use psycopg.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import anyio
import psycopg
from anyio import to_thread
from anyio.lowlevel import checkpoint_if_cancelled
from platformdirs import user_state_path
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from engine.clock import AnchoredClock, Clock, SystemClock
from engine.core.addresses import ServerAddress
from engine.core.errors import StoreError, UsageError
from engine.core.status import Backup
from engine.locations import Location
from engine.store.database import refuse_if_read_only
from engine.store.postgres.commits import CommitUnknown, StartedTransaction, was_committed
from engine.store.postgres.connections import (
    READERS,
    discard_if_closed,
    driver_connection,
    open_readers,
    open_writer,
)
from engine.store.postgres.errors import explain, is_connection_lost, is_passing
from engine.store.postgres.liveness import SessionIdentity, SessionLiveness
from engine.store.postgres.locks import LOCK_WORKER, LOCK_WRITING, key_of
from engine.store.spill import Spill

T = TypeVar("T")

_RETRY_INTERVAL_S = 1.0
_CLOCK_READINGS = 5
"""How often the server's clock is read at once; the reading of the shortest round trip counts."""


def side_files_folder(address: ServerAddress) -> Path:
    """The folder of this user for answers that cannot be committed to a database."""
    digest = blake2b(address.url.encode(), digest_size=8).hexdigest()
    return user_state_path("nightsweep") / "workers" / digest


class PostgresDatabase:
    """The connections of one process to one store; without an `identity`, it is only read."""

    is_lost = False
    has_clock = True

    def __init__(self, address: ServerAddress, identity: SessionIdentity | None) -> None:
        self.path: Location = address
        self._address = address
        self.identity = identity
        self.side_files: Path | None = None if identity is None else side_files_folder(address)
        self.is_failing_fast = False
        self._is_interrupted = False
        self._is_waiting_for_server = False
        self._is_closed = False
        self._thread = anyio.CapacityLimiter(1)
        self._writing: psycopg.Connection[Any] | None = None
        """The connection of the transaction that is running."""
        self._writer = open_writer(address, self._hold_lock)
        self._reader = open_readers(address, lambda _: None)
        self.liveness = SessionLiveness(identity, self.ask)

    def _hold_lock(self, cursor: Any) -> None:
        if self.identity is not None:
            cursor.execute(LOCK_WORKER, (key_of(self.identity.id),))

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a write transaction, in the writer's thread; returns its value after COMMIT."""
        self.check_writable()
        return await to_thread.run_sync(self._transact, work, limiter=self._thread)

    def _transact(self, work: Callable[[Connection], T]) -> T:
        if self._is_interrupted:
            raise StoreError(f"{self.path}: the transaction was interrupted")
        with self._begin_writing() as (connection, started):
            value = work(connection)
            try:
                connection.commit()
            except OperationalError as error:
                raise CommitUnknown(error, started) from error
        return value

    @contextmanager
    def _begin_writing(self) -> Iterator[tuple[Connection, StartedTransaction]]:
        """Begin a write transaction; it is rolled back unless the block commits it."""
        with ExitStack() as stack:
            connection, started = self._lock_writing(stack)
            try:
                yield connection, started
            finally:
                self._release(connection)

    def _lock_writing(self, stack: ExitStack) -> tuple[Connection, StartedTransaction]:
        for is_last in (False, True):
            connection = stack.enter_context(self._writer.connect())
            self._writing = driver_connection(connection)
            try:
                xid, process, _ = connection.exec_driver_sql(LOCK_WRITING).one()
                return connection, StartedTransaction(xid, process)
            except OperationalError as error:
                self._release(connection)
                connection.close()
                # A connection that was cut while it was idle is replaced: nothing was lost with it.
                if is_last or not is_connection_lost(error):
                    raise
            except BaseException:
                self._release(connection)
                raise
        raise AssertionError("the last try returns or raises")

    def _release(self, connection: Connection) -> None:
        self._writing = None
        discard_if_closed(connection)

    async def was_committed(self, error: CommitUnknown) -> bool:
        """Ask the server whether the transaction of this error was committed, after which that is settled.

        Raises the driver's own errors while the server cannot be asked, or does not know yet.
        """
        return await to_thread.run_sync(self._look_up, error.started, limiter=self._thread)

    def _look_up(self, started: StartedTransaction) -> bool:
        with self._writer.connect() as connection:
            try:
                return was_committed(connection, started)
            finally:
                discard_if_closed(connection)

    async def ask(self, question: Callable[[Connection], T]) -> T:
        """Answer one question from one snapshot.

        While a run is executed, it waits for a server that cannot be reached, as commits do.
        """
        tries = 0
        while True:
            await checkpoint_if_cancelled()
            if self._is_closed:
                raise StoreError(f"{self.path}: the store is closed")
            try:
                return await self._ask_once(question)
            except (DBAPIError, PoolTimeout) as error:
                is_lost = is_connection_lost(error)
                # Connections that were cut while they were idle are replaced.
                if is_lost and tries < READERS:
                    tries += 1
                    continue
                if not (self._is_waiting_for_server and is_passing(error)) or self.is_failing_fast:
                    raise explain(error, self._address) from error
            await SystemClock().sleep(_RETRY_INTERVAL_S)

    async def _ask_once(self, question: Callable[[Connection], T]) -> T:
        def answer(connection: Connection) -> T:
            try:
                return question(connection)
            finally:
                discard_if_closed(connection)

        # Shielded because it is short, and a cancelled connection would be closed by its driver.
        with anyio.CancelScope(shield=True):
            async with self._reader.begin() as connection:
                found = await connection.run_sync(answer)
        return found

    def wait_for_server(self, *, is_wanted: bool) -> None:
        """Set whether questions wait for a server that cannot be reached, instead of failing."""
        self._is_waiting_for_server = is_wanted

    async def explain(self, error: Exception) -> StoreError:
        """Translate an error into the user's words."""
        return explain(error, self._address)

    def is_passing(self, error: Exception) -> bool:
        """Whether an error may go away by itself, such as a lost connection or a full disk."""
        return is_passing(error)

    def check_writable(self) -> None:
        """Raise UsageError if the store is only read."""
        refuse_if_read_only(self)

    def interrupt(self) -> None:
        """Cancel the running statement of the writer, and refuse all further ones until `allow_statements`."""
        self._is_interrupted = True
        if (writing := self._writing) is not None:
            writing.cancel()

    def allow_statements(self) -> None:
        """Allow statements again after `interrupt`."""
        self._is_interrupted = False

    def fail_fast(self) -> None:
        """Stop waiting for a server that cannot be reached: transactions fail at once."""
        self.is_failing_fast = True

    async def close(self) -> None:
        """Close every connection, and open no more."""
        self._is_closed = True
        await self._reader.dispose()
        await to_thread.run_sync(self._writer.dispose, limiter=self._thread)

    async def follow_clock(self, clock: Clock) -> None:
        """Make a clock show the server's time, which all workers share.

        The error is at most half of the shortest of a few round trips.
        """
        if not isinstance(clock, AnchoredClock):
            return
        readings = [await self._read_clock(clock) for _ in range(_CLOCK_READINGS)]
        _, ahead_s = min(readings)
        clock.follow(clock.offset_s + ahead_s)

    async def _read_clock(self, clock: Clock) -> tuple[float, float]:
        """How long a reading of the server's clock took, and by how many seconds that clock is ahead."""

        def read(connection: Connection) -> tuple[float, float]:
            sent = clock.now()
            found = connection.exec_driver_sql(
                "SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)"
            )
            time, received = float(found.scalar_one()), clock.now()
            return received - sent, time - (sent + received) / 2

        return await self.ask(read)

    # What only a file has

    def refuse_if_lost(self) -> None:
        """A database on a server does not vanish: the server says that it is not there."""

    async def rescue(self, spill: Spill) -> str:
        """Never called, because the store is never lost."""
        raise AssertionError("a store on a server is never lost")

    async def disk_free_bytes(self) -> None:
        """Unknown: the server's disk."""

    async def check_log(self, above: int, clock: Clock) -> tuple[int, str]:
        """The server keeps its log itself."""
        return 0, ""

    async def reusable_bytes(self) -> int:
        """Unknown: the server's autovacuum sees to it."""
        return 0

    async def give_back_space(self) -> int:
        """The server's autovacuum makes the space of deleted rows usable again."""
        return 0

    async def back_up(self, target: Path | None, now: float) -> Backup:
        """Refused: the server's own tools back a database up."""
        raise UsageError(f"{self.path}: a store on a server is backed up with pg_dump")
