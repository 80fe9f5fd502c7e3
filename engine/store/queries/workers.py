"""The rows of workers: who is there, when its heart last beat, when it went or was given up.

Every function runs inside a write transaction of the caller's and leaves committing to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, bindparam, delete, literal_column, or_, select, update
from sqlalchemy.engine import Connection

from engine.store.database import Identity
from engine.store.queries import lanes
from engine.store.queries.queue import RUNNING
from engine.store.schema import attempt, job, worker

_FRESH_S = 1.0
"""A heartbeat no older than this need not be told again by a claim."""

# Built once: every claim runs it.
_CLAIMED = (
    update(worker)
    .where(
        worker.c.id == bindparam("worker_id"),
        or_(
            worker.c.heartbeat_at < bindparam("fresh_since"),
            worker.c.heartbeat_at > bindparam("now"),
            worker.c.ended_at.is_not(None),
            ~worker.c.has_sent,
        ),
    )
    .values(heartbeat_at=bindparam("now"), ended_at=None, has_sent=True)
)


_BEAT = (
    update(worker)
    .where(worker.c.id == bindparam("worker_id"))
    .values(heartbeat_at=bindparam("now"), ended_at=None)
)

# In the words of the index.
_IDLE: ColumnElement[bool] = literal_column("(worker.ended_at IS NOT NULL AND NOT worker.has_sent)")
_FIRST_IDLE = (
    select(worker.c.id).where(_IDLE).order_by(worker.c.ended_at).limit(bindparam("at_most"))
)
_HAS_ENDED = and_(
    worker.c.ended_at.is_not(None), worker.c.id.not_in(select(job.c.owner).where(RUNNING))
)


@dataclass(frozen=True, slots=True)
class OtherWorker:
    """Another worker that has not signed off."""

    id: str
    host: str
    pid: int
    heartbeat_at: float


def find_others(connection: Connection, worker_id: str) -> list[OtherWorker]:
    """The other workers that have not signed off."""
    columns = worker.c.id, worker.c.host, worker.c.pid, worker.c.heartbeat_at
    query = select(*columns).where(worker.c.id != worker_id, worker.c.ended_at.is_(None))
    return [OtherWorker(*row) for row in connection.execute(query)]


def arrive(connection: Connection, identity: Identity, now: float) -> None:
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


def record_heartbeat(connection: Connection, worker_id: str, now: float) -> None:
    """Say that a worker is alive, even if somebody has given it up."""
    connection.execute(_BEAT, {"worker_id": worker_id, "now": now})


def record_claim(connection: Connection, worker_id: str, now: float) -> None:
    """A worker that claims is alive: who has watched it stand still may not take these jobs from it."""
    connection.execute(
        _CLAIMED, {"worker_id": worker_id, "fresh_since": now - _FRESH_S, "now": now}
    )


def has_beaten_since(connection: Connection, worker_id: str, heartbeat_at: float) -> bool:
    """Whether a worker's heartbeat is another than the one that was seen."""
    found = select(worker.c.heartbeat_at).where(worker.c.id == worker_id)
    # One that is not there any more has signed off, and was removed.
    return bool(connection.execute(found).scalar() != heartbeat_at)


def leave(connection: Connection, worker_id: str, now: float) -> None:
    """A worker has gone, or was given up: its lanes wait for nothing any more."""
    lanes.forget(connection, worker_id)
    connection.execute(update(worker).where(worker.c.id == worker_id).values(ended_at=now))


def find_idle(connection: Connection, at_most: int) -> list[str]:
    """Workers that have gone, or were given up, and sent nothing: those that ended first."""
    return list(connection.execute(_FIRST_IDLE, {"at_most": at_most}).scalars())


def remove_idle(connection: Connection, ids: Sequence[str]) -> None:
    """Remove those of these workers that are still idle."""
    connection.execute(delete(worker).where(_IDLE, worker.c.id.in_(ids)))


def find_unneeded(connection: Connection) -> list[str]:
    """Workers that have gone, or were given up, and of which no attempt tells, such as those of deleted runs."""
    told = worker.c.id.not_in(select(attempt.c.worker))
    return list(connection.execute(select(worker.c.id).where(_HAS_ENDED, told)).scalars())


def remove(connection: Connection, ids: Sequence[str]) -> int:
    """Remove those of these workers that have not come back; returns how many."""
    found = _HAS_ENDED, worker.c.id.in_(ids)
    return connection.execute(delete(worker).where(*found)).rowcount
