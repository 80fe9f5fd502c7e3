"""Migrating a store to the schema of this version of the code.

A migration is one transaction, and safe when several processes open the store: a lock file lets one of them migrate
while the others wait. It is refused while a process of an earlier version works on the store, which would not notice
the change. A new store is created from the declared tables, without the revisions.
"""

import logging
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import URL, bindparam, create_engine, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from engine.core.errors import StoreError
from engine.core.listing import join_first
from engine.sqlite.connections import (
    BUSY_TIMEOUT_S,
    LOCK_POLL_S,
    begin_when_free,
    interrupt_when,
)
from engine.store.revisions import check_known, schema, upgrade
from engine.store.schema import HEAD
from engine.store.sqlite.liveness import FileLiveness
from engine.store.sqlite.location import explain
from engine.store.sqlite.source import is_cancelled

APPLICATION_ID = 0x4E_53_57_50
"""In the header of each store, because other programs also have a table `alembic_version`."""
logger = logging.getLogger(__name__)

_WORKERS = text(
    "SELECT host, pid, started_at FROM worker WHERE id IN :ids ORDER BY started_at"
).bindparams(bindparam("ids", expanding=True))


def migrate(path: Path, lock: Path) -> None:
    """Create the tables in an empty store, or migrate an older one.

    `lock` is the lock file of migrations, in the folder of the workers' locks. Raises StoreError for a store of a newer
    version, for an older one that a process is working on, and if the migration fails; the store is then unchanged.
    Blocking: call it in a thread.
    """
    try:
        if _revision(path) == HEAD:
            return
        waiting = FileLock(lock, mode=0o600)
        with waiting.acquire(timeout=BUSY_TIMEOUT_S, cancel_check=is_cancelled):
            found = _revision(path)
            if found is None:
                _create(path)
            elif found != HEAD:
                _upgrade(path, found, lock.parent)
                logger.info("%s: migrated from revision %s to %s", path, found, HEAD)
    except (sqlite3.Error, DBAPIError) as error:
        raise explain(error, path) from error
    except Timeout:
        raise StoreError(f"{path}: another process has been migrating it for too long") from None


def _revision(path: Path) -> str | None:
    with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as connection:
        return revision_of(connection, path)


def revision_of(connection: sqlite3.Connection, path: Path) -> str | None:
    """The store's revision; None without tables. Raises StoreError for the database of another program."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    [application] = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        if tables or application:
            raise StoreError(f"{path}: is a database of another program; name another file")
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else None


def _create(path: Path) -> None:
    with _transaction(path) as connection:
        for statement in schema(sqlite.dialect):
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql("INSERT INTO alembic_version (version_num) VALUES (?)", (HEAD,))


def _upgrade(path: Path, found: str, workers: Path) -> None:
    check_known(path, found)
    # Foreign keys are off on this connection (SQLite's default): a table may be rebuilt.
    with _transaction(path) as connection:
        _check_unused(connection, path, workers)
        upgrade(connection)
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise StoreError(
                f"{path}: migration would break {len(broken)} references; nothing changed"
            )


def _check_unused(connection: Connection, path: Path, workers: Path) -> None:
    """Raise StoreError if a process of an earlier version is working on the store."""
    # The locks decide: a stopped process that was declared dead may come back. Processes that wait for this
    # migration hold locks as well, but have no rows yet.
    ids = FileLiveness(workers, own_id="").alive()
    alive = connection.execute(_WORKERS, {"ids": ids}).all()
    if not alive:
        return
    processes = [
        f"process {row.pid} on {row.host} (since {datetime.fromtimestamp(row.started_at, UTC):%Y-%m-%d %H:%M} UTC)"
        for row in alive
    ]
    kill = shlex.join(["kill", "-INT", *(str(row.pid) for row in alive)])
    raise StoreError(
        f"{path}: an earlier version of Nightsweep is working on it, and two versions cannot share"
        f" a store: {join_first(processes)}; wait for its end, or stop it with `{kill}` (answers are kept), then"
        " run this again"
    )


@contextmanager
def _transaction(path: Path) -> Iterator[Connection]:
    """One write transaction on a store, which gets its application id and a write-ahead log."""
    with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as plain:
        plain.execute("PRAGMA journal_mode = WAL")
    database = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=NullPool,
        connect_args={"timeout": LOCK_POLL_S, "isolation_level": None},
        hide_parameters=True,
    )
    begin_when_free(database, BUSY_TIMEOUT_S, is_cancelled)
    interrupt_when(database, is_cancelled)
    with database.begin() as connection:
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
        yield connection
