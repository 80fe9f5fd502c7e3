"""The rows of workers: when each arrived, its last heartbeat, and when it ended or was declared dead.

Every function runs inside a transaction of the caller, which commits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    delete,
    literal_column,
    or_,
    select,
    union,
    update,
)
from sqlalchemy.engine import Connection

from engine.store.database import Identity
from engine.store.dialect import Statement
from engine.store.queries import lanes
from engine.store.queries.queue import RUNNING
from engine.store.schema import attempt, job, lane, worker

_FRESH_S = 1.0
"""A claim does not renew a heartbeat that is younger than this."""

_CLAIMED = Statement(
    lambda _: (
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
)
_BEAT = Statement(
    lambda _: (
        update(worker)
        .where(worker.c.id == bindparam("worker_id"))
        .values(heartbeat_at=bindparam("now"), ended_at=None)
    )
)

_OTHERS = select(worker.c.id, worker.c.heartbeat_at).where(worker.c.id != bindparam("own"))
# Each of the two by its index: those that have gone may be very many.
_MAYBE_ALIVE = Statement(
    lambda _: union(
        _OTHERS.where(worker.c.ended_at.is_(None)),
        _OTHERS.where(worker.c.id.in_(select(job.c.owner).where(RUNNING))),
    )
)

# Written exactly as in the index, so that the planner uses it.
_IDLE: ColumnElement[bool] = literal_column("(worker.ended_at IS NOT NULL AND NOT worker.has_sent)")
_FIRST_IDLE = Statement(
    lambda _: (
        select(worker.c.id).where(_IDLE).order_by(worker.c.ended_at).limit(bindparam("at_most"))
    )
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
    """The other workers that have neither ended nor been declared dead, in any order."""
    columns = worker.c.id, worker.c.host, worker.c.pid, worker.c.heartbeat_at
    query = select(*columns).where(worker.c.id != worker_id, worker.c.ended_at.is_(None))
    return [OtherWorker(*row) for row in connection.execute(query)]


def find_maybe_alive(connection: Connection, *, but: str) -> list[tuple[str, float]]:
    """The workers other than `but` that may be alive: (id, time of the last heartbeat), in any order.

    A worker that was declared dead and came back is included while it holds jobs.
    """
    return [(row.id, row.heartbeat_at) for row in _MAYBE_ALIVE.rows(connection, own=but)]


def find_holders(connection: Connection, run_id: int, *, but: str) -> list[tuple[str, float]]:
    """The workers other than `but` that hold jobs of a run, dead ones included.

    Each is given as (id, time of the last heartbeat in seconds since the epoch), in any order.
    """
    return _find(connection, worker.c.id.in_(_owners(run_id)), but=but)


def find_executors(connection: Connection, run_id: int, *, but: str) -> list[tuple[str, float]]:
    """The workers other than `but` that execute a run or hold jobs of it, dead ones included.

    Each is given as (id, time of the last heartbeat in seconds since the epoch), in any order.
    """
    publishers = select(lane.c.worker).where(lane.c.run_id == run_id)
    is_on_it = or_(worker.c.id.in_(publishers), worker.c.id.in_(_owners(run_id)))
    return _find(connection, is_on_it, but=but)


def _find(
    connection: Connection, condition: ColumnElement[bool], *, but: str
) -> list[tuple[str, float]]:
    query = select(worker.c.id, worker.c.heartbeat_at).where(worker.c.id != but, condition)
    return [(worker_id, heartbeat_at) for worker_id, heartbeat_at in connection.execute(query)]


def _owners(run_id: int) -> Select[tuple[str | None]]:
    """The workers that hold jobs of a run."""
    return select(job.c.owner).where(RUNNING, job.c.run_id == run_id)


def arrive(connection: Connection, identity: Identity, now: float) -> None:
    """Insert the row of a new worker, with `now` as its start and its first heartbeat.

    Raises IntegrityError if its id was ever used before.
    """
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
    """Record that a worker is alive at `now`, even if another has declared it dead."""
    _BEAT.run(connection, worker_id=worker_id, now=now)


def record_claim(connection: Connection, worker_id: str, now: float) -> None:
    """Record that a worker has claimed jobs and is alive, so that no observer takes these jobs from it."""
    _CLAIMED.run(connection, worker_id=worker_id, fresh_since=now - _FRESH_S, now=now)


def has_beaten_since(connection: Connection, worker_id: str, heartbeat_at: float) -> bool:
    """Whether a worker's heartbeat has changed since it was read, or its row is gone."""
    found = select(worker.c.heartbeat_at).where(worker.c.id == worker_id)
    # A worker without a row has signed off, and its row was removed.
    return bool(connection.execute(found).scalar() != heartbeat_at)


def leave(connection: Connection, worker_id: str, now: float) -> None:
    """Record that a worker has ended or was declared dead, and remove its lanes.

    Its jobs in flight are not changed: `leases` takes them back.
    """
    lanes.forget(connection, worker_id)
    connection.execute(update(worker).where(worker.c.id == worker_id).values(ended_at=now))


def find_idle(connection: Connection, at_most: int) -> list[str]:
    """The first workers, by time of their end, that have ended or were declared dead without sending anything."""
    return [row.id for row in _FIRST_IDLE.rows(connection, at_most=at_most)]


def remove_idle(connection: Connection, ids: Sequence[str]) -> None:
    """Remove the workers among these that are still idle: ended, and without anything sent."""
    connection.execute(delete(worker).where(_IDLE, worker.c.id.in_(ids)))


def find_unneeded(connection: Connection) -> list[str]:
    """Workers that have ended or were declared dead and have no attempts, such as those of deleted runs."""
    has_no_attempt = worker.c.id.not_in(select(attempt.c.worker))
    query = select(worker.c.id).where(_HAS_ENDED, has_no_attempt)
    return list(connection.execute(query).scalars())


def remove(connection: Connection, ids: Sequence[str]) -> int:
    """Remove the workers among these that have not come back; returns how many."""
    found = _HAS_ENDED, worker.c.id.in_(ids)
    return connection.execute(delete(worker).where(*found)).rowcount
