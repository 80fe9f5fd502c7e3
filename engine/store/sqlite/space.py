"""The free pages of a store's file: their size, and returning them to the disk."""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy.engine import Connection

from engine.core.errors import StoreError
from engine.sqlite.connections import BUSY_TIMEOUT_S, PROGRESS_INSTRUCTIONS
from engine.sqlite.errors import primary_code_of
from engine.store.sqlite.location import explain
from engine.store.sqlite.source import is_cancelled


def free_bytes(connection: Connection) -> int:
    """The size of the free pages of the store's file, which new rows can use."""
    pages, size = (
        connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
        for name in ("freelist_count", "page_size")
    )
    return int(pages * size)


def give_back(store: Path) -> int:
    """Rewrite the store's file without its free pages; returns by how many bytes it shrank.

    Blocks in a thread of anyio, and ends when that is cancelled. No other process can write meanwhile. After a crash,
    the file is unchanged.
    """
    try:
        with closing(
            sqlite3.connect(store, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        ) as connection:
            connection.set_progress_handler(is_cancelled, PROGRESS_INSTRUCTIONS)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            before = store.stat().st_size
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return max(0, before - store.stat().st_size)
    except sqlite3.Error as error:
        if primary_code_of(error) == sqlite3.SQLITE_FULL:
            raise StoreError(
                f"{store}: not enough space to rewrite it, next to it or in the folder for temporary files"
                " (TMPDIR); rows were deleted, and their space is used for new answers"
            ) from error
        raise explain(error, store) from error
