"""The open jobs of a run: how many questions they still bring, and which may not be sent yet.

Every function runs inside a transaction of the caller.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, case, func, literal, select
from sqlalchemy.engine import Connection

from engine.core.states import Event, State, sources
from engine.store.queries.queue import CLAIMABLE
from engine.store.schema import job, job_count

_FEW = 10_000
"""Jobs of a class that are read to find how many of them are not due yet."""


@dataclass(frozen=True, slots=True)
class OpenJobs:
    """Claimable jobs of one lane and cost class."""

    lane: str
    jobs: int
    expected_tests: int | None
    """Expected questions of each job; the jobs of a class have the same number."""
    backing_off: int
    next_due_at: float | None


def find_open_jobs(connection: Connection, run_id: int, now: float) -> list[OpenJobs]:
    """The claimable jobs of a run by lane and cost class, also those that the sweep no longer asks for."""
    return [
        OpenJobs(
            row.lane,
            row.jobs,
            row.expected_tests,
            0 if row.next_due_at is None else _count_early(connection, run_id, row, now),
            row.next_due_at,
        )
        for row in connection.execute(_OPEN_JOBS, {"run_id": run_id, "now": now})
    ]


def _count_early(connection: Connection, run_id: int, row: Any, now: float) -> int:
    """How many claimable jobs of a lane and class are not due yet.

    Those that have a time are counted, so it is enough to read the ones before or after `now`, whichever are few.
    """
    given = {"run_id": run_id, "lane": row.lane, "cost_class": row.cost_class, "now": now}
    early = connection.execute(_SOME_EARLY, given).scalar_one()
    if early < _FEW:
        return int(early)
    due = connection.execute(_SOME_DUE, given).scalar_one()
    if due < _FEW:
        return int(row.dated - due)
    return int(connection.execute(_ALL_EARLY, given).scalar_one())


def _of_class(lane: ColumnElement[str], cost_class: ColumnElement[str]) -> ColumnElement[bool]:
    """The condition for the claimable jobs of a lane and class; the index has them one after another."""
    return and_(
        job.c.run_id == bindparam("run_id"),
        job.c.lane == lane,
        job.c.cost_class == cost_class,
        CLAIMABLE,
    )


def _select_open_jobs() -> Select[Any]:
    open_jobs = func.sum(job_count.c.jobs).label("jobs")
    classes = (
        select(
            job_count.c.lane,
            job_count.c.cost_class,
            open_jobs,
            func.sum(job_count.c.dated).label("dated"),
        )
        .where(
            job_count.c.run_id == bindparam("run_id"), job_count.c.state.in_(sources(Event.CLAIM))
        )
        .group_by(job_count.c.lane, job_count.c.cost_class)
        .having(open_jobs > 0)
        .subquery()
    )
    of_class = _of_class(classes.c.lane, classes.c.cost_class)
    # One job of each class shows what all of them expect.
    expected = select(job.c.expected_tests).where(of_class).limit(1)
    soonest = (
        select(job.c.due_at)
        .where(of_class, job.c.due_at > bindparam("now"))
        .order_by(job.c.due_at)
        .limit(1)
    )
    return select(
        classes,
        expected.correlate(classes).scalar_subquery().label("expected_tests"),
        case((classes.c.dated > 0, soonest.correlate(classes).scalar_subquery())).label(
            "next_due_at"
        ),
    )


def _select_some(of: ColumnElement[bool], most: int | None) -> Select[Any]:
    some = (
        select(literal(1))
        .select_from(job)
        .where(_of_class(bindparam("lane"), bindparam("cost_class")), of)
        .limit(most)
    )
    return select(func.count()).select_from(some.subquery())


_OPEN_JOBS = _select_open_jobs()
_IS_EARLY = job.c.due_at > bindparam("now")
_IS_DUE = and_(job.c.due_at > 0, job.c.due_at <= bindparam("now"))
_SOME_EARLY = _select_some(_IS_EARLY, _FEW)
_SOME_DUE = _select_some(_IS_DUE, _FEW)
_ALL_EARLY = _select_some(_IS_EARLY, None)


def count_questions_to_come(
    connection: Connection, run_id: int, queue: Iterable[OpenJobs]
) -> int | None:
    """Expected questions of the open jobs; None if the number is unknown for one of them, or 0."""
    running = connection.execute(
        select(job.c.expected_tests).where(job.c.run_id == run_id, job.c.state == State.RUNNING)
    ).scalars()
    expected = [(1, tests) for tests in running] + [(one.jobs, one.expected_tests) for one in queue]
    total = 0
    for jobs, tests in expected:
        # Jobs without tests, such as functions, may still report the progress of something else.
        if not tests:
            return None
        total += jobs * tests
    return total


def find_backing_off(queue: Iterable[OpenJobs]) -> dict[str, tuple[int, float]]:
    """Jobs that may not be sent yet, by lane: (how many, when the first of them may be sent)."""
    found: dict[str, tuple[int, float]] = {}
    for one in queue:
        if one.next_due_at is not None:
            jobs, due_at = found.get(one.lane, (0, one.next_due_at))
            found[one.lane] = jobs + one.backing_off, min(due_at, one.next_due_at)
    return found
