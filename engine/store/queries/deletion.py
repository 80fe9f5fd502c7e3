"""Removing a run with all that is its own, and what no run refers to.

A run goes in parts, a transaction each. The first says that the run is being deleted: from then on it can
only be deleted, and nobody takes what is left of it for the whole. A part takes jobs with all that they have, so
that what other runs take over meanwhile is whole. The last part takes the run itself.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    LargeBinary,
    Select,
    Table,
    bindparam,
    delete,
    exists,
    func,
    literal,
    select,
    true,
    update,
)
from sqlalchemy.engine import Connection

from engine.core.runs import RunState
from engine.store.queries import parts, recent_requests
from engine.store.queries.parts import ONE_OF_PART, each
from engine.store.queries.runs import RunRow, find, refuse_if_touched
from engine.store.schema import answer, document, job, metadata, quota, result, run, unread

PART_BYTES = 32 * 1024 * 1024
"""About what one transaction removes at most: a page has to be read before it is free."""
_ATTEMPT_BYTES = 4096
"""For how much an attempt counts: a page, the most that is read for it."""

_OF_JOBS = [table for table in reversed(metadata.sorted_tables) if "job_id" in table.c]
_OF_RUNS = [
    table
    for table in reversed(metadata.sorted_tables)
    if "run_id" in table.c and "job_id" not in table.c and table is not job
]

Matrices = Sequence[tuple[Any, ...]]
"""Which matrices the runs of a store have: while they stay the same, no job begins to send a document."""


@dataclass(slots=True)
class Removed:
    """What transactions have removed of a run."""

    jobs: int = 0
    answers: int = 0
    answers_kept: int = 0
    """Answers that stay because other runs reuse them."""
    is_whole: bool = False
    """Whether nothing of the run is left."""

    def add(self, part: "Removed") -> None:
        """Count what one transaction more has removed."""
        self.jobs += part.jobs
        self.answers += part.answers
        self.answers_kept += part.answers_kept
        self.is_whole = part.is_whole


@dataclass(slots=True)
class _Room:
    """What one transaction may still remove."""

    rows: int
    bytes: int

    @property
    def is_left(self) -> bool:
        return self.rows > 0 and self.bytes > 0

    def take(self, connection: Connection, query: Select[Any]) -> list[Any]:
        """The keys of the first rows that there is room for, of a query for keys and sizes; one at least."""
        taken = []
        for key, size in connection.execute(query.limit(self.rows)):
            taken.append(key)
            self.rows -= 1
            self.bytes -= size
            if not self.is_left:
                break
        return taken


def remove_part(connection: Connection, of: RunRow, caps: Iterable[str], *, now: float) -> Removed:
    """Remove as much of a run, as it was seen, as one transaction may, and say that it is being deleted.

    `caps` are the names of the quotas that are the run's alone. Answers that other runs have taken over
    go to one of them. One that was seen being deleted may be gone by now: another process has removed the rest.
    Raises UsageError when somebody has meanwhile touched the run.
    """
    current = find(connection, of.name)
    if current is None or current.id != of.id or current.state is not RunState.DELETING:
        if of.state is RunState.DELETING:
            return Removed(is_whole=True)
        refuse_if_touched(connection, of)
        _mark(connection, of.id, now)
    room = _Room(parts.PART, PART_BYTES)
    removed = _remove_jobs(connection, of.id, room)
    for table in _OF_RUNS:
        if room.is_left:
            _remove_rows(connection, table, of.id, room)
    if room.is_left:
        connection.execute(delete(quota).where(quota.c.name.in_(list(caps))))
        recent_requests.forget(connection, of.id)
        connection.execute(delete(run).where(run.c.id == of.id))
        removed.is_whole = True
    return removed


def _mark(connection: Connection, run_id: int, now: float) -> None:
    connection.execute(
        update(run)
        .where(run.c.id == run_id)
        .values(
            state=RunState.DELETING,
            reason=None,
            message="not all of it is deleted yet; `nightsweep delete` again deletes the rest",
            resume_at=None,
            updated_at=now,
        )
    )


def _remove_jobs(connection: Connection, run_id: int, room: _Room) -> Removed:
    unread_bytes = (
        select(func.sum(func.length(unread.c.raw)))
        .where(unread.c.job_id == job.c.id)
        .correlate(job)
        .scalar_subquery()
    )
    sizes = [func.length(answer.c.raw), unread_bytes, job.c.fence * _ATTEMPT_BYTES]
    query = (
        select(job.c.id, sum((func.coalesce(one, 0) for one in sizes), start=literal(0)))
        .select_from(job.outerjoin(answer))
        .where(job.c.run_id == run_id)
    )
    ids = room.take(connection, query)
    if not ids:
        return Removed()
    kept = _hand_over_answers(connection, run_id, ids)
    counts = {
        table: connection.execute(
            delete(table).where(table.c.job_id == bindparam("job_id")), each(ids)
        ).rowcount
        for table in _OF_JOBS
    }
    connection.execute(delete(job).where(ONE_OF_PART), each(ids))
    return Removed(jobs=len(ids), answers=counts[answer], answers_kept=kept)


def _remove_rows(connection: Connection, table: Table, run_id: int, room: _Room) -> None:
    """Remove rows that are a run's, but no job's, in the order of their keys."""
    [key] = [column for column in table.primary_key if column.name != "run_id"]
    sizes = [func.length(one) for one in table.c if isinstance(one.type, LargeBinary)]
    query = select(key, sum(sizes, start=literal(0))).where(table.c.run_id == run_id).order_by(key)
    if keys := room.take(connection, query):
        connection.execute(delete(table).where(table.c.run_id == run_id, key <= keys[-1]))


def _hand_over_answers(connection: Connection, run_id: int, ids: Sequence[int]) -> int:
    """Let one of the runs that have taken over an answer of these jobs keep it; how many answers that were.

    Its result then refers to itself: it still says that the answer was reused. So does one that has a
    copy of its own, of an answer that was asked for again.
    """
    theirs = result.c.reused_from.in_(ids), result.c.run_id != run_id
    connection.execute(
        update(result)
        .where(*theirs, exists().where(answer.c.job_id == result.c.job_id))
        .values(reused_from=result.c.job_id)
    )
    heirs = connection.execute(
        select(result.c.reused_from.label("source"), func.min(result.c.job_id).label("heir"))
        .where(*theirs)
        .group_by(result.c.reused_from)
    ).all()
    if not heirs:
        return 0
    moves = [{"source": source, "heir": heir} for source, heir in heirs]
    connection.execute(
        update(answer)
        .where(answer.c.job_id == bindparam("source"))
        .values(job_id=bindparam("heir")),
        moves,
    )
    connection.execute(
        update(result)
        .where(result.c.reused_from == bindparam("source"), result.c.run_id != run_id)
        .values(reused_from=bindparam("heir")),
        moves,
    )
    return len(moves)


def find_unused_documents(connection: Connection) -> tuple[Matrices, list[str]]:
    """The documents that no job sends, by digest, and the matrices that this goes for.

    None while a run writes its matrix, which begins with them.
    """
    matrices = _matrices(connection)
    if any(expanded != digest for _, _, digest, expanded in matrices):
        return matrices, []
    # Very many jobs name the same few documents.
    named = select(job.c.documents).distinct().subquery()
    each_of = func.json_each(named.c.documents).table_valued("value")
    sent = select(each_of.c.value).select_from(named.join(each_of, true()))
    unsent = select(document.c.digest).where(
        document.c.digest.not_in(sent.where(each_of.c.value.is_not(None)))
    )
    return matrices, list(connection.execute(unsent).scalars())


def remove_documents(connection: Connection, digests: Sequence[str], matrices: Matrices) -> int:
    """Remove documents that no job sent when the runs had these matrices; none if they have others by now."""
    if _matrices(connection) != matrices:
        return 0
    one = document.c.digest == bindparam("of")
    return connection.execute(delete(document).where(one), [{"of": of} for of in digests]).rowcount


def _matrices(connection: Connection) -> Matrices:
    columns = run.c.id, run.c.generation, run.c.digest, run.c.expanded
    return [tuple(row) for row in connection.execute(select(*columns).order_by(run.c.id))]
