"""Slots of endpoints in the store's rate rows. Runs inside a write transaction of the caller."""

from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from engine.core import slots
from engine.store.dialect import Upsert
from engine.store.schema import rate_bucket, worker

_PREFIX = "slots "
IS_SLOTS = rate_bucket.c.name.startswith(_PREFIX)
"""The condition for rows that hold slots and no log."""
_READ = select(rate_bucket.c.log).where(rate_bucket.c.name == bindparam("row"))
_ALIVE = select(worker.c.id).where(
    worker.c.id.in_(bindparam("ids", expanding=True)), worker.c.ended_at.is_(None)
)
_WRITE = Upsert(
    rate_bucket,
    lambda statement: statement.on_conflict_do_update(
        index_elements=["name"], set_={"log": statement.excluded.log}
    ),
)


def take(
    connection: Connection, name: str, caller: str, *, wants: int, in_use: int, limit: int
) -> int:
    """Share the slots of an endpoint; returns how many `caller` has from now on.

    A caller's name begins with its worker's id. Slots of workers that have ended or were declared dead are free.
    """
    row = f"{_PREFIX}{name}"
    text = connection.execute(_READ, {"row": row}).scalar() or ""
    before = slots.decode(text)
    ids = {holder: holder.partition(" ")[0] for holder in before}
    alive = set(connection.execute(_ALIVE, {"ids": sorted(set(ids.values()))}).scalars())
    live = {holder: held for holder, held in before.items() if ids[holder] in alive}
    after = slots.share(live, caller, wants=wants, in_use=in_use, limit=limit)
    if after != before:
        _WRITE.run(connection, [{"name": row, "log": slots.encode(after)}])
    return after[caller].has if caller in after else 0
