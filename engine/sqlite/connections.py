"""Settings that the connections to every database of this project share."""

import sqlite3
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from engine.sqlite.errors import is_busy

BUSY_TIMEOUT_S = 30.0
LOCK_POLL_S = 0.25
"""How long SQLite waits for a lock before the caller checks whether it is still wanted."""
PROGRESS_INSTRUCTIONS = 1_000_000
"""SQLite instructions between two calls of a progress handler; they take some hundredths of a second."""


def set_pragmas(database: Engine, *, cache_kib: int) -> None:
    """Make each connection commit durably, check foreign keys, and cache at most `cache_kib` KiB of pages."""

    @event.listens_for(database, "connect")
    def prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor: Any = connection.cursor()
        # An answer is acknowledged only once it would survive a power cut.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA cache_size = -{cache_kib}")
        cursor.execute("PRAGMA temp_store = MEMORY")
        cursor.execute("PRAGMA journal_size_limit = 67108864")
        cursor.close()


def interrupt_when(database: Engine, is_over: Callable[[], bool]) -> None:
    """Interrupt the statements of each connection once `is_over` returns True; it is called regularly."""

    @event.listens_for(database, "connect")
    def watch(connection: Any, _entry: ConnectionPoolEntry) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.set_progress_handler(is_over, PROGRESS_INSTRUCTIONS)
        else:
            connection.run_async(
                lambda driver: driver.set_progress_handler(is_over, PROGRESS_INSTRUCTIONS)
            )


def begin_when_free(database: Engine, timeout_s: float, is_over: Callable[[], bool]) -> None:
    """Make each transaction begin with the write lock, waiting up to `timeout_s` for it or until `is_over`.

    SQLite's own busy handler cannot be cancelled, so connections have a timeout of LOCK_POLL_S and this
    retries.
    """

    @event.listens_for(database, "begin")
    def begin(connection: Connection) -> None:
        for _ in range(int(timeout_s / LOCK_POLL_S) - 1):
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            except OperationalError as error:
                if is_over() or not is_busy(error):
                    raise
            else:
                return
        connection.exec_driver_sql("BEGIN IMMEDIATE")
