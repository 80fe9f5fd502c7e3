"""What the store needs from a database: write transactions, consistent reads, and errors in words.

The statements are functions of a SQLAlchemy `Connection`. Changes are run by `transact`, questions by `ask`; the
statements do not depend on whether that happens in a thread, through an asynchronous driver, or in the event loop.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy.engine import Connection

from engine.clock import Clock
from engine.core.errors import StoreError, UsageError
from engine.core.status import Backup
from engine.locations import Location
from engine.store.spill import Spill

T = TypeVar("T")

LOG_MAX_BYTES = 256 * 1024 * 1024
"""The size above which a database's log is too large to be caused by a busy minute."""


class Identity(Protocol):
    """The worker that one opening of a store by one process is."""

    id: str
    host: str
    pid: int
    is_registered: bool
    """Whether the store has this worker's row, without its end."""


class Liveness(Protocol):
    """Detects which of the other workers are dead."""

    async def look(self) -> None:
        """Look up which workers are there, if that takes a question; the other methods answer as of the last look.

        Look after the ids were read. Raises StoreError if the store cannot be read.
        """
        ...

    def look_within(self, connection: Connection) -> None:
        """Look as `look` does, within a transaction."""
        ...

    def is_dead(self, worker_id: str, heartbeat_at: float, now: float) -> bool:
        """Whether a worker's jobs may be reclaimed: it has ended, or its heartbeat has not changed for too long."""
        ...

    def has_gone(self, worker_id: str) -> bool:
        """Whether a worker has surely ended, regardless of its heartbeat."""
        ...

    async def find_ended(self, worker_ids: Sequence[str]) -> list[str]:
        """Those of these workers that have surely ended, in any order; there may be very many.

        A worker that may have ended, without proof, is left out, however old its heartbeat.
        """
        ...

    def forget(self, worker_id: str) -> None:
        """Remove the files that a dead worker left behind."""
        ...


class UnknownCommit(Exception):
    """A commit whose answer was lost: only the database knows whether it was made."""


class Database(Protocol):
    """The database of one open store, within one process."""

    @property
    def path(self) -> Location:
        """Where the store is, as messages and commands show it."""
        ...

    @property
    def identity(self) -> Identity | None:
        """This process among the workers of the store; None if the store is only read."""
        ...

    @property
    def liveness(self) -> Liveness:
        """Detects which of the other workers are dead."""
        ...

    @property
    def side_files(self) -> Path | None:
        """The folder for answers that cannot be committed; None if nothing outlives the process."""
        ...

    # Transactions

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a write transaction; returns its value once that is committed and durable.

        An exception from `work` rolls the transaction back. The writer awaits each transaction before it begins the
        next. Raises the driver's own errors, for `explain` and `is_passing`; one of them that is an UnknownCommit
        if only the server knows whether the transaction was committed; StoreLost if the store has vanished;
        UsageError if it is only read.
        """
        ...

    async def ask(self, question: Callable[[Connection], T]) -> T:
        """Run `question` in a read transaction and return its answer, which comes from one snapshot.

        `question` may be run again if the snapshot was disturbed, so it must not have side effects; keep it short.
        Questions may run concurrently. Raises StoreError if the database cannot be read.
        """
        ...

    async def was_committed(self, error: Any) -> bool:
        """Whether the transaction behind an UnknownCommit, which `transact` raised, was committed.

        Once it has returned, that does not change. Raises the driver's own errors while that cannot be told.
        """
        ...

    def wait_for_server(self, *, is_wanted: bool) -> None:
        """Set whether questions wait for a server that cannot be reached, without limit, instead of failing."""
        ...

    async def explain(self, error: Exception) -> StoreError:
        """Translate an error of the driver into the user's words, with the store's name and what to do.

        The StoreError is returned, not raised.
        """
        ...

    def is_passing(self, error: Exception) -> bool:
        """Whether an error may go away by itself, such as a lock or a full disk.

        The transaction is then retried.
        """
        ...

    def check_writable(self) -> None:
        """Raise UsageError if the store is only read."""
        ...

    def interrupt(self) -> None:
        """Interrupt the running statements, and all further ones until `allow_statements`."""
        ...

    def allow_statements(self) -> None:
        """Allow statements again after `interrupt`."""
        ...

    @property
    def is_failing_fast(self) -> bool:
        """Whether transactions fail at once when another process holds a lock."""
        ...

    def fail_fast(self) -> None:
        """Stop waiting for locks of other processes: from now on transactions fail at once."""
        ...

    @property
    def has_clock(self) -> bool:
        """Whether the database's server has a clock of its own, which all workers follow.

        Without one, the workers of the store agree on a time: see `engine.store.queries.clocks`.
        """
        ...

    async def follow_clock(self, clock: Clock) -> None:
        """Make a clock show the time of the database's server, if that has a clock of its own."""
        ...

    # A store that vanishes while it is open

    @property
    def is_lost(self) -> bool:
        """Whether the store is no longer the one that was opened. That is permanent."""
        ...

    def refuse_if_lost(self) -> None:
        """Raise StoreLost if the store is no longer the one that was opened."""
        ...

    async def rescue(self, spill: Spill) -> str:
        """Save the content of a lost store and find a place for the side file.

        Returns what happened and what to do, in words.
        """
        ...

    # Its disk

    async def disk_free_bytes(self) -> int | None:
        """Free space for the store in bytes; None if the disk does not limit it."""
        ...

    async def check_log(self, above: int, clock: Clock) -> tuple[int, str]:
        """The size of the database's log in bytes and, if it is `above` a limit, which processes cause that, in words.

        The words are empty below the limit, and the size is 0 for a database without a log.
        """
        ...

    async def reusable_bytes(self) -> int:
        """Space within the database, in bytes, that new rows can use."""
        ...

    async def give_back_space(self) -> int:
        """Return unused space within the database to the disk; returns how many bytes.

        Call it while no transaction is running and no other process uses the store.
        """
        ...

    async def back_up(self, target: Path | None, now: float) -> Backup:
        """Copy the store to a new file; see `engine.store.Store.back_up`."""
        ...


def refuse_if_read_only(database: Database) -> None:
    """Raise UsageError if a store was opened only for reading."""
    if database.identity is None:
        raise UsageError(
            f"{database.path}: was opened with read_only=True; open it without to change it"
        )
