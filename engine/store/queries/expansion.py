"""How far the expansion of a sweep has come, and what happens to jobs that it does not ask for.

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
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Connection

from engine.core.layout import Edit
from engine.core.runs import RunState
from engine.core.states import Event, State, sources, target
from engine.store.queries import layouts
from engine.store.queries.families import merge_thresholds
from engine.store.queries.layouts import KeptLayout
from engine.store.queries.parts import ONE_OF_PART, each
from engine.store.queries.queue import CLAIMABLE, PAST, REMOVED, RUNNING
from engine.store.queries.reuse import has_answer
from engine.store.queries.runs import RunRow
from engine.store.schema import job, run

Position: TypeAlias = tuple[int, int]
"""A repeat and a place: the position of a job in the order of the file."""
ALL_IN_TURN: Position = (2**62, PAST)
"""The position after all jobs except those that were put behind."""


class ExpansionProgress:
    """How far an expansion has come, and which jobs it has asked for so far, in one bit per job id."""

    def __init__(self) -> None:
        self._bits = bytearray()
        self.reached: Position = (0, 0)
        """The last job that it has asked for; whether jobs behind it are still in the sweep is unknown."""
        self.edit: Edit | None = None
        """The difference to the last expanded matrix, if known; then only the jobs that it concerns are read."""

    def add(self, ids: Iterable[int]) -> None:
        """Record jobs that the matrix asks for; `id in progress` is then true for each of them."""
        for job_id in ids:
            at, bit = divmod(job_id, 8)
            if at >= len(self._bits):
                self._bits.extend(bytes(at + 4096 - len(self._bits)))
            self._bits[at] |= 1 << bit

    def __contains__(self, job_id: int) -> bool:
        at, bit = divmod(job_id, 8)
        return at < len(self._bits) and bool(self._bits[at] >> bit & 1)


def is_superseded(connection: Connection, of: RunRow) -> bool:
    """Whether the run has got another sweep since `of` was read, or was deleted.

    An expansion then has to end: another process writes the jobs of the new sweep.
    """
    current = select(run.c.generation).where(run.c.id == of.id, run.c.state != RunState.DELETING)
    return connection.execute(current).scalar_one_or_none() != of.generation


def find_passed_over(
    connection: Connection, of: RunRow, asked: ExpansionProgress, reached: Position
) -> Sequence[int]:
    """The open jobs that an expansion has not asked for, between its previous position and `reached`.

    They were removed from the sweep or moved further back in it.
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
        # Read by place in any state; a condition on claimable jobs would search the whole queue.
        found += [row.id for row in connection.execute(query) if row.state in _OPEN]
    return [job_id for job_id in found if job_id not in asked]


def find_displaced(connection: Connection, of: RunRow, edit: Edit) -> Sequence[int]:
    """The ids of the open jobs that an edit removes or changes; empty if it only adds jobs.

    Jobs that were already put behind all others are left out.
    """
    query = _BY_PLACE.where(job.c.run_id == of.id, job.c.place < PAST, _is_left(edit), _IS_OPEN)
    return connection.execute(query).scalars().all() if _has_left(edit) else ()


def find_behind(connection: Connection, of: RunRow, edit: Edit) -> Sequence[int]:
    """The jobs that an earlier expansion put behind all others and that an edit neither removes nor changes."""
    query = _BY_PLACE.where(
        job.c.run_id == of.id, job.c.place >= PAST, ~_is_left(edit), job.c.cell_count > 0
    )
    return connection.execute(query).scalars().all()


def put_behind(connection: Connection, of: RunRow, ids: Sequence[int]) -> int:
    """Put jobs behind all others until the expansion reaches them or removes them at the end.

    That includes jobs in flight, which must not be sent again if they are given back. Does nothing once another
    process has completed the expansion.
    """
    if _is_over(connection, of):
        return 0
    return connection.execute(_PUT_BEHIND, each(ids)).rowcount


def put_back(connection: Connection, of: RunRow, ids: Sequence[int]) -> int:
    """Give jobs that were put behind all others their place again; returns how many were moved.

    Does nothing once another process has completed the expansion, or the run has got another sweep.
    """
    if _is_over(connection, of):
        return 0
    return connection.execute(_PUT_BACK, each(ids)).rowcount


def select_left_behind(of: RunRow, edit: Edit) -> Select[Any]:
    """The query for the jobs that are asked for, or claimable, and that an edit removes or changes."""
    return _BY_PLACE.where(
        job.c.run_id == of.id, _is_left(edit), or_(job.c.cell_count > 0, CLAIMABLE)
    )


def select_asked(of: RunRow) -> Select[Any]:
    """The query for the ids of a run's jobs that are asked for or claimable.

    With a whole comparison, what is in it but not in the new matrix is removed.
    """
    return select(job.c.id).where(job.c.run_id == of.id, or_(job.c.cell_count > 0, CLAIMABLE))


def remove(connection: Connection, of: RunRow, ids: Sequence[int]) -> int:
    """Cancel jobs that the matrix no longer asks for, and make their cells past; returns how many were cancelled.

    Answers of removed cells are kept. Does nothing if the run has got another sweep meanwhile.
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
    """Mark the matrix as completely in the queue, unless another sweep was submitted meanwhile.

    `kept` is its layout, from which the next edit is computed; None if the next one has to compare every job.
    """
    connection.execute(
        update(run)
        .where(run.c.id == of.id, run.c.generation == of.generation)
        .values(expanded=of.digest, layout=layouts.dump(kept), updated_at=now)
    )


def _has_left(edit: Edit) -> bool:
    return bool(edit.left) or edit.repeats_left is not None


def _is_left(edit: Edit) -> ColumnElement[bool]:
    """The condition that a job has a value, or is of a repeat, that an edit removes or changes."""
    left: list[ColumnElement[bool]] = [
        job.c.place.op("%")(PAST)
        .op(">>")(literal_column(str(bit)))
        .op("&")((1 << bits) - 1)
        .in_(sorted(ranks))
        for bit, bits, ranks in edit.left
    ]
    if edit.repeats_left is not None:
        left.append(job.c.repeat > edit.repeats_left)
    return or_(false(), *left)


def _is_over(connection: Connection, of: RunRow) -> bool:
    """Whether the run has got another sweep, or another process has completed this expansion."""
    row = connection.execute(
        select(run.c.generation, run.c.expanded, run.c.digest).where(run.c.id == of.id)
    ).one()
    return bool(row.generation != of.generation or row.expanded == row.digest)


_OPEN = frozenset((*sources(Event.CLAIM), State.RUNNING))
_IS_OPEN = or_(CLAIMABLE, RUNNING)
# This index has the places, so that the rows, perhaps a million, are not read.
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
        # A job that was to be asked again and has an answer keeps it.
        state=case((has_answer(), target(Event.SUCCEED)), else_=target(Event.CANCEL)),
        error=case((has_answer(), None), else_=REMOVED),
        detail=None,
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
