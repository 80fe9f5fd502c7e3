"""Writing a sweep's matrix into the queue, batch by batch.

Each expansion has a generation. It passes through the whole matrix, writes only new or changed jobs, and records in
memory which jobs the matrix asks for, one bit each. The jobs that it has not asked for at the end were removed from
the sweep. So an expansion that was interrupted is simply repeated.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from sqlalchemy import (
    and_,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Connection

from engine.core.policy import UnansweredPolicy
from engine.core.states import Event, State, sources, target
from engine.store.dialect import BulkUpsert
from engine.store.queries import queue
from engine.store.queries.expansion import ExpansionProgress, is_superseded
from engine.store.queries.families import Member, assign_cells
from engine.store.queries.queue import REMOVED
from engine.store.queries.reuse import reuse_answers
from engine.store.queries.runs import RunRow
from engine.store.requests import NewJob
from engine.store.schema import job, result

_MEMBERS = select(
    job.c.id,
    job.c.key,
    job.c.family,
    job.c.generation,
    job.c.place,
    job.c.threshold,
    job.c.cells,
    job.c.past_cells,
    job.c.state,
    select(result.c.recorded_at)
    .where(result.c.job_id == job.c.id)
    .correlate(job)
    .scalar_subquery()
    .label("recorded_at"),
).where(job.c.family.in_(bindparam("families", expanding=True)), job.c.run_id == bindparam("run"))
# A job that was open when everything was to be asked again may have been answered since.
_SINCE = exists().where(
    result.c.job_id == literal_column("job.id"), result.c.recorded_at >= bindparam("fresh_at")
)
_AGAIN = and_(
    job.c.generation < bindparam("fresh"),
    job.c.state.in_(list(sources(Event.REQUEUE))),
    ~_SINCE,
)
# An encoder of its own is not made again for each value.
_to_json = json.JSONEncoder(ensure_ascii=False).encode
_RETURNING = or_(and_(job.c.state == State.CANCELLED, job.c.error == REMOVED), _AGAIN)
_RESTATED = ("labels", "documents", "place", "cells", "cell_count", "past_cells")
"""The columns of an existing job that an edited sweep may change."""
_ASK = BulkUpsert(
    (
        job.c.run_id,
        job.c.key,
        job.c.family,
        job.c.generation,
        job.c.lane,
        job.c.cost_class,
        job.c.expected_tests,
        job.c.labels,
        job.c.documents,
        job.c.repeat,
        job.c.place,
        job.c.threshold,
        job.c.cells,
        job.c.cell_count,
        job.c.past_cells,
        job.c.state,
    ),
    lambda statement: statement.on_conflict_do_update(
        index_elements=["key", "run_id"],
        set_={
            **{name: statement.excluded[name] for name in _RESTATED},
            "generation": statement.excluded.generation,
            "family": func.coalesce(statement.excluded.family, job.c.family),
            "state": case((_RETURNING, target(Event.REQUEUE)), else_=job.c.state),
            "attempts": case((_RETURNING, 0), else_=job.c.attempts),
            "error": case((_RETURNING, None), else_=job.c.error),
            "detail": case((_AGAIN, None), else_=job.c.detail),
            # The replies that were charged no longer count.
            "charged": case((job.c.generation < bindparam("fresh"), 0), else_=job.c.charged),
        },
        # Unchanged rows are not written: an edit costs only its changes, and a repeated expansion nothing.
        where=or_(
            job.c.generation < bindparam("fresh"),
            *(job.c[name] != statement.excluded[name] for name in _RESTATED),
            and_(job.c.family.is_(None), statement.excluded.family.is_not(None)),
            _RETURNING,
        ),
    ),
)


def add_jobs(
    connection: Connection,
    of: RunRow,
    jobs: Sequence[NewJob],
    *,
    reuse: bool,
    unanswered: UnansweredPolicy,
    asked: ExpansionProgress,
) -> int:
    """Add a batch of jobs to the queue and record it in `asked`: new jobs become pending, existing ones stay.

    Returns how many are new or changed.

    With `reuse`, jobs are answered from other runs, unless such an answer lacks more questions than `unanswered`
    allows. Does nothing if the run has got another sweep meanwhile or was deleted.
    """
    if is_superseded(connection, of):
        return 0
    written = 0
    families: Mapping[bytes, list[Member]] = {}
    wanted: Sequence[NewJob] = jobs
    if of.generation > 1:
        families = find_members(connection, of, jobs, asked)
        wanted = assign_cells(jobs, families)
    if wanted:
        fresh = of.fresh_generation or 0
        if fresh:
            _keep_for_others(connection, of, wanted, fresh)
        written = _ASK.run(
            connection,
            [_values(of, one) for one in wanted],
            fresh=fresh,
            fresh_at=of.fresh_at or 0.0,
        )
    members = list(chain.from_iterable(families.values()))
    _save_members(connection, of, members)
    if of.generation > 1:
        keys = [one.key for one in wanted]
        ids = select(job.c.id).where(job.c.key.in_(keys), job.c.run_id == of.id)
        asked.add(connection.execute(ids).scalars())
        asked.add(member.id for member in members if member.is_asked)
    if reuse and wanted:
        reuse_answers(connection, of, wanted, unanswered)
    return written


def _keep_for_others(
    connection: Connection, of: RunRow, wanted: Iterable[NewJob], fresh: int
) -> None:
    """Copy the answers of jobs that are asked again to the runs that reuse them."""
    keys = [one.key for one in wanted]
    queue.keep_for_others(
        connection,
        and_(
            job.c.run_id == of.id,
            job.c.key.in_(keys),
            job.c.generation < fresh,
            job.c.state == State.SUCCEEDED,
        ),
    )


def _values(of: RunRow, one: NewJob) -> tuple[object, ...]:
    """The values of a new row, in the order of the columns of `_ASK`."""
    return (
        of.id,
        one.key,
        one.family,
        of.generation,
        one.lane,
        one.cost_class,
        one.expected_tests,
        _to_json(one.labels),
        _to_json(one.documents),
        one.repeat,
        one.place,
        one.threshold,
        _to_json(one.cells),
        max(1, len(one.cells)),
        _to_json(one.past_cells),
        State.PENDING,
    )


def find_members(
    connection: Connection, of: RunRow, jobs: Iterable[NewJob], asked: ExpansionProgress
) -> dict[bytes, list[Member]]:
    """The run's existing jobs of the families of these jobs, by family; some were asked for already."""
    wanted = {one.family for one in jobs if one.family is not None}
    found: dict[bytes, list[Member]] = defaultdict(list)
    for row in connection.execute(_MEMBERS, {"families": list(wanted), "run": of.id}):
        member = Member(
            row.id,
            row.key,
            row.threshold,
            json.loads(row.cells),
            json.loads(row.past_cells),
            is_answered=row.state == State.SUCCEEDED
            and not is_outdated(of, row.generation, row.recorded_at),
            is_asked=row.id in asked,
            before=(json.loads(row.cells), json.loads(row.past_cells), row.place),
        )
        found[row.family].append(member)
    return found


def is_outdated(of: RunRow, generation: int, recorded_at: float | None) -> bool:
    """Whether a job's answer, recorded at `recorded_at`, dates from before the run began to ask everything again.

    False for a job that was requeued or answered since; `recorded_at` is None for a job without an answer.
    """
    if generation >= (of.fresh_generation or 0):
        return False
    return recorded_at is None or recorded_at < (of.fresh_at or 0.0)


def _save_members(connection: Connection, of: RunRow, members: Iterable[Member]) -> None:
    for is_asked, values in (
        (True, {"generation": of.generation}),
        (False, {}),
    ):
        changed = [one for one in members if one.is_asked is is_asked and _differs(one)]
        if changed:
            connection.execute(
                update(job)
                .where(job.c.id == bindparam("job_id"))
                .values(
                    cells=bindparam("asked"),
                    cell_count=bindparam("count"),
                    past_cells=bindparam("past"),
                    place=func.coalesce(bindparam("at", type_=job.c.place.type), job.c.place),
                    **values,
                ),
                [
                    {
                        "job_id": one.id,
                        "asked": json.dumps(one.cells),
                        "count": len(one.cells),
                        "past": json.dumps(one.past_cells),
                        "at": one.place,
                    }
                    for one in changed
                ],
            )


def _differs(one: Member) -> bool:
    """Whether a member differs from its row; it may have been changed and changed back."""
    if not one.is_changed or one.before is None:
        return one.is_changed
    cells, past_cells, at = one.before
    return (one.cells, one.past_cells) != (cells, past_cells) or one.place not in (None, at)
