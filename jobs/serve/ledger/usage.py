"""Statements on the test cases that each key has used and reserved of its monthly allotment.

The largest number that an evaluation may need is reserved before it starts, in one UPDATE that checks
the allotment. Each generated test case moves one from reserved to used, in the transaction that saves
its reply; the rest is released at the end. So `used` is correct however the process ends, and a
service that starts only has to release the reservations of the previous one.
"""

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from jobs.serve.ledger.schema import api_key, usage


def period_of(now: float) -> str:
    """The month of a time in epoch seconds, in UTC, such as `2026-11`."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m")


def reserve(connection: Connection, key_id: int, period: str, tests: int) -> bool:
    """Reserve `tests` of a key's allotment for a month such as `2026-11`.

    Returns False, and reserves nothing, if fewer are left after those that are used and reserved.
    """
    connection.execute(
        insert(usage)
        .values(key_id=key_id, period=period, used=0, reserved=0)
        .on_conflict_do_nothing()
    )
    allotment = select(api_key.c.allotment).where(api_key.c.id == key_id).scalar_subquery()
    updated = connection.execute(
        update(usage)
        .where(_row(key_id, period))
        .where(usage.c.used + usage.c.reserved + tests <= allotment)
        .values(reserved=usage.c.reserved + tests)
    )
    return bool(updated.rowcount)


def spend(connection: Connection, key_id: int, period: str) -> None:
    """Count one of the reserved tests as used; the caller has reserved it in the same month."""
    connection.execute(
        update(usage)
        .where(_row(key_id, period))
        .values(used=usage.c.used + 1, reserved=usage.c.reserved - 1)
    )


def release(connection: Connection, key_id: int, period: str, tests: int) -> None:
    """Release reserved tests that were not used, in the month in which they were reserved."""
    connection.execute(
        update(usage).where(_row(key_id, period)).values(reserved=usage.c.reserved - tests)
    )


def release_all(connection: Connection) -> None:
    """Release all reservations, left by a service that was killed; no service may be running."""
    connection.execute(update(usage).values(reserved=0))


def count_used(connection: Connection, key_id: int, period: str) -> int:
    """The number of test cases that a key has generated in a month such as `2026-11`; 0 if it had none."""
    return connection.execute(select(usage.c.used).where(_row(key_id, period))).scalar() or 0


def _row(key_id: int, period: str) -> ColumnElement[bool]:
    return (usage.c.key_id == key_id) & (usage.c.period == period)
