"""The rows of workers: who is there, when its heart last beat, when it went or was given up.

Every function runs inside a write transaction of the caller's and leaves committing to it.
"""

from sqlalchemy import or_, select, update
from sqlalchemy.engine import Connection

from engine.store.liveness import WorkerLock
from engine.store.schema import worker

_FRESH_S = 1.0
"""A heartbeat no older than this need not be told again by a claim."""


def arrive(connection: Connection, identity: WorkerLock, now: float) -> None:
    """Tell other processes that a worker is there."""
    connection.execute(
        worker.insert().values(
            id=identity.id,
            host=identity.host,
            pid=identity.pid,
            started_at=now,
            heartbeat_at=now,
        )
    )


def beat(connection: Connection, worker_id: str, now: float) -> None:
    """Say that a worker is alive, even if somebody has given it up."""
    connection.execute(
        update(worker).where(worker.c.id == worker_id).values(heartbeat_at=now, ended_at=None)
    )


def claimed(connection: Connection, worker_id: str, now: float) -> None:
    """A worker that claims is alive: who has watched it stand still may not take these jobs from it."""
    is_old = or_(
        worker.c.heartbeat_at < now - _FRESH_S,
        worker.c.heartbeat_at > now,
        worker.c.ended_at.is_not(None),
    )
    connection.execute(
        update(worker)
        .where(worker.c.id == worker_id, is_old)
        .values(heartbeat_at=now, ended_at=None)
    )


def has_beaten_since(connection: Connection, worker_id: str, heartbeat_at: float) -> bool:
    """Whether a worker's heartbeat is another than the one that was seen."""
    found = select(worker.c.heartbeat_at).where(worker.c.id == worker_id)
    return bool(connection.execute(found).scalar_one() != heartbeat_at)


def leave(connection: Connection, worker_id: str, now: float) -> None:
    """A worker has gone, or was given up."""
    connection.execute(update(worker).where(worker.c.id == worker_id).values(ended_at=now))
