"""Preparing the connections to a store's file: read-only access, snapshots, and refusing a replaced file."""

from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from engine.core.errors import StoreLost
from engine.sqlite.database_file import DatabaseFile
from engine.store.sqlite.source import READ_TIMEOUT_S, Source

STATE = "state of the file"
"""The key under which a connection's info holds the state of the file that it reads."""


def refuse_if_lost(file: DatabaseFile) -> None:
    """Raise StoreLost if a store is no longer the file that was opened."""
    if (loss := file.loss()) is not None:
        raise StoreLost(f"{file.path}: {loss.what} while this process worked on it")


def refuse_others(file: DatabaseFile, database: Engine) -> None:
    """Refuse new connections if another file has taken the place of a store."""

    @event.listens_for(database, "connect")
    def check(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        if file.loss() is not None:
            connection.close()
            refuse_if_lost(file)


def begin_reading(connection: Connection) -> None:
    """Begin a read transaction, whose snapshot begins with its first statement."""
    connection.exec_driver_sql("BEGIN")


def read_from(source: Source, database: Engine) -> None:
    """Open each connection read-only, and replace it once it shows an old state of the file."""

    @event.listens_for(database, "do_connect")
    def address(
        _dialect: Dialect, entry: ConnectionPoolEntry, arguments: list[Any], options: dict[str, Any]
    ) -> None:
        arguments[0], entry.info[STATE] = source.address()
        options.update(uri=True, timeout=READ_TIMEOUT_S)

    @event.listens_for(database, "checkout")
    def check(
        _connection: DBAPIConnection, entry: ConnectionPoolEntry, _proxy: PoolProxiedConnection
    ) -> None:
        if not source.is_current(entry.info[STATE]):
            raise DisconnectionError
