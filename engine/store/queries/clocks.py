"""The store's clock, which all its processes share, and what changes when the machine's clock is set.

Rate windows, waits and leases are compared between processes, so these use one clock: that of the process which
came first (`anchor`). All processes on a SQLite store run on one machine and share its monotonic seconds since
boot, so they only need to agree on the time at which that count began. A store on a server would use the server's
clock instead.

Every function runs inside a transaction of the caller, which commits.
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
"""Correct clocks differ by less than this, on two machines or before and after a restart."""

_DRIFT_S = 1.0
"""How far the machine's clock may drift, such as by slewing, before the store's clock is set to it."""
_NAME = "clock"
_WRITE = Upsert(
    store_value,
    lambda statement: statement.on_conflict_do_update(
        index_elements=["name"], set_={"value": statement.excluded.value}
    ),
)

_CLOSE = 1e-4
"""The factor by which distances between future times are reduced when they are moved before the present."""


_TOLD = (worker.c.heartbeat_at, worker.c.ended_at, run.c.updated_at)
"""Columns that record signs of life."""


@dataclass(frozen=True, slots=True)
class StoreClock:
    """The boot whose monotonic seconds are counted, and the time at which that count was 0."""

    boot: str
    offset_s: float


def store_clock(connection: Connection) -> StoreClock | None:
    """The clock that the store's processes used last; None in a new store."""
    text = connection.execute(
        select(store_value.c.value).where(store_value.c.name == _NAME)
    ).scalar()
    return None if text is None else StoreClock(**json.loads(text))


def anchor(connection: Connection, clock: AnchoredClock, *, is_alone: bool) -> float:
    """Make an arriving worker use the store's clock, or set the store's clock if the worker is alone.

    Returns by how many seconds the store's clock was set; stored times move with it, so that windows and waits
    keep their length. After a reboot that shift is unknown, and only `follow` can find it. The other workers must
    count the same boot.
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
    _WRITE.run(connection, [{"name": _NAME, "value": value}])
    return by_s


def follow(connection: Connection, now: float, worker_id: str) -> float:
    """After the clock was set back, move waits and times that lie ahead of `now`; returns by how many seconds.

    The latest sign of life shows how far the clock was set back, so waits are never shorter than intended. Does
    nothing unless the worker is alone on the store, because other workers still use the earlier clock.
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
    """Move future times and the starts of the last minute by `by_s`, as the clock was; `now` is the new time."""
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
    """Make new answers count as fresh in runs whose `fresh_at` lies in the future of the new clock.

    These runs' times and those of what was recorded since are moved to just before `now`, in the same order.
    """
    if connection.execute(select(run.c.id).where(run.c.fresh_at > now).limit(1)).first() is None:
        return
    for time in (run.c.fresh_at, call.c.recorded_at, result.c.recorded_at):
        nearer = now - (latest - time) * _CLOSE
        connection.execute(update(time.table).where(time > now).values({time: nearer}))


def _move_starts(connection: Connection, back_s: float) -> None:
    """Move the starts of the last minute, never to before they really happened."""
    permits.move_back(connection, back_s)
    are_rates = ~permits.IS_TOKENS & ~slots.IS_SLOTS
    logs = connection.execute(select(rate_bucket.c.name, rate_bucket.c.log).where(are_rates))
    for name, log in logs.all():
        moved = tuple((time - back_s, count) for time, count in rates.decode(log))
        connection.execute(
            update(rate_bucket).where(rate_bucket.c.name == name).values(log=rates.encode(moved))
        )
