"""The file of the ledger: private, of a known version, one transaction at a time."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout
from sqlalchemy import URL, create_engine
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from engine.core.errors import StoreError
from engine.sqlite.connections import BUSY_TIMEOUT_S, WAIT_S, begin_when_free, set_pragmas
from engine.sqlite.database_file import DatabaseFile
from engine.sqlite.errors import explain
from engine.sqlite.files import prepare
from engine.sqlite.purpose import Purpose
from jobs.serve.ledger.schema import VERSION, metadata

# "NSLG": what tells the file from other databases.
_APPLICATION_ID = 0x4E534C47
_CACHE_KIB = 16_384


class LedgerError(StoreError):
    """The ledger cannot be opened, read or written."""


class LedgerTooNew(LedgerError):
    """The ledger was written by a later version of Nightsweep; it is untouched."""


LEDGER = Purpose(
    name="ledger",
    title="the ledger of a service",
    chosen="with the setting `ledger`",
    afterwards="try again",
    error=LedgerError,
)


class LedgerFile:
    """The database of one service. `begin` gives one write transaction; blocking.

    Opening raises LedgerError, LedgerTooNew for a file of a later version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        prepare(path, LEDGER)
        self._file = DatabaseFile(path)
        self._lock = FileLock(f"{path}.lock", mode=0o600)
        self._database = create_engine(
            URL.create("sqlite", database=str(path)),
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=0,
            connect_args={"timeout": WAIT_S, "isolation_level": None, "check_same_thread": False},
            # Questions and answers are among what a statement is given.
            hide_parameters=True,
        )
        set_pragmas(self._database, cache_kib=_CACHE_KIB)
        begin_when_free(self._database, BUSY_TIMEOUT_S, lambda: False)
        try:
            _keep_log(path)
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
            raise explain(error, self.path, LEDGER) from error
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
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if version < VERSION:
                # Later versions have more tables, and the same in those that were there before.
                metadata.create_all(connection)
                connection.exec_driver_sql(f"PRAGMA application_id = {_APPLICATION_ID}")
                connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")


def _keep_log(path: Path) -> None:
    """Have the database keep a write-ahead log; raises LedgerError, with nothing changed, for one that is not ours."""
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as connection:
            _refuse_others(connection, path)
            connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.Error as error:
        raise explain(error, path, LEDGER) from error


def _refuse_others(connection: sqlite3.Connection, path: Path) -> None:
    [application] = connection.execute("PRAGMA application_id").fetchone()
    [version] = connection.execute("PRAGMA user_version").fetchone()
    has_tables = connection.execute("SELECT 1 FROM sqlite_schema").fetchone() is not None
    if application != _APPLICATION_ID and (has_tables or application):
        raise LedgerError(
            f"{path}: is another database, not the ledger of a service; name another file as `ledger`"
        )
    if version > VERSION:
        raise LedgerTooNew(
            f"{path}: was written by a later version of Nightsweep (schema {version}, this one knows"
            f" up to {VERSION}); upgrade, or name another `ledger`"
        )
