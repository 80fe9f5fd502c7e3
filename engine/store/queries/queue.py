"""The job queue in SQL: which jobs can be claimed, and changes of many jobs at once.

Every function runs inside a write transaction of the caller, which commits.
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

# The values are literals, because the planner does not use a partial index for bound parameters.
CLAIMABLE: ColumnElement[bool] = literal_column(
    "job.state IN ({})".format(", ".join(f"'{state}'" for state in sources(Event.CLAIM)))
)
RUNNING: ColumnElement[bool] = literal_column(
    f"(job.state = '{State.RUNNING}' AND job.owner IS NOT NULL)"
)

REMOVED = "removed from the sweep"
"""The error of a job that was cancelled because its sweep no longer asks for it."""
PAST = 2**61
"""Added to the place of a job that is no longer asked for; it puts the job behind all others."""


def has_open_jobs(connection: Connection, run_id: int) -> bool:
    """Whether a run has a job that is pending, waiting or running."""
    for where in (CLAIMABLE, RUNNING):
        query = select(job.c.id).where(job.c.run_id == run_id, where).limit(1)
        if connection.execute(query).first() is not None:
            return True
    return False


def select_claimable(run_id: int) -> Select[Any]:
    """The query for the ids of a run's pending and waiting jobs, including those that are not due yet."""
    return select(job.c.id).where(job.c.run_id == run_id, CLAIMABLE)


def cancel(connection: Connection, ids: Sequence[int]) -> int:
    """Cancel the jobs among these that are not in flight; returns how many.

    A job that was to be asked again and has an answer becomes succeeded instead.
    """
    return connection.execute(_CANCEL, each(ids)).rowcount


_HAS_ANSWER = exists().where(result.c.job_id == job.c.id)
_CANCEL = (
    update(job)
    .where(ONE_OF_PART, CLAIMABLE)
    .values(
        state=case((_HAS_ANSWER, target(Event.SUCCEED)), else_=target(Event.CANCEL)),
        error=case((_HAS_ANSWER, None), else_="cancelled"),
        detail=None,
        due_at=0.0,
    )
)


def select_requeueable(run_id: int, states: Iterable[State]) -> Select[Any]:
    """The query for the jobs of a run that can be requeued; succeeded ones only if they have unanswered questions."""
    return select(job.c.id).where(job.c.run_id == run_id, _is_requeueable(states))


def requeue(connection: Connection, ids: Sequence[int], states: Collection[State]) -> int:
    """Requeue the jobs among these that are in one of the states, with no attempts used; returns how many."""
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
        # No IN: a statement that runs for a list of parameters cannot expand a list.
        or_(false(), *(job.c.state == state for state in allowed)),
        job.c.cell_count > 0,
        or_(job.c.state != State.SUCCEEDED, is_partial),
    )


def keep_for_others(
    connection: Connection,
    wanted: ColumnElement[bool],
    parameters: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Copy the answers of these jobs to the results of other runs that reuse them.

    The jobs will get new answers, which do not match the numbers of those results.
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
    """The number of workers, except `but`, that have jobs of a run in flight.

    A worker that died counts until its jobs are taken back.
    """
    owners = select(func.count(job.c.owner.distinct())).where(
        RUNNING, job.c.run_id == run_id, job.c.owner != but
    )
    return int(connection.execute(owners).scalar_one())


def compress(raw: bytes) -> bytes:
    """Compress an answer for storage, at zlib's fastest level."""
    return zlib.compress(raw, 1)


def decompress(kept: bytes) -> bytes:
    """Restore an answer as it was received; raises zlib.error if the stored bytes are damaged."""
    return zlib.decompress(kept)
