"""Opening a store's file as a worker, which may create and migrate it, or for reading only."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from engine.core.errors import StoreError
from engine.sqlite.files import prepare
from engine.store.sqlite.database import SQLiteDatabase
from engine.store.sqlite.liveness import WorkerLock, workers_folder
from engine.store.sqlite.location import STORE
from engine.store.sqlite.migrate import migrate
from engine.store.sqlite.reading import open_source


@asynccontextmanager
async def open_database(path: Path) -> AsyncIterator[SQLiteDatabase]:
    """Open the store at `path` as a new worker, creating and migrating it as needed.

    Raises StoreError, with what to do, when it cannot be opened.
    """
    await anyio.to_thread.run_sync(prepare, path, STORE)
    folder = workers_folder(path)
    identity = WorkerLock(folder)
    try:
        try:
            await anyio.to_thread.run_sync(migrate, path, folder / "migration.lock")
        except StoreError:
            # If the migration failed because this was cancelled, raise the cancellation.
            await checkpoint_if_cancelled()
            raise
        async with _closing(SQLiteDatabase(path, identity)) as database:
            yield database
    finally:
        identity.release()


@asynccontextmanager
async def open_to_read(path: Path) -> AsyncIterator[SQLiteDatabase]:
    """Open the store at `path` without writing anything, there or next to it.

    Raises StoreError, with what to do, when it cannot be read.
    """
    async with (
        open_source(path) as source,
        _closing(SQLiteDatabase(path, source=source)) as database,
    ):
        yield database


@asynccontextmanager
async def _closing(database: SQLiteDatabase) -> AsyncIterator[SQLiteDatabase]:
    try:
        yield database
    finally:
        with anyio.CancelScope(shield=True):
            await database.close()
