"""A copy of a store, taken while others work on it.

One snapshot is copied, page by page, without keeping a writer waiting. In the copy nobody is at work:
what was in flight when it was taken is taken back there and then, as from workers that have died, so
that whoever opens the copy waits for no heartbeat.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from anyio import to_thread
from sqlalchemy import create_engine, func, or_, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from engine.core.errors import StoreError
from engine.core.status import Backup
from engine.part_files import part_of
from engine.sqlite.connections import PROGRESS_INSTRUCTIONS
from engine.store.queries import outcomes, workers
from engine.store.queries.queue import RUNNING
from engine.store.schema import job, result, run, worker
from engine.store.sqlite.location import explain
from engine.store.sqlite.source import Source, is_cancelled


def _default_target(store: Path, now: float) -> Path:
    """Beside the store, with the time (UTC) in its name: `nightsweep-20270115T080000Z.db`."""
    return store.with_name(f"{store.stem}-{_stamp(now)}{store.suffix}")


def _stamp(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")


async def back_up(store: Path, source: Source, target: Path | None, now: float) -> Backup:
    """Copy the store, as it is read from `source`, to a new file of mode 0600, which is there once it is whole and checked.

    Without a name it is put beside the store. Raises StoreError when the file is there already, or
    cannot be written. Cancelled, it leaves nothing behind.
    """
    chosen = _default_target(store, now) if target is None else target
    return await to_thread.run_sync(_copy, store, source, chosen, now)


def save_lost(connection: sqlite3.Connection, store: Path, folder: Path, at: float) -> Path:
    """Copy a store whose file lost its last name at a time, out of a connection to it; where. Blocking.

    Raises StoreError when it cannot be written.
    """
    target = folder / f"{store.stem}-rescued-{_stamp(at)}{store.suffix}"
    try:
        _make(target, connection.backup, at)
    except StoreError:
        # Unless another process that had it open was faster.
        if not target.exists():
            raise
    return target


def _copy(store: Path, source: Source, target: Path, now: float) -> Backup:
    (in_flight, runs, answers), size = _make(target, source.copy_into, now)
    return Backup(
        store=str(store),
        path=str(target),
        taken_at=now,
        bytes=size,
        runs=runs,
        answers=answers,
        in_flight=in_flight,
    )


def _make(
    target: Path, copy_pages: Callable[[sqlite3.Connection], None], now: float
) -> tuple[tuple[int, int, int], int]:
    """Make a copy whole before it has its name: jobs in flight, runs and answers in it, and its size."""
    if os.path.lexists(target):
        raise _exists_error(target)
    try:
        with part_of(target) as (descriptor, part):
            os.close(descriptor)
            counts = _fill(copy_pages, part, target, now)
            size = part.stat().st_size
            _put(part, target)
    except (sqlite3.Error, DBAPIError) as error:
        raise explain(error, target) from error
    except OSError as error:
        raise StoreError(
            f"{target}: cannot be written: {error.strerror or error}; name another file"
        ) from error
    return counts, size


def _fill(
    copy_pages: Callable[[sqlite3.Connection], None], part: Path, target: Path, now: float
) -> tuple[int, int, int]:
    """Copy a snapshot, take back what was in flight, check it: jobs in flight, runs, answers."""
    with closing(sqlite3.connect(part, isolation_level=None, check_same_thread=False)) as copied:
        # No shared memory is needed beside it: it may be on any file system.
        copied.execute("PRAGMA locking_mode = EXCLUSIVE")
        copy_pages(copied)
        copied.set_progress_handler(is_cancelled, PROGRESS_INSTRUCTIONS)
        copied.execute("PRAGMA synchronous = FULL")
        counts = _settle(copied, now)
        [found] = copied.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise StoreError(f"{target}: not made, since the database is damaged ({found})")
    return counts


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
        raise _exists_error(target) from None
    except OSError:
        # A file system without hard links: nothing better can be had there.
        part.rename(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _exists_error(target: Path) -> StoreError:
    return StoreError(f"{target}: is there already, and no file is overwritten; name another")
