"""The event log of a run."""

from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.engine import Connection

from engine.core.inspection import EventFilter
from engine.core.runs import Event
from engine.store.dialect import Bulk
from engine.store.queries import commit_order
from engine.store.schema import event

_ESCAPE = "\\"
_COLUMNS = (event.c.run_id, event.c.at, event.c.kind, event.c.lane, event.c.message)
_ADD = Bulk(
    {column.name: column.type for column in _COLUMNS},
    lambda given: event.insert().from_select(list(_COLUMNS), select(given)),
)


def add(
    connection: Connection,
    run_id: int | None,
    kind: str,
    message: str,
    *,
    lane: str | None = None,
    now: float,
) -> None:
    """Add an event to the log of a run, or to that of the store if `run_id` is None."""
    commit_order.add(connection, _ADD, [(run_id, (run_id, now, str(kind), lane, message))])


def find_after(
    connection: Connection, run_id: int, wanted: EventFilter, *, after: int, limit: int
) -> list[Event]:
    """Up to `limit` matching events of a run after the event with the id `after`, the oldest first.

    Pass the last id that was returned to read on; an empty list means that there is nothing newer yet.
    """
    query = _of(run_id, wanted).where(event.c.id > after).order_by(event.c.id).limit(limit)
    return [Event(**row) for row in connection.execute(query).mappings()]


def find_latest(
    connection: Connection, run_id: int, wanted: EventFilter, *, limit: int
) -> list[Event]:
    """The latest `limit` matching events of a run, the oldest of them first.

    `wanted.since` is inclusive, `wanted.until` exclusive.
    """
    query = _of(run_id, wanted).order_by(event.c.id.desc()).limit(limit)
    return [Event(**row) for row in reversed(connection.execute(query).mappings().all())]


def _of(run_id: int, wanted: EventFilter) -> Select[Any]:
    query = select(event.c.id, event.c.at, event.c.kind, event.c.lane, event.c.message)
    query = query.where(event.c.run_id == run_id)
    if wanted.kinds:
        query = query.where(event.c.kind.in_(wanted.kinds))
    if wanted.lane is not None:
        query = query.where(event.c.lane.like(_like(wanted.lane), escape=_ESCAPE))
    if wanted.since is not None:
        query = query.where(event.c.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(event.c.at < wanted.until)
    return query


def _like(pattern: str) -> str:
    """Convert a pattern with `*` and `?` to one for LIKE."""
    for special in (_ESCAPE, "%", "_"):
        pattern = pattern.replace(special, _ESCAPE + special)
    return pattern.replace("*", "%").replace("?", "_")
