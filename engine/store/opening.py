"""Opening a store by its path. Only this module chooses the database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from engine.clock import Clock
from engine.store.sqlite.opening import open_database, open_to_read
from engine.store.store import Store, serving
from engine.store.writer import COMMIT_INTERVAL_S


@asynccontextmanager
async def open_store(
    path: Path, clock: Clock, *, commit_interval_s: float = COMMIT_INTERVAL_S
) -> AsyncIterator[Store]:
    """Open the store at `path`, creating and migrating it as needed, and close it afterwards.

    `commit_interval_s` is the least real time between two commits under load; 0 does not pace them, for tests.
    Answers that dead workers left in side files are recovered. Raises StoreError, with what to do, if the store cannot
    be opened.
    """
    async with (
        open_database(path) as database,
        serving(database, clock, commit_interval_s=commit_interval_s) as store,
    ):
        await store.worker.recover_side_files()
        yield store


@asynccontextmanager
async def open_for_reading(path: Path, clock: Clock) -> AsyncIterator[Store]:
    """Open the store at `path` for reading only; nothing is written, there or next to it.

    The store may be locked by another process, lie on a full disk or a read-only medium, or be read-only for this
    user. A store of an older version is read from a private copy.

    Changes raise UsageError. Raises StoreError, with what to do, if the store cannot be read.
    """
    async with (
        open_to_read(path) as database,
        serving(database, clock, commit_interval_s=COMMIT_INTERVAL_S) as store,
    ):
        yield store
