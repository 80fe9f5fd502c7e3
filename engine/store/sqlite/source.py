"""The file from which a store is read without writing to it: its own, or a private copy.

SQLite reads a database whose latest commits are in a log (`-wal`) through shared memory (`-shm`), which must exist or
be created: https://www.sqlite.org/wal.html#readonly. A store without a log is completely in its one file and is opened
as `immutable`: nothing is written, locked or waited for, so a full disk, a read-only medium or missing permissions do
not matter. After each read, it is checked that the file has not changed because a process began to work on it.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from anyio.from_thread import check_cancelled

from engine.core.errors import StoreError
from engine.store.sqlite.readers import log_bytes

READ_TIMEOUT_S = 5.0
"""How long a reader waits for another process that recovers a log."""
PAGES_AT_ONCE = 1024
"""The number of pages that are copied between two checks whether the copy was cancelled."""
TRIES = 3
"""How often a file is read if it is written meanwhile."""


@dataclass(frozen=True, slots=True)
class FileState:
    """Values of which at least one changes when a file is written or replaced."""

    device: int
    inode: int
    size: int
    changed_ns: int


class ChangedMeanwhile(StoreError):
    """A file that was read as immutable was written, so what was read is invalid."""


@dataclass(frozen=True, slots=True)
class Source:
    """The file that is read, with links resolved."""

    path: Path

    def address(self) -> tuple[str, FileState | None]:
        """The URI for a new connection, and the state of the file if it is opened as immutable."""
        uri = f"{self.path.as_uri()}?mode=ro"
        state = state_of(self.path)
        if log_bytes(self.path) == 0:
            return f"{uri}&immutable=1", state
        return uri, None

    def is_current(self, state: FileState | None) -> bool:
        """Whether a connection that was opened in this state still shows the latest commits."""
        return state is None or (log_bytes(self.path) == 0 and state_of(self.path) == state)

    def is_unchanged(self, state: FileState | None) -> bool:
        """Whether what such a connection has read so far is consistent."""
        return state is None or state_of(self.path) == state

    def change_error(self) -> ChangedMeanwhile:
        """The error for a file that has changed."""
        return ChangedMeanwhile(f"{self.path}: was written while it was read; try again")

    def copy_into(self, target: sqlite3.Connection) -> None:
        """Copy the pages of one snapshot. Blocks in a thread of anyio, and ends when that is cancelled."""
        for _ in range(TRIES):
            address, state = self.address()
            with closing(connect(address)) as connection:
                # Within a read transaction, commits of other processes do not restart the copy.
                connection.execute("BEGIN")
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
                connection.backup(
                    target, pages=PAGES_AT_ONCE, progress=lambda *_: check_cancelled()
                )
            if self.is_unchanged(state):
                return
        raise self.change_error()


def is_cancelled() -> bool:
    """Whether the task that waits for this thread was cancelled; False in a thread that is not anyio's."""
    try:
        check_cancelled()
    except RuntimeError:
        return False
    except BaseException:  # The event loop's cancellation, of whatever class.
        return True
    return False


def connect(address: str) -> sqlite3.Connection:
    """Connect to the URI of a source. Blocking."""
    return sqlite3.connect(address, uri=True, timeout=READ_TIMEOUT_S, isolation_level=None)


def state_of(file: Path) -> FileState:
    """The state of a file; raises StoreError if it cannot be accessed."""
    try:
        found = file.stat()
    except OSError as error:
        raise StoreError(f"{file}: cannot be accessed: {error.strerror}") from error
    return FileState(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
