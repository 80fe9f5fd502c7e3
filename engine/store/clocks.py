"""A clock that was set back between two sessions: what the store says of the future is brought nearer.

Runs inside a write transaction of the caller's and leaves committing to it.
"""

from sqlalchemy import func, select, update
from sqlalchemy.engine import Connection

from engine.core import rates
from engine.store import permits, slots
from engine.store.queue import CLAIMABLE
from engine.store.schema import call, job, rate_bucket, result, run, worker

_CLOCKS_DIFFER_S = 5.0
"""Clocks that are right differ by less: two machines, or the same before and after a restart."""

_CLOSE = 1e-4
"""How close together times of the future come to lie, as a share of how far apart they were."""


def follow(connection: Connection, now: float, worker_id: str) -> float:
    """Move waits and times that lie ahead of `now` as far back as the clock was; by how many seconds.

    How far that is, is told by the latest sign of life: waits are then as long as they were meant to
    be when it was given, and never shorter. Only where the worker is alone on the store: others who
    were there before the clock was set back still go by their own.
    """
    others = select(worker.c.id).where(worker.c.id != worker_id, worker.c.ended_at.is_(None))
    if connection.execute(others.limit(1)).first() is not None:
        return 0.0
    told = (worker.c.heartbeat_at, worker.c.ended_at, run.c.updated_at)
    latest = max(connection.execute(select(func.max(time))).scalar() or now for time in told)
    back_s = latest - now
    if back_s <= _CLOCKS_DIFFER_S:
        return 0.0
    for time in told:
        connection.execute(update(time.table).where(time > now).values({time: time - back_s}))
    connection.execute(
        update(job).where(CLAIMABLE, job.c.due_at > now).values(due_at=job.c.due_at - back_s)
    )
    connection.execute(
        update(rate_bucket)
        .where(rate_bucket.c.blocked_until > now)
        .values(blocked_until=rate_bucket.c.blocked_until - back_s)
    )
    _move_starts(connection, back_s)
    _keep_fresh(connection, now, latest)
    return back_s


def _keep_fresh(connection: Connection, now: float, latest: float) -> None:
    """Let what comes from now on count as fresh in runs that began to ask everything again later than that.

    Their beginning and all that was kept in that time stay in order, and lie close together before now.
    """
    if connection.execute(select(run.c.id).where(run.c.fresh_at > now).limit(1)).first() is None:
        return
    for time in (run.c.fresh_at, call.c.recorded_at, result.c.recorded_at):
        nearer = now - (latest - time) * _CLOSE
        connection.execute(update(time.table).where(time > now).values({time: nearer}))


def _move_starts(connection: Connection, back_s: float) -> None:
    """Bring the starts of the last minute nearer: never to before they really were."""
    permits.move_back(connection, back_s)
    are_rates = ~permits.IS_TOKENS & ~slots.IS_SLOTS
    logs = connection.execute(select(rate_bucket.c.name, rate_bucket.c.log).where(are_rates))
    for name, log in logs.all():
        moved = tuple((time - back_s, count) for time, count in rates.decode(log))
        connection.execute(
            update(rate_bucket).where(rate_bucket.c.name == name).values(log=rates.encode(moved))
        )
