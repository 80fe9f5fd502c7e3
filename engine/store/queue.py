"""The job queue in SQL: which jobs can be claimed, and what happens to many of them at once.

Every function runs inside a write transaction of the caller's and leaves committing to it.
"""

import zlib
from collections.abc import Iterable

from sqlalchemy import ColumnElement, and_, case, exists, func, literal_column, or_, select, update
from sqlalchemy.engine import Connection

from engine.core.states import Event, State, sources, target
from engine.store.dialect import insert
from engine.store.schema import answer, job, result

# Written out, not bound: only so does the planner see that the partial index fits.
CLAIMABLE: ColumnElement[bool] = literal_column(
    "job.state IN ({})".format(", ".join(f"'{state}'" for state in sources(Event.CLAIM)))
)
RUNNING: ColumnElement[bool] = literal_column(f"job.state = '{State.RUNNING}'")

REMOVED = "removed from the sweep"
"""The error of a job that was cancelled because its sweep asks for it no more."""


def open_jobs(connection: Connection, run_id: int) -> bool:
    """Whether a run has any job that is neither answered, failed nor cancelled."""
    for where in (CLAIMABLE, RUNNING):
        query = select(job.c.id).where(job.c.run_id == run_id, where).limit(1)
        if (connection.execute(query)).first() is not None:
            return True
    return False


def cancel(connection: Connection, run_id: int) -> int:
    """Cancel what is not yet sent; returns how many jobs. What is in flight ends with its worker.

    What has an answer and was to be asked again keeps it.
    """
    has_answer = exists().where(result.c.job_id == job.c.id)
    done = connection.execute(
        update(job)
        .where(job.c.run_id == run_id, CLAIMABLE)
        .values(
            state=case((has_answer, target(Event.SUCCEED)), else_=target(Event.CANCEL)),
            error=case((has_answer, None), else_="cancelled"),
            due_at=0.0,
        )
    )
    return done.rowcount


def requeue(connection: Connection, run_id: int, states: Iterable[State]) -> int:
    """Put jobs of the sweep back in line with fresh attempts; returns how many.

    Of those that have succeeded: where questions are unanswered.
    """
    allowed = [state for state in states if state in sources(Event.REQUEUE)]
    theirs = result.alias("theirs")
    is_partial = exists().where(theirs.c.job_id == job.c.id, theirs.c.unanswered.is_not(None))
    wanted = and_(
        job.c.run_id == run_id,
        job.c.state.in_(allowed),
        job.c.cell_count > 0,
        or_(job.c.state != State.SUCCEEDED, is_partial),
    )
    if State.SUCCEEDED in allowed:
        keep_for_others(connection, wanted)
    done = connection.execute(
        update(job)
        .where(wanted)
        .values(
            state=target(Event.REQUEUE),
            attempts=0,
            due_at=0.0,
            error=None,
            detail=None,
        )
    )
    return done.rowcount


def keep_for_others(connection: Connection, wanted: ColumnElement[bool]) -> None:
    """Copy the answers of these jobs for the results of other runs that were taken over from them.

    The jobs will get another answer, from which those numbers were not read.
    """
    connection.execute(
        insert(connection, answer)
        .from_select(
            ["job_id", "raw"],
            select(result.c.job_id, answer.c.raw)
            .join(answer, answer.c.job_id == result.c.reused_from)
            .join(job, and_(job.c.id == answer.c.job_id, wanted)),
        )
        .on_conflict_do_nothing()
    )


def peers(connection: Connection, run_id: int, *, but: str) -> int:
    """How many workers other than `but` have jobs of a run in flight."""
    owners = select(func.count(job.c.owner.distinct())).where(
        RUNNING, job.c.run_id == run_id, job.c.owner != but
    )
    return int(connection.execute(owners).scalar_one())


def compress(raw: bytes) -> bytes:
    """An answer as it is kept."""
    return zlib.compress(raw, 1)


def decompress(kept: bytes) -> bytes:
    """An answer as it was received."""
    return zlib.decompress(kept)
