"""Tests that are charged one by one, in the transaction that stores the reply which opens each test.

A job's row records what it was charged, so that its next attempt reserves only what it can still ask.
"""

from sqlalchemy import ColumnElement, bindparam, select, update
from sqlalchemy.engine import Connection

from engine.core import quota as arithmetic
from engine.store.queries import quotas
from engine.store.requests import Charge
from engine.store.schema import job, reservation


def _of(job_id: int) -> ColumnElement[bool]:
    return (
        (reservation.c.job_id == job_id) & reservation.c.by_reply & ~reservation.c.counts_requests
    )


_HOLD = (
    update(reservation)
    .where(
        reservation.c.job_id == bindparam("of_job"),
        reservation.c.fence == bindparam("of_fence"),
        reservation.c.name == bindparam("of"),
    )
    .values(held=reservation.c.held + bindparam("more"))
)


def hold_more(connection: Connection, job_id: int, fence: int, tests: int) -> bool:
    """Reserve `tests` more for an attempt; returns False, and reserves nothing, if the quota has no room."""
    rows = connection.execute(
        select(reservation.c.name, reservation.c.period).where(
            _of(job_id), reservation.c.fence == fence
        )
    ).all()
    states = quotas.read(connection, [(row.name, row.period) for row in rows])
    if any(state.room < tests for state in states.values()):
        return False
    if states:
        quotas.write(
            connection, {key: arithmetic.reserve(one, tests) for key, one in states.items()}
        )
        connection.execute(
            _HOLD,
            [{"of_job": job_id, "of_fence": fence, "of": row.name, "more": tests} for row in rows],
        )
    return True


def charge(connection: Connection, of: Charge) -> None:
    """Count tests of a job as used and subtract them from what is held for it.

    If the attempt was reclaimed while its reply was in transit, nothing is held for it; the tests are then taken
    from what is held for the next attempt, or from unreserved quota.
    """
    job_id, tests = of.job_id, of.tests
    connection.execute(update(job).where(job.c.id == job_id).values(charged=job.c.charged + tests))
    rows = connection.execute(select(reservation).where(_of(job_id))).all()
    held = {(row.name, row.period): row for row in rows}
    names = {name for name, _ in held}
    others = [
        (key.name, key.period)
        for key in of.quotas
        if not key.counts_requests and key.name not in names
    ]
    states = quotas.read(connection, [*held, *others])
    if not states:
        return
    taken = {key: min(tests, held[key].held) if key in held else 0 for key in states}
    quotas.write(
        connection,
        {key: arithmetic.settle(state, taken[key], tests) for key, state in states.items()},
    )
    quotas.count(connection, dict.fromkeys(states, tests), {})
    if held:
        connection.execute(
            _HOLD,
            [
                {"of_job": job_id, "of_fence": row.fence, "of": row.name, "more": -taken[key]}
                for key, row in held.items()
            ],
        )
