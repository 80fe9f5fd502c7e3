"""Determining how a store can be read without writing to it.

If the store has a log without shared memory, such as on a medium that it was copied to, a private copy in the folder
for temporary files is read. So is a store of an older version: the copy is migrated, and the store stays unchanged.
"""

import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

from anyio import to_thread
from anyio.from_thread import check_cancelled

from engine.core.errors import StoreError
from engine.part_files import private_folder
from engine.sqlite.errors import primary_code_of
from engine.sqlite.files import check_readable
from engine.store.revisions import check_known
from engine.store.schema import HEAD
from engine.store.sqlite.location import STORE, explain
from engine.store.sqlite.migrate import migrate, revision_of
from engine.store.sqlite.readers import log_bytes
from engine.store.sqlite.source import TRIES, Source, connect, state_of

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 16 * 1024 * 1024
_SMALLEST_PAGE_BYTES = 512
"""SQLite treats a shorter file as an empty database, whatever its content."""
# SQLite's errors if the shared memory cannot be used.
_UNSHARED = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
)


@asynccontextmanager
async def open_source(store: Path) -> AsyncIterator[Source]:
    """Determine how a store can be read without writing to it; a private copy is removed when the block ends.

    Raises StoreError if it cannot be read, and for a store of a newer version.
    """
    async with AsyncExitStack() as stack:

        def scratch() -> Path:
            return stack.enter_context(private_folder())

        yield await to_thread.run_sync(_find, store, scratch)


def _find(store: Path, scratch: Callable[[], Path]) -> Source:
    check_readable(store, STORE)
    try:
        source, is_copy = Source(store.resolve()), False
        found = _find_revision_in_place(source, store)
        if isinstance(found, _Unshared):
            logger.warning("%s: its log cannot be shared, so a private copy is read", store)
            source, is_copy = _make_copy(source, _copy_files, scratch), True
            found = _read_revision(source, store)
        if found == HEAD:
            return source
        if found is None and 0 < source.path.stat().st_size < _SMALLEST_PAGE_BYTES:
            raise StoreError(f"{store}: is not a Nightsweep store; name another file")
        if found is not None:
            check_known(store, found)
            logger.warning(
                "%s: is of an older version (schema %s), so a private copy of its present state is read",
                store,
                found,
            )
        copy = source if is_copy else _make_copy(source, _copy_pages, scratch)
        migrate(copy.path, copy.path.with_name("migration.lock"))
    except sqlite3.Error as error:
        raise explain(error, store) from error
    return copy


class _Unshared:
    """The log cannot be read in place."""


def _find_revision_in_place(source: Source, store: Path) -> str | _Unshared | None:
    has_log = log_bytes(source.path) > 0
    if has_log and not Path(f"{source.path}-shm").exists():
        # SQLite would create the file, which would remain and might belong to another user than the store.
        return _Unshared()
    try:
        return _read_revision(source, store)
    except sqlite3.OperationalError as error:
        if has_log and primary_code_of(error) in _UNSHARED:
            return _Unshared()
        raise


def _read_revision(source: Source, store: Path) -> str | None:
    with closing(connect(source.address()[0])) as connection:
        return revision_of(connection, store)


def _make_copy(
    source: Source, copy: Callable[[Source, Path], None], scratch: Callable[[], Path]
) -> Source:
    try:
        target = scratch() / "store.db"
        copy(source, target)
    except OSError as error:
        raise _no_room_error(source.path, error.strerror or str(error)) from error
    except sqlite3.OperationalError as error:
        if primary_code_of(error) != sqlite3.SQLITE_FULL:
            raise
        raise _no_room_error(source.path, str(error)) from error
    return Source(target)


def _no_room_error(store: Path, why: str) -> StoreError:
    return StoreError(
        f"{store}: can only be read from a private copy, which cannot be written ({why}); set TMPDIR to a"
        " folder with enough space for the store"
    )


def _copy_pages(source: Source, target: Path) -> None:
    with closing(sqlite3.connect(target, isolation_level=None)) as copy:
        source.copy_into(copy)


def _copy_files(source: Source, target: Path) -> None:
    """Copy the files of a database and its log."""
    store, log = source.path, Path(f"{source.path}-wal")
    for _ in range(TRIES):
        before = state_of(store), state_of(log)
        for file, suffix in ((store, ""), (log, "-wal")):
            with file.open("rb") as read, Path(f"{target}{suffix}").open("wb") as written:
                while chunk := read.read(_CHUNK_BYTES):
                    check_cancelled()
                    written.write(chunk)
        if (state_of(store), state_of(log)) == before:
            return
    raise source.change_error()
