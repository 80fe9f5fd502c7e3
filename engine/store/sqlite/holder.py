"""The process that holds the write lock of a store, what it works on, and what the user can do."""

import os
import shlex
import socket
from pathlib import Path

from anyio import to_thread
from sqlalchemy import select
from sqlalchemy.engine import Connection

from engine.core.errors import StoreError
from engine.store.database import Database
from engine.store.queries.queue import RUNNING
from engine.store.schema import job, run, worker
from engine.store.sqlite import readers


async def describe(database: Database, path: Path) -> str:
    """Describe what holds the write lock and what to do, for messages; names the process if the system reports it."""
    found = await to_thread.run_sync(readers.find_writers, path)
    if found is None:
        shared = shlex.quote(f"{path}-shm")
        return f"another process holds its write lock (`lsof {shared}` lists the processes that have it open)"
    others = sorted(one for one in found if one.pid != os.getpid())
    if not others:
        return (
            "another process holds its write lock: only for a moment, or it cannot be seen from here,"
            " such as in another container"
        )
    [first, *_] = others
    works_on = await _find_runs_of(database, first.pid)
    stopped = await to_thread.run_sync(readers.is_stopped, first.pid)
    return _describe(first, works_on, stopped=stopped)


def _describe(holder: readers.Reader, works_on: str, *, stopped: bool) -> str:
    who = f"process {holder.pid} ({holder.name}) on {socket.gethostname()}{works_on}"
    if stopped:
        return (
            f"{who} was stopped while holding the write lock: continue it (`kill -CONT {holder.pid}`,"
            f" or `fg` in its terminal) or end it (`kill -KILL {holder.pid}`; its uncommitted changes"
            " are rolled back)"
        )
    return f"{who} holds the write lock: wait for it, or end it (`kill {holder.pid}`)"


async def _find_runs_of(database: Database, pid: int) -> str:
    """The runs that a process of this machine works on, as a clause; empty if the store cannot be read."""

    def ask(connection: Connection) -> list[str]:
        names = (
            select(run.c.name)
            .join(job, job.c.run_id == run.c.id)
            .join(worker, worker.c.id == job.c.owner)
            .where(RUNNING, worker.c.pid == pid, worker.c.host == socket.gethostname())
            .distinct()
        )
        return list(connection.execute(names.order_by(run.c.name)).scalars())

    try:
        names = await database.ask(ask)
    except StoreError:
        return ""
    return f", which works on {' and '.join(names)}," if names else ""
