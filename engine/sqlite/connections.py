"""What the connections to every database of this project have in common."""

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
WAIT_S = 0.25
"""After so long it is looked whether the lock is still wanted."""
LOOK_EVERY = 1_000_000
"""After so many of SQLite's instructions, some hundredths of a second."""


def set_pragmas(database: Engine, *, cache_kib: int) -> None:
    """Have each connection commit durably, check references, and cache at most `cache_kib` KiB of pages."""

    @event.listens_for(database, "connect")
    def prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor: Any = connection.cursor()
        # An answer is acknowledged only when it would survive a power cut.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA cache_size = -{cache_kib}")
        cursor.execute("PRAGMA temp_store = MEMORY")
        cursor.execute("PRAGMA journal_size_limit = 67108864")
        cursor.close()


def break_off_when(database: Engine, is_over: Callable[[], bool]) -> None:
    """Have each statement look now and then whether it is still wanted."""

    @event.listens_for(database, "connect")
    def watch(connection: Any, _entry: ConnectionPoolEntry) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.set_progress_handler(is_over, LOOK_EVERY)
        else:
            connection.run_async(lambda driver: driver.set_progress_handler(is_over, LOOK_EVERY))


def begin_when_free(database: Engine, timeout_s: float, is_over: Callable[[], bool]) -> None:
    """Have each transaction take the write lock as it begins, and wait for it as long as it is wanted.

    SQLite itself waits for as long as the connection says, whatever happens meanwhile.
    """

    @event.listens_for(database, "begin")
    def begin(connection: Connection) -> None:
        for _ in range(int(timeout_s / WAIT_S) - 1):
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            except OperationalError as error:
                if is_over() or not is_busy(error):
                    raise
            else:
                return
        connection.exec_driver_sql("BEGIN IMMEDIATE")
