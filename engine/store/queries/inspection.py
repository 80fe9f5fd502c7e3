"""Single jobs of a run with their attempts, answers and unreadable answers."""

import json
from array import array
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, func, select, tuple_
from sqlalchemy.engine import Connection

from engine.core.error_kinds import mask
from engine.core.inspection import Attempt, JobInfo, JobResult, UnreadReply
from engine.core.states import AttemptOutcome, State
from engine.store.database import Database
from engine.store.queries.answers import raw_answer
from engine.store.queries.conditions import LabelLike, conditions_on
from engine.store.queries.job_rows import is_asked, thresholds
from engine.store.queries.queue import decompress
from engine.store.queries.runs import RunRow
from engine.store.schema import attempt, job, result, unread, worker

_PAGE = 1_000
_FEW = 100_000
"""Up to so many jobs are looked up by their state or for having an error, then read by their ids."""
_ORDER = (job.c.place, job.c.repeat, job.c.id)
_SHORTEST_PREFIX = 6
_LONGEST_ID = 18
_KEY_DIGITS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownJob:
    """A job, with the digests of its prompt and other documents by field."""

    info: JobInfo
    documents: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobHistory:
    """What the store has of a job besides its own row."""

    attempts: tuple[Attempt, ...]
    workers: Mapping[int, str]
    """The ids of the workers that made the attempts, by attempt number."""
    result: JobResult | None
    answer: bytes | None
    unread: tuple[UnreadReply, ...]


async def jobs(
    database: Database,
    of: RunRow,
    states: Collection[State] = (),
    *,
    has_error: bool = False,
    past: bool = False,
    labels: Iterable[LabelLike] = (),
) -> AsyncIterator[KnownJob]:
    """Yield the jobs of a run in the order of the file, read page by page.

    `states` selects jobs by state; empty for all. With `has_error`, only jobs with an error are read. With
    `past`, jobs that only earlier sweeps asked for are included. Of others than those that meet the conditions
    on `labels`, few are read.
    """
    wanted = [job.c.run_id == of.id]
    if not past:
        wanted.append(job.c.cell_count > 0)
    if states:
        wanted.append(job.c.state.in_([State(state) for state in states]))
    if has_error:
        wanted.append(job.c.error.is_not(None))
    wanted += conditions_on(labels)
    query = _with_last_attempt().where(*wanted)
    is_narrow = len(wanted) > (1 if past else 2)
    few = await database.ask(partial(_find_few, wanted)) if is_narrow else None
    pages = _pages(database, query) if few is None else _pages_of_ids(database, query, few)
    async for page in pages:
        for row in page:
            yield _to_known_job(of, row)


def _find_few(
    wanted: Sequence[ColumnElement[bool]], connection: Connection
) -> Sequence[int] | None:
    """The ids of the jobs that meet the conditions, in the order of the file; None for more than _FEW."""
    some = connection.execute(select(*_ORDER).where(*wanted).limit(_FEW + 1))
    # Sorted here: for an ORDER BY, SQLite walks the index of that order and looks at each job of the run.
    found = sorted(tuple(row) for row in some)
    if len(found) > _FEW:
        return None
    return array("q", (job_id for _, _, job_id in found))


async def _pages(database: Database, query: Select[Any]) -> AsyncIterator[Sequence[Any]]:
    """The rows of a query in the order of the file."""
    after = {"place": -(2**62), "repeat": 0, "id": 0}
    query = query.where(tuple_(*_ORDER) > tuple_(*map(bindparam, after)))
    query = query.order_by(*_ORDER).limit(_PAGE)
    while True:
        page = await database.ask(partial(_rows, query, after))
        yield page
        if len(page) < _PAGE:
            return
        last = page[-1]
        after = {"place": last.place, "repeat": last.repeat, "id": last.id}


async def _pages_of_ids(
    database: Database, query: Select[Any], ids: Sequence[int]
) -> AsyncIterator[Sequence[Any]]:
    """The rows of a query that have one of these ids, given in the order of the file."""
    query = query.where(job.c.id.in_(bindparam("ids", expanding=True)))
    for start in range(0, len(ids), _PAGE):
        page = await database.ask(partial(_rows, query, {"ids": list(ids[start : start + _PAGE])}))
        yield sorted(page, key=attrgetter("place", "repeat", "id"))


def find_by_name(
    connection: Connection, name: str, run_id: int | None = None
) -> list[tuple[int, int]]:
    """Find the jobs that a name may mean, in one run or in all: (job id, run id), at most five.

    A name is the id of a job, or at least the first six hexadecimal digits of its key.
    """
    is_of_run = [] if run_id is None else [job.c.run_id == run_id]
    query = select(job.c.id, job.c.run_id).where(*is_of_run).order_by(job.c.id).limit(5)
    if name.isdecimal() and len(name) <= _LONGEST_ID:
        found = connection.execute(query.where(job.c.id == int(name))).all()
        if found:
            return [(row.id, row.run_id) for row in found]
    if (between := _keys_beginning(name)) is None:
        return []
    return [(row.id, row.run_id) for row in connection.execute(query.where(between))]


def _keys_beginning(digits: str) -> ColumnElement[bool] | None:
    """The condition that a key begins with hexadecimal digits; None if the text is not such a prefix."""
    if not _SHORTEST_PREFIX <= len(digits) <= _KEY_DIGITS:
        return None
    try:
        first = bytes.fromhex(digits.ljust(_KEY_DIGITS, "0"))
        last = bytes.fromhex(digits.ljust(_KEY_DIGITS, "f"))
    except ValueError:
        return None
    return job.c.key.between(first, last)


def find(connection: Connection, of: RunRow, job_id: int) -> KnownJob | None:
    """Find one job of a run; None if the run has no such job."""
    query = _with_last_attempt().where(job.c.id == job_id, job.c.run_id == of.id)
    row = connection.execute(query).first()
    return None if row is None else _to_known_job(of, row)


def load_history(connection: Connection, job_id: int) -> JobHistory:
    """The attempts of a job by the order of their claims, its result, its answer and its unreadable answers.

    Result and answer are None if it has none. All are empty for a job that does not exist.
    """
    query = (
        select(attempt, worker.c.host, worker.c.pid)
        .select_from(attempt.outerjoin(worker, worker.c.id == attempt.c.worker))
        .where(attempt.c.job_id == job_id)
        .order_by(attempt.c.fence)
    )
    rows = connection.execute(query).all()
    return JobHistory(
        attempts=tuple(map(_to_attempt, rows)),
        workers={row.fence: row.worker for row in rows},
        result=_find_result(connection, job_id),
        answer=raw_answer(connection, job_id),
        unread=_find_unread(connection, job_id),
    )


def _rows(
    query: Select[Any], parameters: Mapping[str, Any], connection: Connection
) -> Sequence[Any]:
    return connection.execute(query, parameters).all()


def _with_last_attempt() -> Select[Any]:
    earlier = attempt.alias("earlier")
    last = select(func.max(earlier.c.fence)).where(earlier.c.job_id == job.c.id).scalar_subquery()
    return select(
        job.c.id,
        job.c.key,
        job.c.place,
        job.c.repeat,
        job.c.labels,
        job.c.documents,
        job.c.generation,
        job.c.state,
        job.c.lane,
        job.c.cells,
        job.c.cell_count,
        job.c.attempts,
        job.c.due_at,
        job.c.error,
        job.c.detail,
        attempt.c.outcome,
        attempt.c.status,
        attempt.c.sent_at,
        attempt.c.ended_at,
    ).select_from(
        job.outerjoin(attempt, and_(attempt.c.job_id == job.c.id, attempt.c.fence == last))
    )


def _to_known_job(of: RunRow, row: Any) -> KnownJob:
    state = State(row.state)
    error = _without_detail(row)
    info = JobInfo(
        id=row.id,
        key=row.key.hex(),
        state=state,
        lane=row.lane,
        labels=json.loads(row.labels),
        cells=thresholds(row.cells),
        asked=is_asked(of, row.cell_count, row.generation),
        attempts=row.attempts,
        due_at=row.due_at if state is State.WAITING else None,
        outcome=None if row.outcome is None else AttemptOutcome(row.outcome),
        status=row.status,
        sent_at=row.sent_at,
        ended_at=row.ended_at,
        error=error,
        error_kind=None if error is None else mask(error),
        detail=row.detail,
    )
    return KnownJob(info=info, documents=json.loads(row.documents))


def _without_detail(row: Any) -> str | None:
    """The error without the service's own words, which the store appends to it."""
    error: str | None = row.error
    return error.removesuffix(f": {row.detail}") if error and row.detail else error


def _to_attempt(row: Any) -> Attempt:
    return Attempt(
        number=row.fence,
        sent_at=row.sent_at,
        ended_at=row.ended_at,
        outcome=AttemptOutcome(row.outcome),
        status=row.status,
        error=_without_detail(row),
        detail=row.detail,
        worker=row.worker if row.host is None else f"process {row.pid} on {row.host}",
    )


def _find_result(connection: Connection, job_id: int) -> JobResult | None:
    query = select(result, result.c["values"].label("further")).where(result.c.job_id == job_id)
    row = connection.execute(query).first()
    if row is None:
        return None
    return JobResult(
        passed=row.passed,
        failed=row.failed,
        tests=row.tests,
        unanswered={} if row.unanswered is None else json.loads(row.unanswered),
        values={} if row.further is None else json.loads(row.further),
        note=row.note,
        recorded_at=row.recorded_at,
        reused_from=row.reused_from,
    )


def _find_unread(connection: Connection, job_id: int) -> tuple[UnreadReply, ...]:
    rows = connection.execute(select(unread).where(unread.c.job_id == job_id).order_by(unread.c.id))
    return tuple(
        UnreadReply(
            attempt=row.fence,
            at=row.at,
            place=row.place,
            size=row.size,
            raw=decompress(row.raw),
        )
        for row in rows
    )
