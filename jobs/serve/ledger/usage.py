"""What each key has used of its monthly allotment of test cases.

Before an evaluation the most that it may come to is reserved, with one UPDATE that carries the
condition; each test case that is generated moves one from reserved to used, in the transaction that
keeps its reply; what is left is given back at the end. So `used` is right at any moment, whatever
ends the process, and a service that starts only has to drop the reservations of the one before.
"""

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from jobs.serve.ledger.schema import api_key, usage


def period_of(now: float) -> str:
    """The month, in UTC, such as `2026-11`."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m")


def reserve(connection: Connection, key_id: int, period: str, tests: int) -> bool:
    """Hold `tests`; False, and nothing held, when they do not fit into what is left."""
    connection.execute(
        insert(usage)
        .values(key_id=key_id, period=period, used=0, reserved=0)
        .on_conflict_do_nothing()
    )
    allotment = select(api_key.c.allotment).where(api_key.c.id == key_id).scalar_subquery()
    held = connection.execute(
        update(usage)
        .where(_row(key_id, period))
        .where(usage.c.used + usage.c.reserved + tests <= allotment)
        .values(reserved=usage.c.reserved + tests)
    )
    return bool(held.rowcount)


def spend(connection: Connection, key_id: int, period: str) -> None:
    """One of the held tests was generated."""
    connection.execute(
        update(usage)
        .where(_row(key_id, period))
        .values(used=usage.c.used + 1, reserved=usage.c.reserved - 1)
    )


def release(connection: Connection, key_id: int, period: str, tests: int) -> None:
    """Give back what is held and was not spent."""
    connection.execute(
        update(usage).where(_row(key_id, period)).values(reserved=usage.c.reserved - tests)
    )


def release_all(connection: Connection) -> None:
    """Give back what a service held that is no more."""
    connection.execute(update(usage).values(reserved=0))


def used(connection: Connection, key_id: int, period: str) -> int:
    """Tests that a key has generated in a month."""
    return connection.execute(select(usage.c.used).where(_row(key_id, period))).scalar() or 0


def _row(key_id: int, period: str) -> ColumnElement[bool]:
    return (usage.c.key_id == key_id) & (usage.c.period == period)
