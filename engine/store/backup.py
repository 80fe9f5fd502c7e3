"""A copy of a store, taken while others work on it.

One snapshot is copied, page by page, without keeping a writer waiting. In the copy nobody is at work:
what was in flight when it was taken is taken back there and then, as from workers that have died, so
that whoever opens the copy waits for no heartbeat.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkstemp

from anyio import to_thread
from anyio.from_thread import check_cancelled
from sqlalchemy import create_engine, func, or_, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from engine.core.errors import StoreError
from engine.core.status import Backup
from engine.store import outcomes, workers
from engine.store.connection import BUSY_TIMEOUT_S
from engine.store.location import explain
from engine.store.queue import RUNNING
from engine.store.schema import job, result, run, worker

_PAGES_AT_ONCE = 1024
"""After so many pages it is looked whether the copy is still wanted."""


def _default_target(store: Path, now: float) -> Path:
    """Beside the store, with the time (UTC) in its name: `nightsweep-20270115T080000Z.db`."""
    taken = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    return store.with_name(f"{store.stem}-{taken}{store.suffix}")


async def back_up(store: Path, target: Path | None, now: float) -> Backup:
    """Copy the store to a new file of mode 0600, which is there once it is whole and checked.

    Without a name it is put beside the store. Raises StoreError when the file is there already, or
    cannot be written. Cancelled, it leaves nothing behind.
    """
    chosen = _default_target(store, now) if target is None else target
    return await to_thread.run_sync(_copy, store, chosen, now)


def _copy(store: Path, target: Path, now: float) -> Backup:
    if os.path.lexists(target):
        raise _taken(target)
    try:
        with _beside(target) as part:
            in_flight, runs, answers = _fill(store, part, now)
            size = part.stat().st_size
            _put(part, target)
    except (sqlite3.Error, DBAPIError) as error:
        raise explain(error, target) from error
    except OSError as error:
        raise StoreError(
            f"{target}: cannot be written: {error.strerror or error}; name another file"
        ) from error
    return Backup(
        store=str(store),
        path=str(target),
        taken_at=now,
        bytes=size,
        runs=runs,
        answers=answers,
        in_flight=in_flight,
    )


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """An empty file in the same folder, gone with what SQLite puts beside it once the block ends."""
    descriptor, name = mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    os.close(descriptor)
    part = Path(name)
    try:
        yield part
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            part.with_name(part.name + suffix).unlink(missing_ok=True)


def _fill(store: Path, part: Path, now: float) -> tuple[int, int, int]:
    """Copy a snapshot, take back what was in flight, check it: jobs in flight, runs, answers."""
    with closing(sqlite3.connect(part, isolation_level=None, check_same_thread=False)) as copied:
        # No shared memory is needed beside it: it may be on any file system.
        copied.execute("PRAGMA locking_mode = EXCLUSIVE")
        _copy_pages(store, copied)
        copied.execute("PRAGMA synchronous = FULL")
        counts = _settle(copied, now)
        [found] = copied.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise StoreError(f"{store}: the database is damaged ({found}); no backup was made")
    return counts


def _copy_pages(store: Path, copied: sqlite3.Connection) -> None:
    with closing(
        sqlite3.connect(store, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    ) as connection:
        # Within a read transaction what others commit meanwhile does not make it begin anew.
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        connection.backup(
            copied, pages=_PAGES_AT_ONCE, progress=lambda _status, _left, _all: check_cancelled()
        )


def _settle(copied: sqlite3.Connection, now: float) -> tuple[int, int, int]:
    database = create_engine(
        "sqlite://", creator=lambda: copied, poolclass=StaticPool, hide_parameters=True
    )
    with database.begin() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        in_flight = _take_back(connection, now)
        runs = connection.execute(select(func.count()).select_from(run)).scalar_one()
        answers = connection.execute(select(func.count()).select_from(result)).scalar_one()
    return in_flight, runs, answers


def _take_back(connection: Connection, now: float) -> int:
    """Take back what any worker holds, and end them all; returns how many jobs that were."""
    holding = select(job.c.owner).where(RUNNING)
    there = select(worker.c.id).where(or_(worker.c.ended_at.is_(None), worker.c.id.in_(holding)))
    count = 0
    for worker_id in connection.execute(there).scalars().all():
        again, _ = outcomes.reclaim(connection, worker_id, now=now)
        workers.leave(connection, worker_id, now)
        count += again
    return count


def _put(part: Path, target: Path) -> None:
    """Give the finished file its name, unless somebody else has taken it meanwhile."""
    try:
        target.hardlink_to(part)
    except FileExistsError:
        raise _taken(target) from None
    except OSError:
        # A file system without hard links: nothing better can be had there.
        part.rename(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _taken(target: Path) -> StoreError:
    return StoreError(f"{target}: is there already, and no file is overwritten; name another")
