"""Who holds the write lock of a store, what it works on, and what can be done about it."""

import os
import shlex
import socket

from anyio import to_thread
from sqlalchemy import select
from sqlalchemy.engine import Connection

from engine.core.errors import StoreError
from engine.store.database import Database
from engine.store.queries.queue import RUNNING
from engine.store.schema import job, run, worker
from engine.store.sqlite import readers


async def describe(database: Database) -> str:
    """What keeps others from writing, in words; without a process where the system does not tell."""
    found = await to_thread.run_sync(readers.find_writers, database.path)
    if found is None:
        shared = shlex.quote(f"{database.path}-shm")
        return (
            f"another process holds its write lock (`lsof {shared}` lists those that have it open)"
        )
    others = sorted(one for one in found if one.pid != os.getpid())
    if not others:
        return (
            "another process holds its write lock: one that works on it at this moment, or that cannot"
            " be seen from here, such as in another container"
        )
    [first, *_] = others
    works_on = await _find_runs_of(database, first.pid)
    stopped = await to_thread.run_sync(readers.is_stopped, first.pid)
    return _describe(first, works_on, stopped=stopped)


def _describe(holder: readers.Reader, works_on: str, *, stopped: bool) -> str:
    who = f"process {holder.pid} ({holder.name}) on {socket.gethostname()}{works_on}"
    if stopped:
        return (
            f"{who} was stopped while it holds the write lock: let it go on (`kill -CONT {holder.pid}`,"
            f" or `fg` in its terminal) or end it (`kill -KILL {holder.pid}`: what it was about to"
            " commit is taken back)"
        )
    return f"{who} holds the write lock: wait for it, or end it (`kill {holder.pid}`)"


async def _find_runs_of(database: Database, pid: int) -> str:
    """The run of a process of this machine, as far as the store tells."""

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
