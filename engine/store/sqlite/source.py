"""Where a store is read from that is only looked at: its file as it is, or a private copy of it.

SQLite reads a database whose latest commits are in a log (`-wal`) through shared memory (`-shm`), which
must be there or be made: https://www.sqlite.org/wal.html#readonly. A store without such a log is all in
its one file and is read as an unchanging one (`immutable`): nothing is written, locked or waited for, so
that a full disk, a read-only medium or missing rights do not matter. That the file did not change
after all, as somebody began to work on it, is checked when the reading is over.
"""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from anyio.from_thread import check_cancelled

from engine.core.errors import StoreError
from engine.store.sqlite.readers import log_bytes

READ_TIMEOUT_S = 5.0
"""How long a reader waits for another process that puts a log in order."""
PAGES_AT_ONCE = 1024
"""After so many pages it is looked whether a copy is still wanted."""
TRIES = 3
"""How often a file that was written meanwhile is read again."""


@dataclass(frozen=True, slots=True)
class FileState:
    """What tells that a file was written or replaced."""

    device: int
    inode: int
    size: int
    changed_ns: int


class ChangedMeanwhile(StoreError):
    """A file that was read as an unchanging one was written: what was read is worth nothing."""


@dataclass(frozen=True, slots=True)
class Source:
    """The file that is read, whatever links lead to it."""

    path: Path

    def address(self) -> tuple[str, FileState | None]:
        """The URI for a new connection, with the state of the file where it is taken to be unchanging."""
        uri = f"{self.path.as_uri()}?mode=ro"
        state = state_of(self.path)
        if log_bytes(self.path) == 0:
            return f"{uri}&immutable=1", state
        return uri, None

    def is_current(self, state: FileState | None) -> bool:
        """Whether a connection that was made in this state still shows the latest commits."""
        return state is None or (log_bytes(self.path) == 0 and state_of(self.path) == state)

    def is_unchanged(self, state: FileState | None) -> bool:
        """Whether what such a connection has read up to now is of one moment."""
        return state is None or state_of(self.path) == state

    def changed_error(self) -> ChangedMeanwhile:
        """What to raise where it is not."""
        return ChangedMeanwhile(f"{self.path}: was written while it was read; try again")

    def copy_into(self, target: sqlite3.Connection) -> None:
        """Copy one snapshot of the pages. Blocking, in a thread of anyio's: it ends when cancelled."""
        for _ in range(TRIES):
            address, state = self.address()
            with closing(connect(address)) as connection:
                # Within a read transaction what others commit meanwhile does not make it begin anew.
                connection.execute("BEGIN")
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
                connection.backup(
                    target, pages=PAGES_AT_ONCE, progress=lambda *_: check_cancelled()
                )
            if self.is_unchanged(state):
                return
        raise self.changed_error()


def is_cancelled() -> bool:
    """Whether whoever waits for this thread was cancelled; False in a thread that is not anyio's."""
    try:
        check_cancelled()
    except RuntimeError:
        return False
    except BaseException:  # whatever the event loop's cancellation is
        return True
    return False


def connect(address: str) -> sqlite3.Connection:
    """A connection to such an address. Blocking."""
    return sqlite3.connect(address, uri=True, timeout=READ_TIMEOUT_S, isolation_level=None)


def state_of(file: Path) -> FileState:
    """The state of a file; raises StoreError where there is none any more."""
    try:
        found = file.stat()
    except OSError as error:
        raise StoreError(f"{file}: cannot be accessed: {error.strerror}") from error
    return FileState(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
