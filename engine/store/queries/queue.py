"""The job queue in SQL: which jobs can be claimed, and what happens to many of them at once.

Every function runs inside a write transaction of the caller's and leaves committing to it.
"""

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    case,
    exists,
    false,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Connection

from engine.core.states import Event, State, sources, target
from engine.store.dialect import insert
from engine.store.queries.parts import ONE_OF_PART, each
from engine.store.schema import answer, job, result

# Written out, not bound: only so does the planner see that the partial index fits.
CLAIMABLE: ColumnElement[bool] = literal_column(
    "job.state IN ({})".format(", ".join(f"'{state}'" for state in sources(Event.CLAIM)))
)
RUNNING: ColumnElement[bool] = literal_column(
    f"(job.state = '{State.RUNNING}' AND job.owner IS NOT NULL)"
)

REMOVED = "removed from the sweep"
"""The error of a job that was cancelled because its sweep asks for it no more."""
PAST = 2**61
"""Added to the place of a job that is not asked for any more: behind all that is."""


def has_open_jobs(connection: Connection, run_id: int) -> bool:
    """Whether a run has any job that is neither answered, failed nor cancelled."""
    for where in (CLAIMABLE, RUNNING):
        query = select(job.c.id).where(job.c.run_id == run_id, where).limit(1)
        if connection.execute(query).first() is not None:
            return True
    return False


def select_claimable(run_id: int) -> Select[Any]:
    """The jobs of a run that are not yet sent."""
    return select(job.c.id).where(job.c.run_id == run_id, CLAIMABLE)


def cancel(connection: Connection, ids: Sequence[int]) -> int:
    """Cancel those of these jobs that are not yet sent; returns how many. What is in flight ends with its worker.

    What has an answer and was to be asked again keeps it.
    """
    return connection.execute(_CANCEL, each(ids)).rowcount


_HAS_ANSWER = exists().where(result.c.job_id == job.c.id)
_CANCEL = (
    update(job)
    .where(ONE_OF_PART, CLAIMABLE)
    .values(
        state=case((_HAS_ANSWER, target(Event.SUCCEED)), else_=target(Event.CANCEL)),
        error=case((_HAS_ANSWER, None), else_="cancelled"),
        due_at=0.0,
    )
)


def select_requeueable(run_id: int, states: Iterable[State]) -> Select[Any]:
    """The jobs of the sweep that can be put back in line; of those that have succeeded: where questions are unanswered."""
    return select(job.c.id).where(job.c.run_id == run_id, _is_requeueable(states))


def requeue(connection: Connection, ids: Sequence[int], states: Collection[State]) -> int:
    """Put those of these jobs that are in one of the states back in line with fresh attempts; returns how many."""
    wanted = and_(ONE_OF_PART, _is_requeueable(states))
    part = each(ids)
    if State.SUCCEEDED in states:
        keep_for_others(connection, wanted, part)
    done = connection.execute(
        update(job)
        .where(wanted)
        .values(
            state=target(Event.REQUEUE),
            attempts=0,
            due_at=0.0,
            error=None,
            detail=None,
        ),
        part,
    )
    return done.rowcount


def _is_requeueable(states: Iterable[State]) -> ColumnElement[bool]:
    allowed = [state for state in states if state in sources(Event.REQUEUE)]
    theirs = result.alias("theirs")
    is_partial = exists().where(theirs.c.job_id == job.c.id, theirs.c.unanswered.is_not(None))
    return and_(
        # Written out: a statement that is run for each job takes no list.
        or_(false(), *(job.c.state == state for state in allowed)),
        job.c.cell_count > 0,
        or_(job.c.state != State.SUCCEEDED, is_partial),
    )


def keep_for_others(
    connection: Connection,
    wanted: ColumnElement[bool],
    parameters: Sequence[Mapping[str, Any]] = (),
) -> None:
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
        .on_conflict_do_nothing(),
        parameters or None,
    )


def count_peers(connection: Connection, run_id: int, *, but: str) -> int:
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
