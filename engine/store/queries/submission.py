"""Writing a sweep's matrix into the queue, batch by batch, and changing it later.

Each expansion has a generation. It goes through the whole matrix and writes only jobs that are new or
changed. It notes in memory which jobs the matrix asks for, one bit each; those that it has not asked for at
the end were removed from the sweep. So an expansion that was cut short is simply done again.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Integer,
    RowMapping,
    Select,
    and_,
    bindparam,
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

from engine.core.layout import Edit
from engine.core.policy import UnansweredPolicy
from engine.core.runs import RunState
from engine.core.states import Event, State, sources, target
from engine.store.dialect import BulkUpsert, insert
from engine.store.queries import queue, runs
from engine.store.queries.families import Member, merge_thresholds, place
from engine.store.queries.parts import ONE_OF_PART, each
from engine.store.queries.queue import CLAIMABLE, PAST, REMOVED, RUNNING
from engine.store.queries.runs import KeptLayout, RunRow
from engine.store.requests import NewJob
from engine.store.schema import document, job, result, run

Position: TypeAlias = tuple[int, int]
"""A repeat and a place: where a job stands in the order of the file."""
ALL_IN_TURN: Position = (2**62, PAST)
"""Behind every job but those that were put behind."""


class ExpansionProgress:
    """How far an expansion has come, and the jobs that it has asked for so far, by id: a bit each."""

    def __init__(self) -> None:
        self._bits = bytearray()
        self.reached: Position = (0, 0)
        """The last job that it has asked for: whether a job behind it is still in the sweep is not known."""
        self.edit: Edit | None = None
        """What alone it asks for, and what it removes, where that is known: then no other job is looked at."""

    def add(self, ids: Iterable[int]) -> None:
        """Note jobs."""
        for job_id in ids:
            at, bit = divmod(job_id, 8)
            if at >= len(self._bits):
                self._bits.extend(bytes(at + 4096 - len(self._bits)))
            self._bits[at] |= 1 << bit

    def __contains__(self, job_id: int) -> bool:
        at, bit = divmod(job_id, 8)
        return at < len(self._bits) and bool(self._bits[at] >> bit & 1)


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

# One that was still open when everything was to be asked again may have been answered since.
_SINCE = exists().where(
    result.c.job_id == literal_column("job.id"), result.c.recorded_at >= bindparam("fresh_at")
)
_AGAIN = and_(
    job.c.generation < bindparam("fresh"),
    job.c.state.in_(list(sources(Event.REQUEUE))),
    ~_SINCE,
)
_RETURNING = or_(and_(job.c.state == State.CANCELLED, job.c.error == REMOVED), _AGAIN)
_RESTATED = ("labels", "documents", "place", "cells", "cell_count", "past_cells")
"""What a sweep may say otherwise of a job that is there."""
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
            # The replies that were paid for do not count any more.
            "charged": case((job.c.generation < bindparam("fresh"), 0), else_=job.c.charged),
        },
        # What is as it was is not written: an edit costs what is new, and its expansion, done again, nothing.
        where=or_(
            job.c.generation < bindparam("fresh"),
            *(job.c[name] != statement.excluded[name] for name in _RESTATED),
            and_(job.c.family.is_(None), statement.excluded.family.is_not(None)),
            _RETURNING,
        ),
    ),
)


def add_documents(connection: Connection, contents: Mapping[str, Any]) -> None:
    """Keep prompts and other large contents once, under their digests."""
    if contents:
        connection.execute(
            insert(connection, document).on_conflict_do_nothing(),
            [
                {"digest": digest, "content": json.dumps(content, ensure_ascii=False)}
                for digest, content in contents.items()
            ],
        )


def add_jobs(
    connection: Connection,
    of: RunRow,
    jobs: Sequence[NewJob],
    *,
    reuse: bool,
    unanswered: UnansweredPolicy,
    asked: ExpansionProgress,
) -> None:
    """Ask for a batch of jobs, noted in `asked`: new ones become pending, those that are there already stay.

    `reuse`: answers of other runs serve, unless more of their questions are unanswered than the run
    allows. Does nothing if the run has meanwhile got another sweep, or is deleted.
    """
    if _is_superseded(connection, of):
        return
    families: Mapping[bytes, list[Member]] = {}
    wanted: Sequence[NewJob] = jobs
    if of.generation > 1:
        families = find_members(connection, of, jobs, asked)
        wanted = place(jobs, families)
    if wanted:
        fresh = of.fresh_generation or 0
        if fresh:
            _keep_for_others(connection, of, wanted, fresh)
        _ASK.run(
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
        _reuse(connection, of, wanted, unanswered)


def _keep_for_others(
    connection: Connection, of: RunRow, wanted: Iterable[NewJob], fresh: int
) -> None:
    """Keep the answers that are asked for again for the runs that took them over."""
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


def _is_superseded(connection: Connection, of: RunRow) -> bool:
    current = select(run.c.generation).where(run.c.id == of.id, run.c.state != RunState.DELETING)
    return connection.execute(current).scalar_one_or_none() != of.generation


def _is_over(connection: Connection, of: RunRow) -> bool:
    """Whether the run has got another sweep, or another process has written out this one."""
    row = connection.execute(
        select(run.c.generation, run.c.expanded, run.c.digest).where(run.c.id == of.id)
    ).one()
    return bool(row.generation != of.generation or row.expanded == row.digest)


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
        json.dumps(one.labels, ensure_ascii=False),
        json.dumps(one.documents),
        one.repeat,
        one.place,
        one.threshold,
        json.dumps(one.cells),
        max(1, len(one.cells)),
        json.dumps(one.past_cells),
        State.PENDING,
    )


def find_members(
    connection: Connection, of: RunRow, jobs: Iterable[NewJob], asked: ExpansionProgress
) -> dict[bytes, list[Member]]:
    """What the run has of the families of these jobs, of which some were asked for already."""
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
    """Whether a job was done with before the run began to ask everything again."""
    if generation >= (of.fresh_generation or 0):
        return False
    return recorded_at is None or recorded_at < (of.fresh_at or 0.0)


def _save_members(connection: Connection, of: RunRow, members: Iterable[Member]) -> None:
    for is_asked, values in (
        (True, {"generation": of.generation}),
        (False, {}),
    ):
        changed = [one for one in members if one.is_asked is is_asked and _is_otherwise(one)]
        if changed:
            connection.execute(
                update(job)
                .where(job.c.id == bindparam("job_id"))
                .values(
                    cells=bindparam("asked"),
                    cell_count=bindparam("count"),
                    past_cells=bindparam("past"),
                    place=func.coalesce(bindparam("at", type_=Integer), job.c.place),
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


def _is_otherwise(one: Member) -> bool:
    """Whether a member is to be written: it may have been changed and be as it was."""
    if not one.is_changed or one.before is None:
        return one.is_changed
    cells, past_cells, at = one.before
    return (one.cells, one.past_cells) != (cells, past_cells) or one.place not in (None, at)


def _reuse(
    connection: Connection,
    of: RunRow,
    jobs: Iterable[NewJob],
    unanswered: UnansweredPolicy,
) -> None:
    """Answer jobs of this batch from answers of other runs.

    Those that have an answer and are asked again are left alone.
    """
    provenance = {one.key: one.provenance for one in jobs}
    rows = connection.execute(
        select(job.c.id, job.c.key).where(
            job.c.key.in_(list(provenance)), job.c.run_id == of.id, CLAIMABLE, ~_has_answer()
        )
    ).all()
    theirs = find_answers_of_others(
        connection, of, {row.key: provenance[row.key] for row in rows}, unanswered
    )
    found = {row.id: theirs[row.key] for row in rows if row.key in theirs}
    if not found:
        return
    connection.execute(
        result.insert(),
        [
            {
                "job_id": job_id,
                "run_id": of.id,
                "passed": row["passed"],
                "failed": row["failed"],
                "tests": row["tests"],
                "scores": row["scores"],
                "note": row["note"],
                "unanswered": row["unanswered"],
                "values": row["values"],
                "reused_from": row["source"],
                "provenance": row["provenance"],
                "recorded_at": row["recorded_at"],
            }
            for job_id, row in found.items()
        ],
    )
    connection.execute(
        update(job)
        .where(job.c.id == bindparam("job_id"), CLAIMABLE)
        .values(state=target(Event.SUCCEED), due_at=0.0, error=None, detail=None),
        [{"job_id": job_id} for job_id in found],
    )


def find_answers_of_others(
    connection: Connection,
    of: RunRow,
    provenance: Mapping[bytes, str],
    unanswered: UnansweredPolicy,
) -> dict[bytes, RowMapping]:
    """The answers of other runs to these keys that were decided by the same and serve here, by key.

    An answer without gaps goes before others; of an own run that asks everything again, only what came since.
    """
    if not provenance:
        return {}
    rows = connection.execute(
        select(
            job.c.key,
            func.coalesce(result.c.reused_from, job.c.id).label("source"),
            result.c.passed,
            result.c.failed,
            result.c.tests,
            result.c.scores,
            result.c.note,
            result.c.provenance,
            result.c.unanswered,
            result.c["values"],
            result.c.recorded_at,
        )
        .select_from(job.join(result, result.c.job_id == job.c.id))
        .where(
            job.c.key.in_(list(provenance)),
            job.c.run_id != of.id,
            result.c.recorded_at >= (of.fresh_at or 0.0),
        )
        # The last one of a key is taken.
        .order_by(result.c.unanswered.is_(None), job.c.id)
    )
    return {
        row["key"]: row
        for row in rows.mappings()
        if row["provenance"] == provenance[row["key"]] and is_enough(row, unanswered)
    }


def _has_answer() -> ColumnElement[bool]:
    own = result.alias("own")
    return exists().where(own.c.job_id == job.c.id)


def is_enough(row: RowMapping, policy: UnansweredPolicy) -> bool:
    """Whether an answer lacks no more questions than the sweep allows."""
    unanswered = json.loads(row["unanswered"] or "{}")
    return policy.allows(row["passed"] + row["failed"], sum(unanswered.values()))


def find_passed_over(
    connection: Connection, of: RunRow, asked: ExpansionProgress, reached: Position
) -> Sequence[int]:
    """The open jobs between what an expansion had reached and what it has reached now that it has not asked for.

    They are removed from the sweep, or stand further back in it than they did.
    """
    since, until = asked.reached, reached
    found: list[int] = []
    for repeat in range(max(1, since[0]), until[0] + 1):
        query = select(job.c.id, job.c.state).where(
            job.c.run_id == of.id, job.c.repeat == repeat, job.c.place < PAST
        )
        if repeat == since[0]:
            query = query.where(job.c.place > since[1])
        if repeat == until[0]:
            query = query.where(job.c.place <= until[1])
        # By place, whatever there is: as claimable ones they would be looked for among all that are in line.
        found += [row.id for row in connection.execute(query) if row.state in _OPEN]
    return [job_id for job_id in found if job_id not in asked]


def put_behind(connection: Connection, of: RunRow, ids: Sequence[int]) -> int:
    """Let jobs wait behind all others until the expansion has come to them, or removes them in the end.

    Those in flight as well: one that is given back meanwhile is not to be sent again. Does nothing once another
    process has written out the matrix.
    """
    if _is_over(connection, of):
        return 0
    return connection.execute(_PUT_BEHIND, each(ids)).rowcount


def find_displaced(connection: Connection, of: RunRow, edit: Edit) -> Sequence[int]:
    """The jobs in line or in flight, and in their turn, that an edit removes or changes."""
    query = _BY_PLACE.where(job.c.run_id == of.id, job.c.place < PAST, _is_left(edit), _IS_OPEN)
    return connection.execute(query).scalars().all() if _has_left(edit) else ()


def find_behind(connection: Connection, of: RunRow, edit: Edit) -> Sequence[int]:
    """The jobs that another expansion has put behind all others, and that an edit neither removes nor changes."""
    query = _BY_PLACE.where(
        job.c.run_id == of.id, job.c.place >= PAST, ~_is_left(edit), job.c.cell_count > 0
    )
    return connection.execute(query).scalars().all()


# Along this index places are told without a look at the rows, of which a run may have a million.
_BY_PLACE = select(job.c.id).with_hint(job, "INDEXED BY ix_job_place", "sqlite")


def put_back(connection: Connection, of: RunRow, ids: Sequence[int]) -> int:
    """Give jobs that were put behind all others their turn again."""
    if _is_over(connection, of):
        return 0
    return connection.execute(_PUT_BACK, each(ids)).rowcount


def select_left_behind(of: RunRow, edit: Edit) -> Select[Any]:
    """The jobs of a run that are asked for, or would be sent, as the store has it, and that an edit left behind."""
    return _BY_PLACE.where(
        job.c.run_id == of.id, _is_left(edit), or_(job.c.cell_count > 0, CLAIMABLE)
    )


def _has_left(edit: Edit) -> bool:
    return bool(edit.left) or edit.repeats_left is not None


def _is_left(edit: Edit) -> ColumnElement[bool]:
    """Whether a job has a value, or is of a repeat, that an edit removes or changes."""
    left: list[ColumnElement[bool]] = [
        job.c.place.op("%")(PAST).op(">>")(bit).op("&")((1 << bits) - 1).in_(sorted(ranks))
        for bit, bits, ranks in edit.left
    ]
    if edit.repeats_left is not None:
        left.append(job.c.repeat > edit.repeats_left)
    return or_(false(), *left)


_OPEN = frozenset((*sources(Event.CLAIM), State.RUNNING))
_IS_OPEN = or_(CLAIMABLE, RUNNING)
_PUT_BEHIND = (
    update(job).where(ONE_OF_PART, _IS_OPEN, job.c.place < PAST).values(place=job.c.place + PAST)
)
_PUT_BACK = (
    update(job)
    .where(ONE_OF_PART, job.c.cell_count > 0, job.c.place >= PAST)
    .values(place=job.c.place - PAST)
)


def select_asked(of: RunRow) -> Select[Any]:
    """The jobs of a run that are asked for, or would be sent, as the store has it."""
    return select(job.c.id).where(job.c.run_id == of.id, or_(job.c.cell_count > 0, CLAIMABLE))


def remove(connection: Connection, of: RunRow, ids: Sequence[int]) -> int:
    """Cancel jobs that the matrix does not ask for any more, and make their cells past; how many were cancelled.

    Answers of removed cells are kept. Does nothing if the run has meanwhile got another sweep.
    """
    if _is_superseded(connection, of):
        return 0
    removed = connection.execute(_REMOVE, each(ids)).rowcount
    rows = connection.execute(
        select(job.c.id, job.c.cells, job.c.past_cells).where(
            job.c.id.in_(list(ids)), job.c.cell_count > 0
        )
    )
    past = [
        {
            "job_id": row.id,
            "past": json.dumps(merge_thresholds(json.loads(row.cells), json.loads(row.past_cells))),
        }
        for row in rows
    ]
    if past:
        connection.execute(_MAKE_PAST, past)
    return removed


_REMOVE = (
    update(job)
    .where(ONE_OF_PART, CLAIMABLE)
    .values(
        # What has an answer and was to be asked again keeps it.
        state=case((_has_answer(), target(Event.SUCCEED)), else_=target(Event.CANCEL)),
        error=case((_has_answer(), None), else_=REMOVED),
        due_at=0.0,
    )
)
_MAKE_PAST = (
    update(job)
    .where(ONE_OF_PART)
    .values(
        cells="[]",
        cell_count=0,
        past_cells=bindparam("past"),
        place=case((job.c.place < PAST, job.c.place + PAST), else_=job.c.place),
    )
)


def finish(connection: Connection, of: RunRow, kept: KeptLayout | None, *, now: float) -> None:
    """Say that the matrix is wholly in the queue, unless somebody has submitted yet another sweep meanwhile."""
    connection.execute(
        update(run)
        .where(run.c.id == of.id, run.c.generation == of.generation)
        .values(expanded=of.digest, layout=runs.dump_layout(kept), updated_at=now)
    )
