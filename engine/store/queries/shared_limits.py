"""Limits of the runs that share a rate row: the lowest one applies to all of them.

Each rate row records the limits of its holders. A holder is a run in a worker; its limits count while the worker
lives and the run is being executed there. So when a sweep's file lowers a rate, the lower rate applies from that
run's first claim on, also to processes that started with a higher one. Every function runs inside a transaction of
the caller.
"""

import json
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from engine.store.schema import rate_bucket, worker

Limits: TypeAlias = tuple[int | None, int | None]
"""Starts and tokens in any minute; None: no limit."""
Holders: TypeAlias = dict[str, Limits]

_ALIVE = select(worker.c.id).where(
    worker.c.id.in_(bindparam("ids", expanding=True)), worker.c.ended_at.is_(None)
)
_GIVEN = select(rate_bucket.c.name, rate_bucket.c.given).where(rate_bucket.c.given != "{}")
_WRITE = (
    rate_bucket.update()
    .where(rate_bucket.c.name == bindparam("row"))
    .values(given=bindparam("holders"))
)


def decode(text: str) -> Holders:
    """The limits by holder, from JSON that `encode` wrote; an empty text has none."""
    return {holder: (rate, tokens) for holder, (rate, tokens) in json.loads(text or "{}").items()}


def encode(holders: Mapping[str, Limits]) -> str:
    """The limits of each holder as compact JSON; equal limits give equal texts."""
    return json.dumps(holders, sort_keys=True, separators=(",", ":"))


def update_holders(
    connection: Connection, before: Mapping[str, Holders], mine: Mapping[str, Limits], holder: str
) -> dict[str, Holders]:
    """The new holders of each row in `mine`, without those whose workers have ended.

    `before` are the stored holders by row, `mine` the limits of `holder` by row. Writes nothing.
    """
    after = {}
    others = {
        _worker(one)
        for row in mine
        for one in before.get(row, {})
        if _worker(one) != _worker(holder)
    }
    alive = set(connection.execute(_ALIVE, {"ids": sorted(others)}).scalars()) if others else set()
    alive.add(_worker(holder))
    for row, limits in mine.items():
        held = {one: was for one, was in before.get(row, {}).items() if _worker(one) in alive}
        held.pop(holder, None)
        if limits != (None, None):
            held[holder] = limits
        after[row] = held
    return after


def find_lowest(connection: Connection, rows: Iterable[str]) -> Limits:
    """The lowest limits of live holders in any of these rows, as (starts per minute, tokens per minute).

    None stands for no limit of that kind.
    """
    found = connection.execute(_GIVEN.where(rate_bucket.c.name.in_(list(rows))))
    holders = [one for _, text in found for one in decode(text).items()]
    ids = sorted({_worker(holder) for holder, _ in holders})
    alive = set(connection.execute(_ALIVE, {"ids": ids}).scalars()) if ids else set()
    return lowest({holder: limits for holder, limits in holders if _worker(holder) in alive})


def lowest(holders: Holders) -> Limits:
    """The limits that apply to all holders: the lowest of each kind; None if there is none."""
    rates = [rate for rate, _ in holders.values() if rate is not None]
    tokens = [most for _, most in holders.values() if most is not None]
    return min(rates, default=None), min(tokens, default=None)


def withdraw(connection: Connection, holder: str) -> None:
    """Remove the limits of a holder whose run has ended in its worker, from every row."""
    for row, text in connection.execute(_GIVEN).all():
        holders = decode(text)
        if holders.pop(holder, None) is not None:
            connection.execute(_WRITE, {"row": row, "holders": encode(holders)})


def holder_of(worker_id: str, run_id: int) -> str:
    """The name under which a run in a worker holds limits; it begins with the worker's id and a space."""
    return f"{worker_id} {run_id}"


def _worker(holder: str) -> str:
    return holder.partition(" ")[0]
