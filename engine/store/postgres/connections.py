"""How connections to a PostgreSQL server are made: durable commits, plain numbers, a limit on waiting for locks."""

from collections.abc import Callable
from typing import Any, cast

import sqlalchemy
from psycopg import AsyncConnection, Connection
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.string import StrDumper
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool

from engine.core.addresses import ServerAddress
from engine.store.dialect import to_text

LOCK_TIMEOUT_S = 5.0
"""How long a statement waits for a lock before it fails."""
_CONNECTING = {
    "application_name": "nightsweep",
    "connect_timeout": "10",
    # A machine that has vanished is noticed within half a minute.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""Settings of libpq that apply unless the address has others."""
READERS = 4
"""The number of connections for reading."""
_URL = "postgresql+psycopg://"
_SETTINGS = (
    # An answer is acknowledged only once it would survive a power cut.
    "SET synchronous_commit = on",
    f"SET lock_timeout = '{LOCK_TIMEOUT_S:g}s'",
    # Compiling takes longer than any of these statements.
    "SET jit = off",
)


class _NumberLoader(Loader):
    """Loads sums of integers, which PostgreSQL returns as numeric, as Python's int."""

    def load(self, data: Buffer) -> float:
        text = bytes(data).decode("ascii")
        return int(text) if text.lstrip("-").isdigit() else float(text)


class _TextDumper(StrDumper):
    """Dumps a text without NUL characters, which PostgreSQL cannot store."""

    def dump(self, obj: str) -> Buffer | None:
        return super().dump(to_text(obj))


def _adapt(context: AdaptContext) -> None:
    adapters = context.adapters
    assert adapters is not None, "a connection has adapters"
    adapters.register_loader("numeric", _NumberLoader)
    adapters.register_dumper(str, _TextDumper)


def _conninfo(address: ServerAddress) -> str:
    given = conninfo_to_dict(address.url)
    more = {name: value for name, value in _CONNECTING.items() if name not in given}
    return make_conninfo(address.url, **more)


def connect(address: ServerAddress) -> Connection[Any]:
    """Open a connection; the caller closes it. Raises the driver's own errors."""
    connection = Connection.connect(_conninfo(address), autocommit=False)
    _adapt(connection)
    return connection


async def _connect_async(address: ServerAddress) -> AsyncConnection[Any]:
    connection = await AsyncConnection.connect(_conninfo(address), autocommit=False)
    _adapt(connection)
    return connection


def open_writer(address: ServerAddress, prepare: Callable[[Any], None]) -> Engine:
    """An engine with one connection; `prepare` is called with the cursor of each new one."""
    writer = create_engine(
        _URL,
        creator=lambda: connect(address),
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        hide_parameters=True,
    )
    _prepare_each(writer, prepare)
    return writer


def open_readers(address: ServerAddress, prepare: Callable[[Any], None]) -> AsyncEngine:
    """An engine with a few connections for reading, each transaction of which sees one snapshot."""
    readers = create_async_engine(
        _URL,
        async_creator=lambda: _connect_async(address),
        poolclass=AsyncAdaptedQueuePool,
        pool_size=READERS,
        max_overflow=0,
        pool_timeout=LOCK_TIMEOUT_S,
        hide_parameters=True,
    )
    _prepare_each(readers.sync_engine, prepare)

    @event.listens_for(readers.sync_engine, "begin")
    def begin_reading(connection: Any) -> None:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

    return readers


def _prepare_each(engine: Engine, prepare: Callable[[Any], None]) -> None:
    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for statement in _SETTINGS:
            cursor.execute(statement)
        prepare(cursor)
        cursor.close()
        connection.commit()


def driver_connection(connection: sqlalchemy.Connection) -> Connection[Any]:
    """The driver's connection behind one of SQLAlchemy of the writer."""
    return cast("Connection[Any]", connection.connection.driver_connection)


def discard_if_closed(connection: sqlalchemy.Connection) -> None:
    """Do not use a connection again that was cut.

    SQLAlchemy notices that only for statements that it executes itself: see `engine.store.dialect`.
    """
    if not connection.invalidated and driver_connection(connection).closed:
        connection.invalidate()
