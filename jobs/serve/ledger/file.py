"""The ledger's file: private, of a known version, one transaction at a time."""

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
from engine.sqlite.connections import BUSY_TIMEOUT_S, LOCK_POLL_S, begin_when_free, set_pragmas
from engine.sqlite.database_file import DatabaseFile
from engine.sqlite.errors import explain
from engine.sqlite.files import prepare
from engine.sqlite.purpose import Purpose
from jobs.serve.ledger.schema import VERSION, metadata

# "NSLG". It distinguishes a ledger from other databases.
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
    """The database of one service, opened, created or migrated. All methods block.

    Raises LedgerError if the file cannot be opened, and LedgerTooNew if a later version wrote it.
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
            connect_args={
                "timeout": LOCK_POLL_S,
                "isolation_level": None,
                "check_same_thread": False,
            },
            # Statement parameters hold questions and model output; keep them out of errors.
            hide_parameters=True,
        )
        set_pragmas(self._database, cache_kib=_CACHE_KIB)
        begin_when_free(self._database, BUSY_TIMEOUT_S, lambda: False)
        try:
            _use_write_ahead_log(path)
            self._migrate()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and release the claim on it."""
        self._database.dispose()
        self._lock.release()

    def claim(self) -> None:
        """Claim the file for this service. Raises LedgerError if another service has claimed it.

        Commands that read or change keys do not need a claim.
        """
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise LedgerError(
                f"{self.path}: another `nightsweep serve` is using this ledger; stop it first, or"
                " configure another `ledger` for this one"
            ) from None

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A write transaction: committed at the end of the block, rolled back if the block raises."""
        self._require_same_file()
        try:
            with self._database.begin() as connection:
                yield connection
        except DBAPIError as error:
            self._require_same_file()
            raise explain(error, self.path, LEDGER) from error
        self._file.remember()
        self._require_same_file()

    def _require_same_file(self) -> None:
        """Raise LedgerError if the file was moved or replaced: what is written to it would be lost."""
        if (loss := self._file.loss()) is not None:
            raise LedgerError(
                f"{self.path}: {loss.what} while the service had it open; put it back"
                f"{f' from {loss.now_at}' if loss.now_at else ''}, and start the service again"
            )

    def _migrate(self) -> None:
        with self.begin() as connection:
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if version < VERSION:
                # Later versions have added tables and changed none.
                metadata.create_all(connection)
                connection.exec_driver_sql(f"PRAGMA application_id = {_APPLICATION_ID}")
                connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")


def _use_write_ahead_log(path: Path) -> None:
    """Switch the database to a write-ahead log. Raises LedgerError, and changes nothing, if it is not a ledger."""
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as connection:
            _require_ledger(connection, path)
            connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.Error as error:
        raise explain(error, path, LEDGER) from error


def _require_ledger(connection: sqlite3.Connection, path: Path) -> None:
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
