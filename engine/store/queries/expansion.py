"""How far the expansion of a sweep has come, and what becomes of jobs that it does not ask for.

Every function runs inside a transaction of the caller.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Select,
    bindparam,
    case,
    false,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Connection

from engine.core.layout import Edit
from engine.core.runs import RunState
from engine.core.states import Event, State, sources, target
from engine.store.queries import runs
from engine.store.queries.families import merge_thresholds
from engine.store.queries.parts import ONE_OF_PART, each
from engine.store.queries.queue import CLAIMABLE, PAST, REMOVED, RUNNING
from engine.store.queries.reuse import has_answer
from engine.store.queries.runs import KeptLayout, RunRow
from engine.store.schema import job, run

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


def is_superseded(connection: Connection, of: RunRow) -> bool:
    current = select(run.c.generation).where(run.c.id == of.id, run.c.state != RunState.DELETING)
    return connection.execute(current).scalar_one_or_none() != of.generation


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


def put_behind(connection: Connection, of: RunRow, ids: Sequence[int]) -> int:
    """Let jobs wait behind all others until the expansion has come to them, or removes them in the end.

    Those in flight as well: one that is given back meanwhile is not to be sent again. Does nothing once another
    process has written out the matrix.
    """
    if _is_over(connection, of):
        return 0
    return connection.execute(_PUT_BEHIND, each(ids)).rowcount


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


def select_asked(of: RunRow) -> Select[Any]:
    """The jobs of a run that are asked for, or would be sent, as the store has it."""
    return select(job.c.id).where(job.c.run_id == of.id, or_(job.c.cell_count > 0, CLAIMABLE))


def remove(connection: Connection, of: RunRow, ids: Sequence[int]) -> int:
    """Cancel jobs that the matrix does not ask for any more, and make their cells past; how many were cancelled.

    Answers of removed cells are kept. Does nothing if the run has meanwhile got another sweep.
    """
    if is_superseded(connection, of):
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


def finish(connection: Connection, of: RunRow, kept: KeptLayout | None, *, now: float) -> None:
    """Say that the matrix is wholly in the queue, unless somebody has submitted yet another sweep meanwhile."""
    connection.execute(
        update(run)
        .where(run.c.id == of.id, run.c.generation == of.generation)
        .values(expanded=of.digest, layout=runs.dump_layout(kept), updated_at=now)
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


def _is_over(connection: Connection, of: RunRow) -> bool:
    """Whether the run has got another sweep, or another process has written out this one."""
    row = connection.execute(
        select(run.c.generation, run.c.expanded, run.c.digest).where(run.c.id == of.id)
    ).one()
    return bool(row.generation != of.generation or row.expanded == row.digest)


_OPEN = frozenset((*sources(Event.CLAIM), State.RUNNING))
_IS_OPEN = or_(CLAIMABLE, RUNNING)
# Along this index places are told without a look at the rows, of which a run may have a million.
_BY_PLACE = select(job.c.id).with_hint(job, "INDEXED BY ix_job_place", "sqlite")
_PUT_BEHIND = (
    update(job).where(ONE_OF_PART, _IS_OPEN, job.c.place < PAST).values(place=job.c.place + PAST)
)
_PUT_BACK = (
    update(job)
    .where(ONE_OF_PART, job.c.cell_count > 0, job.c.place >= PAST)
    .values(place=job.c.place - PAST)
)
_REMOVE = (
    update(job)
    .where(ONE_OF_PART, CLAIMABLE)
    .values(
        # What has an answer and was to be asked again keeps it.
        state=case((has_answer(), target(Event.SUCCEED)), else_=target(Event.CANCEL)),
        error=case((has_answer(), None), else_=REMOVED),
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
