"""Copying a store while processes work on it.

One snapshot is copied, page by page, without blocking writers. In the copy, jobs in flight are reclaimed as from dead
workers, so that a process that opens the copy need not wait for heartbeats.
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
    """The path next to the store with the time (UTC) in its name, such as `nightsweep-20270115T080000Z.db`."""
    return store.with_name(f"{store.stem}-{_stamp(now)}{store.suffix}")


def _stamp(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")


async def back_up(store: Path, source: Source, target: Path | None, now: float) -> Backup:
    """Copy the store, read from `source`, to a new file of mode 0600, which appears once it is complete and checked.

    Without `target`, it is created next to the store. Raises StoreError if the file exists already or cannot be
    written. If cancelled, no file is left.
    """
    chosen = _default_target(store, now) if target is None else target
    return await to_thread.run_sync(_copy, store, source, chosen, now)


def save_lost(connection: sqlite3.Connection, store: Path, folder: Path, at: float) -> Path:
    """Copy a store whose file lost its last name at `at`, from an open connection; returns the path. Blocking.

    Raises StoreError if the copy cannot be written.
    """
    target = folder / f"{store.stem}-rescued-{_stamp(at)}{store.suffix}"
    try:
        _make(target, connection.backup, at)
    except StoreError:
        # Another process that had the store open may have saved it already.
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
    """Make a complete copy, then give it its name: ((jobs in flight, runs, answers), size in bytes)."""
    if os.path.lexists(target):
        raise _exists_error(target)
    try:
        with part_of(target) as (descriptor, part):
            os.close(descriptor)
            counts = _fill(copy_pages, part, target, now)
            size = part.stat().st_size
            _publish(part, target)
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
    """Copy a snapshot, reclaim jobs in flight and check the copy: (jobs in flight, runs, answers)."""
    with closing(sqlite3.connect(part, isolation_level=None, check_same_thread=False)) as copied:
        # Needs no shared memory, so the copy may be on any file system.
        copied.execute("PRAGMA locking_mode = EXCLUSIVE")
        copy_pages(copied)
        copied.set_progress_handler(is_cancelled, PROGRESS_INSTRUCTIONS)
        copied.execute("PRAGMA synchronous = FULL")
        counts = _settle(copied, now)
        [found] = copied.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise StoreError(f"{target}: not created, because the store is damaged ({found})")
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
    """Reclaim the jobs of all workers and mark the workers as ended; returns how many jobs were in flight."""
    holding = select(job.c.owner).where(RUNNING)
    alive = select(worker.c.id).where(or_(worker.c.ended_at.is_(None), worker.c.id.in_(holding)))
    count = 0
    for worker_id in connection.execute(alive).scalars().all():
        again, _ = outcomes.reclaim(connection, worker_id, now=now)
        workers.leave(connection, worker_id, now)
        count += again
    return count


def _publish(part: Path, target: Path) -> None:
    """Give the complete file its name; raises StoreError if a file of that name was created meanwhile."""
    try:
        target.hardlink_to(part)
    except FileExistsError:
        raise _exists_error(target) from None
    except OSError:
        # The file system has no hard links; a plain rename is the best that is possible.
        part.rename(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _exists_error(target: Path) -> StoreError:
    return StoreError(f"{target}: exists already and is not overwritten; name another file")
