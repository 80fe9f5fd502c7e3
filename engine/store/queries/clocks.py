"""The store's clock: the one on which all processes count that work on it, and what follows when it was set.

Windows of rates, waits and leases are compared between processes, so they share one clock: that of the
process which came first (`anchor`). SQLite keeps its processes on one machine, so they share the seconds since
that was booted, and have to agree only on the moment from which these are counted. A store on a server would
take the server's clock here instead.

Runs inside a transaction of the caller's and leaves committing to it.
"""

import json
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.engine import Connection

from engine.clock import AnchoredClock
from engine.core import rates
from engine.store.dialect import Upsert
from engine.store.queries import permits, slots
from engine.store.queries.queue import CLAIMABLE
from engine.store.schema import call, job, rate_bucket, result, run, store_value, worker

_CLOCKS_DIFFER_S = 5.0
"""Clocks that are right differ by less: two machines, or the same before and after a restart."""

_DRIFT_S = 1.0
"""How far the machine's clock may have gone from the store's before that is set anew: it is slewed all the time."""
_NAME = "clock"
_WRITE = Upsert(
    store_value,
    lambda statement: statement.on_conflict_do_update(
        index_elements=["name"], set_={"value": statement.excluded.value}
    ),
)

_CLOSE = 1e-4
"""How close together times of the future come to lie, as a share of how far apart they were."""


_TOLD = (worker.c.heartbeat_at, worker.c.ended_at, run.c.updated_at)
"""Signs of life."""


@dataclass(frozen=True, slots=True)
class StoreClock:
    """The boot whose seconds are counted, and the time at which their count was 0."""

    boot: str
    offset_s: float


def store_clock(connection: Connection) -> StoreClock | None:
    """The clock on which processes have counted last."""
    text = connection.execute(
        select(store_value.c.value).where(store_value.c.name == _NAME)
    ).scalar()
    return None if text is None else StoreClock(**json.loads(text))


def anchor(connection: Connection, clock: AnchoredClock, *, is_alone: bool) -> float:
    """Agree on one clock as a worker arrives: with those that are here, or else set the store's anew.

    Returns by how many seconds the store's was set. What it said is moved along, so that windows and waits
    stay as long as they were; after a reboot only `follow` can tell that. Others must count the same boot.
    """
    kept = store_clock(connection)
    if kept is not None and not is_alone:
        clock.follow(kept.offset_s)
        return 0.0
    by_s = 0.0
    if kept is not None and kept.boot == clock.boot != "":
        by_s = clock.offset_s - kept.offset_s
        if abs(by_s) <= _DRIFT_S:
            clock.follow(kept.offset_s)
            return 0.0
        _move(connection, clock.now(), by_s)
    value = json.dumps({"boot": clock.boot, "offset_s": clock.offset_s})
    connection.execute(_WRITE.on(connection), [{"name": _NAME, "value": value}])
    return by_s


def follow(connection: Connection, now: float, worker_id: str) -> float:
    """Move waits and times that lie ahead of `now` as far back as the clock was; by how many seconds.

    How far that is, is told by the latest sign of life: waits are then as long as they were meant to
    be when it was given, and never shorter. Only where the worker is alone on the store: others who
    were there before the clock was set back still go by their own.
    """
    others = select(worker.c.id).where(worker.c.id != worker_id, worker.c.ended_at.is_(None))
    if connection.execute(others.limit(1)).first() is not None:
        return 0.0
    latest = max(connection.execute(select(func.max(time))).scalar() or now for time in _TOLD)
    back_s = latest - now
    if back_s <= _CLOCKS_DIFFER_S:
        return 0.0
    _move(connection, now, -back_s)
    return back_s


def _move(connection: Connection, now: float, by_s: float) -> None:
    """Move what lies ahead and the starts of the last minute as the clock was moved, which is `now` there."""
    before = now - by_s
    if by_s < 0:
        for time in _TOLD:
            connection.execute(update(time.table).where(time > now).values({time: time + by_s}))
        _keep_fresh(connection, now, before)
    ahead_of = min(now, before)
    connection.execute(
        update(job).where(CLAIMABLE, job.c.due_at > ahead_of).values(due_at=job.c.due_at + by_s)
    )
    connection.execute(
        update(rate_bucket)
        .where(rate_bucket.c.blocked_until > ahead_of)
        .values(blocked_until=rate_bucket.c.blocked_until + by_s)
    )
    _move_starts(connection, -by_s)


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
