"""Opening a store by its location. Only this module chooses the database."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path

from engine.clock import Clock
from engine.core.addresses import ServerAddress
from engine.core.errors import UsageError
from engine.locations import Location
from engine.store.database import Database
from engine.store.sqlite import opening as sqlite
from engine.store.store import Store, serving
from engine.store.writer import COMMIT_INTERVAL_S


@asynccontextmanager
async def open_store(
    location: Location, clock: Clock, *, commit_interval_s: float = COMMIT_INTERVAL_S
) -> AsyncIterator[Store]:
    """Open the store at `location`, creating and migrating it as needed, and close it afterwards.

    `commit_interval_s` is the least real time between two commits under load; 0 does not pace them, for tests.
    Answers that dead workers left in side files are recovered. Raises StoreError, with what to do, if the store cannot
    be opened.
    """
    async with (
        _open(location) as database,
        serving(database, clock, commit_interval_s=commit_interval_s) as store,
    ):
        await store.worker.recover_side_files()
        yield store


@asynccontextmanager
async def open_for_reading(location: Location, clock: Clock) -> AsyncIterator[Store]:
    """Open the store at `location` for reading only; nothing is written, there or next to it.

    The store may be locked by another process, lie on a full disk or a read-only medium, or be read-only for this
    user. A store of an older version is read from a private copy.

    Changes raise UsageError. Raises StoreError, with what to do, if the store cannot be read.
    """
    async with (
        _open_to_read(location) as database,
        serving(database, clock, commit_interval_s=COMMIT_INTERVAL_S) as store,
    ):
        yield store


def is_store_on_server(address: ServerAddress) -> bool:
    """Whether a database has the tables of a store. Blocking.

    Raises StoreError if the server cannot be asked, and UsageError if the driver is not installed.
    """
    with _needing_driver(address):
        from engine.store.postgres import opening as postgres
    return postgres.has_store(address)


def _open(location: Location) -> AbstractAsyncContextManager[Database]:
    if isinstance(location, Path):
        return sqlite.open_database(location)
    with _needing_driver(location):
        from engine.store.postgres import opening as postgres
    return postgres.open_database(location)


def _open_to_read(location: Location) -> AbstractAsyncContextManager[Database]:
    if isinstance(location, Path):
        return sqlite.open_to_read(location)
    with _needing_driver(location):
        from engine.store.postgres import opening as postgres
    return postgres.open_to_read(location)


@contextmanager
def _needing_driver(address: ServerAddress) -> Iterator[None]:
    """Raise UsageError if an import fails within the block because the extra is not installed."""
    try:
        yield
    except ImportError as error:
        raise UsageError(
            f"{address}: a store on PostgreSQL needs psycopg ({error}): run `pip install 'nightsweep[postgres]'`"
        ) from None
