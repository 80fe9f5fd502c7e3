"""Opening a store on a server as a worker, which may create and migrate it, or for reading only."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import anyio
import psycopg
from anyio.lowlevel import checkpoint_if_cancelled

from engine.core.addresses import ServerAddress
from engine.core.errors import StoreError
from engine.store.postgres.connections import connect
from engine.store.postgres.database import PostgresDatabase, side_files_folder
from engine.store.postgres.errors import explain
from engine.store.postgres.liveness import SessionIdentity
from engine.store.postgres.migrate import migrate, read_revision
from engine.store.revisions import check_known
from engine.store.schema import HEAD


@asynccontextmanager
async def open_database(address: ServerAddress) -> AsyncIterator[PostgresDatabase]:
    """Open the store at `address` as a new worker, creating and migrating it as needed.

    Raises StoreError, with what to do, when it cannot be opened.
    """
    try:
        await anyio.to_thread.run_sync(migrate, address)
        side_files_folder(address).mkdir(mode=0o700, parents=True, exist_ok=True)
    except StoreError:
        # If the migration failed because this was cancelled, raise the cancellation.
        await checkpoint_if_cancelled()
        raise
    except OSError as error:
        raise StoreError(
            f"{side_files_folder(address)}: cannot create the folder for answers that cannot be committed"
            f" ({error.strerror or error})"
        ) from None
    identity = SessionIdentity()
    try:
        async with _closing(PostgresDatabase(address, identity)) as database:
            yield database
    finally:
        identity.release()


@asynccontextmanager
async def open_to_read(address: ServerAddress) -> AsyncIterator[PostgresDatabase]:
    """Open the store at `address` without changing anything.

    Raises StoreError, with what to do, when it cannot be read.
    """
    await anyio.to_thread.run_sync(_check_readable, address)
    async with _closing(PostgresDatabase(address, None)) as database:
        yield database


def has_store(address: ServerAddress) -> bool:
    """Whether the database has the tables of a store; raises StoreError if the server cannot be asked. Blocking."""
    return _read_revision(address) is not None


def _read_revision(address: ServerAddress) -> str | None:
    try:
        with closing(connect(address)) as connection:
            return read_revision(connection, address)
    except psycopg.Error as error:
        raise explain(error, address) from error


def _check_readable(address: ServerAddress) -> None:
    found = _read_revision(address)
    if found is None:
        raise StoreError(f"{address}: there is no store yet; `nightsweep run` creates it")
    if found != HEAD:
        check_known(address, found)
        raise StoreError(
            f"{address}: is of an older version (schema {found}); `nightsweep resume` or `run` migrates it"
        )


@asynccontextmanager
async def _closing(database: PostgresDatabase) -> AsyncIterator[PostgresDatabase]:
    try:
        yield database
    finally:
        with anyio.CancelScope(shield=True):
            await database.close()
