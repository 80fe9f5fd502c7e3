"""The file of the ledger: made with mode 0600, of a known version, one transaction at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout
from sqlalchemy import URL, create_engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from engine.kinds import UsageError
from engine.sqlite.database_file import DatabaseFile
from jobs.serve.ledger.schema import VERSION, metadata

_ADVICE = {
    "not a database": "name another file as `ledger`",
    "disk is full": "make room on its disk",
    "disk I/O error": "see to its disk: whether there is room, and whether it is failing",
    "readonly": "let this user write it and its folder",
    "locked": "end what else has it open",
}
# "NSLG": what tells the file from other databases.
_APPLICATION_ID = 0x4E534C47
_BUSY_TIMEOUT_S = 30.0


class LedgerError(UsageError):
    """The ledger cannot be opened, read or written."""


class LedgerTooNew(LedgerError):
    """The ledger was written by a later version of Nightsweep; it is untouched."""


class LedgerFile:
    """The database of one service. `begin` gives one write transaction; blocking.

    Opening raises LedgerError, LedgerTooNew for a file of a later version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        _prepare(path)
        self._file = DatabaseFile(path)
        self._lock = FileLock(f"{path}.lock", mode=0o600)
        self._database = create_engine(
            URL.create("sqlite", database=str(path)),
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=0,
            connect_args={
                "timeout": _BUSY_TIMEOUT_S,
                "isolation_level": None,
                "check_same_thread": False,
            },
            # Questions and answers are among what a statement is given.
            hide_parameters=True,
        )
        event.listen(self._database, "connect", _connected)
        event.listen(self._database, "begin", _begun)
        try:
            self._migrate()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, and let another service have it."""
        self._database.dispose()
        self._lock.release()

    def claim(self) -> None:
        """Be the one service that works on this file; raises LedgerError when another one does.

        Commands that read or change keys do not need it.
        """
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise LedgerError(
                f"{self.path}: another `nightsweep serve` works on this ledger; stop it first, or"
                " give this one a `ledger` of its own"
            ) from None

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction: committed at the end of the block, rolled back if it raises."""
        self._refuse_if_lost()
        try:
            with self._database.begin() as connection:
                yield connection
        except DBAPIError as error:
            self._refuse_if_lost()
            raise LedgerError(f"{self.path}: {_advised(str(error.orig))}") from error
        self._file.remember()
        self._refuse_if_lost()

    def _refuse_if_lost(self) -> None:
        """Raise LedgerError where the file is another one by now: what is written would be lost with it."""
        if (loss := self._file.loss()) is not None:
            raise LedgerError(
                f"{self.path}: {loss.what} while the service had it open; put it back"
                f"{f' from {loss.now_at}' if loss.now_at else ''}, and start the service again"
            )

    def _migrate(self) -> None:
        with self.begin() as connection:
            kind = _pragma(connection, "application_id")
            version = _pragma(connection, "user_version")
            is_new = not connection.exec_driver_sql("SELECT 1 FROM sqlite_master").first()
            if not is_new and kind != _APPLICATION_ID:
                raise LedgerError(
                    f"{self.path}: is another database, not the ledger of a service; name another"
                    " file as `ledger`"
                )
            if version > VERSION:
                raise LedgerTooNew(
                    f"{self.path}: was written by a later version of Nightsweep (schema {version},"
                    f" this one knows up to {VERSION}); upgrade, or name another `ledger`"
                )
            if is_new:
                connection.exec_driver_sql(f"PRAGMA application_id = {_APPLICATION_ID}")
            if version < VERSION:
                # Later versions have more tables, and the same in those that were there before.
                metadata.create_all(connection)
                connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")


def _advised(problem: str) -> str:
    """What the database says, and what to do about it where that is known."""
    found = [advice for words, advice in _ADVICE.items() if words in problem]
    return "; ".join([problem, *found])


def _prepare(path: Path) -> None:
    try:
        # The mode counts where the file is made; SQLite gives its log the same.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise LedgerError(
            f"{path}: the ledger cannot be opened: {error.strerror}; name a file in a folder that"
            " exists and can be written"
        ) from None


def _connected(connection: DBAPIConnection, _entry: Any) -> None:
    cursor: Any = connection.cursor()
    # A file that is no database says so when it is first used: in a transaction, as a LedgerError.
    with suppress(Exception):
        cursor.execute("PRAGMA journal_mode = WAL")
        # A test that was charged, and a reply that was paid for, survive a power cut.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA journal_size_limit = 67108864")
    cursor.close()


def _begun(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _pragma(connection: Connection, name: str) -> int:
    return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
