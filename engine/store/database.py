"""What the store needs of a database: write transactions, consistent reads, and errors in words.

The statements are functions of a SQLAlchemy `Connection`, whatever database answers them: a change is run by
`transact`, a question by `ask`. They do not depend on whether that happens in a thread, through an asynchronous
driver, or in the event loop.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy.engine import Connection

from engine.clock import Clock
from engine.core.errors import StoreError
from engine.core.status import Backup
from engine.store.spill import Spill

T = TypeVar("T")

LOG_MAX_BYTES = 256 * 1024 * 1024
"""A database's log of this size is no longer a matter of a busy minute."""


class Identity(Protocol):
    """One opening of a store by one process: the worker that its rows name."""

    id: str
    host: str
    pid: int
    is_missed: bool
    """Whether the store tells of this worker as one that is there."""


class Liveness(Protocol):
    """Tells dead workers from live ones, as one of them sees the others."""

    def is_dead(self, worker_id: str, heartbeat_at: float, now: float) -> bool:
        """Whether a worker's jobs may be taken: it has gone, or its heart stood still too long."""
        ...

    def has_gone(self, worker_id: str) -> bool:
        """Whether a worker has ended, whatever its last heartbeat."""
        ...

    async def find_ended(self, worker_ids: Sequence[str]) -> list[str]:
        """Those of these workers that have ended; there may be very many."""
        ...

    def forget(self, worker_id: str) -> None:
        """Remove what a dead worker left behind."""
        ...


class Database(Protocol):
    """The database of one open store, as one process has it."""

    @property
    def path(self) -> Path:
        """The store as messages and commands name it."""
        ...

    @property
    def identity(self) -> Identity | None:
        """This process among the workers of the store; None where the store is only read."""
        ...

    @property
    def liveness(self) -> Liveness:
        """Which of the other workers live."""
        ...

    @property
    def side_files(self) -> Path | None:
        """The folder for what cannot be committed; None where nothing outlives the process."""
        ...

    # Transactions

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a write transaction; its value, once that is committed and durable.

        What `work` raises rolls the transaction back. Transactions are not begun side by side: the writer awaits
        each before the next. Raises the driver's errors as they are, for `explain` and `is_passing`; StoreLost where
        the store has vanished; UsageError where it is only read.
        """
        ...

    async def ask(self, question: Callable[[Connection], T]) -> T:
        """Run `question` in a read transaction; its answer, from one snapshot.

        It may be run again where the snapshot was disturbed, so it changes nothing outside. Keep it short. Many may
        be asked at once. Raises StoreError where the database cannot be read.
        """
        ...

    async def explain(self, error: Exception) -> StoreError:
        """An error of the driver's in the user's words, with what to do."""
        ...

    def is_passing(self, error: Exception) -> bool:
        """Whether an error may go away by itself, so that the same transaction is worth another try."""
        ...

    def check_writable(self) -> None:
        """Raise UsageError where the store is only read."""
        ...

    def interrupt(self) -> None:
        """End the statements that are being executed, and those to come, until `allow_statements`."""
        ...

    def allow_statements(self) -> None:
        """Let statements be executed again."""
        ...

    @property
    def is_hurried(self) -> bool:
        """Whether a lock that somebody else holds is not waited for any more."""
        ...

    def hurry(self) -> None:
        """Wait for no lock that somebody else holds any more."""
        ...

    # A store that vanishes while it is open

    @property
    def is_lost(self) -> bool:
        """Whether the store is no longer the one that was opened. That is never taken back."""
        ...

    def refuse_if_lost(self) -> None:
        """Raise StoreLost where the store is no longer the one that was opened."""
        ...

    async def rescue(self, spill: Spill) -> str:
        """Keep what a lost store holds, and find a place for the side file; what happened and what to do, in words."""
        ...

    # Its disk

    async def disk_free_bytes(self) -> int | None:
        """How much room is left for the store; None where that does not limit it."""
        ...

    async def check_log(self, above: int, clock: Clock) -> tuple[int, str]:
        """How large the database's log is and, where that is above a limit, who keeps it so in words."""
        ...

    async def reusable_bytes(self) -> int:
        """How much of the space that the database takes new rows can use."""
        ...

    async def give_back_space(self) -> int:
        """Give the space that new rows could use back to the disk; returns how many bytes that were.

        To be called while no transaction is under way and no other process works on the store.
        """
        ...

    async def back_up(self, target: Path | None, now: float) -> Backup:
        """Copy the store as it is to a new file, `target` or one beside it; see `engine.store.Store.back_up`."""
        ...
