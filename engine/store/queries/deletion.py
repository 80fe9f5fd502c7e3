"""Deleting a run with everything it owns, and rows that no run refers to.

A run is deleted in parts, one transaction each. The first part marks the run as being deleted, so that its rest is
never taken for the whole run. Each part deletes jobs with all their rows, so that other runs reuse only whole
answers meanwhile. The last part deletes the run itself.
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
from engine.store.json_columns import texts_of
from engine.store.queries import parts, recent_requests
from engine.store.queries.parts import ONE_OF_PART, each
from engine.store.queries.runs import RunRow, find, refuse_if_touched
from engine.store.schema import answer, document, job, metadata, quota, result, run, settled, unread

PART_BYTES = 32 * 1024 * 1024
"""About the most that one transaction deletes, in bytes: each page is read before it is freed."""
_ATTEMPT_BYTES = 4096
"""What an attempt counts for: one page, the most that is read for it."""

# Without an index on its jobs, the table of settled jobs is deleted run by run.
_OF_JOBS = [
    table
    for table in reversed(metadata.sorted_tables)
    if "job_id" in table.c and table is not settled
]
_OF_RUNS = [
    table
    for table in reversed(metadata.sorted_tables)
    if "run_id" in table.c and table not in _OF_JOBS and table is not job
]

Matrices = Sequence[tuple[Any, ...]]
"""The matrices of all runs; while they stay the same, no job refers to another document than before."""


@dataclass(slots=True)
class Removed:
    """What was deleted of a run so far."""

    jobs: int = 0
    answers: int = 0
    answers_kept: int = 0
    """Answers that stay because other runs reuse them."""
    is_whole: bool = False
    """Whether nothing of the run is left."""

    def add(self, part: "Removed") -> None:
        """Add what another transaction deleted."""
        self.jobs += part.jobs
        self.answers += part.answers
        self.answers_kept += part.answers_kept
        self.is_whole = part.is_whole


@dataclass(slots=True)
class _Room:
    """How much one transaction may still delete."""

    rows: int
    bytes: int

    @property
    def is_left(self) -> bool:
        return self.rows > 0 and self.bytes > 0

    def take(self, connection: Connection, query: Select[Any]) -> list[Any]:
        """The keys of the first rows of a query for (key, size) that fit, at least one."""
        taken = []
        for key, size in connection.execute(query.limit(self.rows)):
            taken.append(key)
            self.rows -= 1
            self.bytes -= size
            if not self.is_left:
                break
        return taken


def remove_part(connection: Connection, of: RunRow, caps: Iterable[str], *, now: float) -> Removed:
    """Delete one part of a run, and mark the run as being deleted.

    `of` is the run as the caller read it; `caps` are the names of the quotas that belong to it alone. Answers that
    other runs reuse are moved to one of these runs. If the run was being deleted already and is gone, another
    process has deleted the rest. Raises UsageError if the run has changed since it was read.
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
    """Delete rows of a run that belong to no job, in the order of their keys."""
    [key] = [column for column in table.primary_key if column.name != "run_id"]
    sizes = [func.length(one) for one in table.c if isinstance(one.type, LargeBinary)]
    query = select(key, sum(sizes, start=literal(0))).where(table.c.run_id == run_id).order_by(key)
    if keys := room.take(connection, query):
        connection.execute(delete(table).where(table.c.run_id == run_id, key <= keys[-1]))


def _hand_over_answers(connection: Connection, run_id: int, ids: Sequence[int]) -> int:
    """Move answers of these jobs that other runs reuse to one of these runs each; returns how many were moved.

    The new owner's result then refers to itself, which still shows that the answer was reused. So does a result
    that has its own copy because the original was asked for again.
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
    """The matrices of all runs, and the digests of the documents that no job refers to.

    Returns no digests while a run writes its matrix, because it writes the documents first.
    """
    matrices = _matrices(connection)
    if any(expanded != digest for _, _, digest, expanded in matrices):
        return matrices, []
    # Many jobs refer to the same few documents.
    named = select(job.c.documents).distinct().subquery()
    each_of = texts_of(connection, named.c.documents)
    sent = select(each_of.value).select_from(named.join(each_of.table, true()))
    unsent = select(document.c.digest).where(
        document.c.digest.not_in(sent.where(each_of.value.is_not(None)))
    )
    return matrices, list(connection.execute(unsent).scalars())


def remove_documents(connection: Connection, digests: Sequence[str], matrices: Matrices) -> int:
    """Delete documents that were unused when the runs had these matrices; none if the matrices have changed."""
    if _matrices(connection) != matrices:
        return 0
    one = document.c.digest == bindparam("of")
    return connection.execute(delete(document).where(one), [{"of": of} for of in digests]).rowcount


def _matrices(connection: Connection) -> Matrices:
    columns = run.c.id, run.c.generation, run.c.digest, run.c.expanded
    return [tuple(row) for row in connection.execute(select(*columns).order_by(run.c.id))]
