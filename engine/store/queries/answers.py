"""Reading the answers of jobs, as bytes."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, func, not_, select
from sqlalchemy.engine import Connection

from engine.store.database import Database
from engine.store.queries.conditions import LabelLike
from engine.store.queries.job_rows import (
    START,
    JobRow,
    job_row,
    position,
    select_jobs,
    select_some,
)
from engine.store.queries.queue import decompress
from engine.store.queries.runs import RunRow
from engine.store.schema import answer, job, result

_PAGE = 100
_JOBS_A_PAGE = 500
"""The jobs that are looked up by their ids at a time."""
_PAGE_BYTES = 8 * 1024 * 1024
"""The compressed size of a page's answers after which it ends; one answer may be larger."""


def raw_answer(connection: Connection, job_id: int) -> bytes | None:
    """The bytes of a job's answer as they were received; None if it has none.

    If the answer was reused, they are those of the other job, unless this one was asked again since.
    """
    query = select(result.c.job_id.label("id"), result.c.reused_from)
    row = connection.execute(query.where(result.c.job_id == job_id)).first()
    if row is None:
        return None
    [(_, kept)] = _with_answers(connection, [row])
    return None if kept is None else decompress(kept)


async def answers_with_failures(
    database: Database, of: RunRow, *, past: bool = False, labels: Iterable[LabelLike] = ()
) -> AsyncIterator[tuple[JobRow, bytes]]:
    """Yield the jobs of a run whose answers have failed tests with these answers, in the order of the file.

    Jobs without an answer in the store, and those whose answer is outdated, are left out. With `past`, jobs
    that only earlier versions of the sweep asked for are included, outdated or not. Few answers are read of
    jobs that do not meet the conditions on `labels`. Answers are read page by page, and decompressed one at a
    time.
    """
    query = select_jobs(of, past=past, labels=labels).where(result.c.failed > 0).limit(_PAGE)
    if not past:
        query = query.where(not_(query.selected_columns.outdated))
    after = {"run_id": of.id, **START}
    while page := await database.ask(partial(_page, query, after)):
        for row, kept in page:
            if kept is not None:
                yield job_row(of, *row), decompress(kept)
        after |= position(page[-1][0])


async def answers_of_jobs(
    database: Database, of: RunRow, job_ids: Sequence[int]
) -> AsyncIterator[tuple[JobRow, bytes]]:
    """Yield these jobs of a run with their answers, those of each 500 in the order of the file.

    Jobs that the sweep does not ask for, and those without an answer in the store, are left out.
    """
    query = select_some(of).where(job.c.cell_count > 0)
    for first in range(0, len(job_ids), _JOBS_A_PAGE):
        ids = job_ids[first : first + _JOBS_A_PAGE]
        while ids:
            page, ids = await database.ask(partial(_page_of_jobs, query, ids))
            for row, kept in page:
                if kept is not None:
                    yield job_row(of, *row), decompress(kept)


_place = attrgetter("place", "repeat", "id")


def _page_of_jobs(
    query: Select[Any], ids: Sequence[int], connection: Connection
) -> tuple[list[tuple[Any, bytes | None]], list[int]]:
    """Of some jobs in the order of the file, the first with their answers, as many as a page holds, and the other ids."""
    # Sorted here: a query in the order of the file would go through all jobs of the run.
    rows = sorted(connection.execute(query, {"ids": ids}), key=_place)
    page = _with_answers(connection, rows) if rows else []
    return page, [row.id for row in rows[len(page) :]]


async def answers(
    database: Database, of: RunRow, *, past: bool = False, labels: Iterable[LabelLike] = ()
) -> AsyncIterator[tuple[JobRow, bytes | None]]:
    """Yield all jobs of a run with their answers, in the order of the file; None for a job without one.

    With `past`, jobs that only earlier versions of the sweep asked for are included. Few jobs are read that do
    not meet the conditions on `labels`. Answers are read page by page, and decompressed one at a time.
    """
    query = select_jobs(of, past=past, labels=labels).limit(_PAGE)
    after = {"run_id": of.id, **START}
    while page := await database.ask(partial(_page, query, after)):
        for row, kept in page:
            yield job_row(of, *row), None if kept is None else decompress(kept)
        after |= position(page[-1][0])


def _page(
    query: Select[Any], after: Mapping[str, Any], connection: Connection
) -> list[tuple[Any, bytes | None]]:
    rows = connection.execute(query, after).all()
    return _with_answers(connection, rows) if rows else []


def _with_answers(connection: Connection, rows: Sequence[Any]) -> list[tuple[Any, bytes | None]]:
    """The first rows with their compressed answers, as many as a page holds, at least one.

    Rows have an `id` and `reused_from`.
    """
    wanted = {row.id for row in rows} | {row.reused_from for row in rows}
    sizes = _find(connection, func.length(answer.c.raw), wanted)
    # Its own copy goes first: it has one if the job whose answer it reuses was asked again.
    sources = [row.id if row.id in sizes else row.reused_from for row in rows]
    count, size = 0, 0
    while count < len(rows) and size < _PAGE_BYTES:
        size += sizes.get(sources[count], 0)
        count += 1
    found = _find(connection, answer.c.raw, sources[:count])
    return [(row, found.get(source)) for row, source in zip(rows[:count], sources, strict=False)]


def _find(
    connection: Connection, column: ColumnElement[Any], job_ids: Collection[int | None]
) -> dict[int, Any]:
    query = select(answer.c.job_id, column).where(
        answer.c.job_id.in_(bindparam("wanted", expanding=True))
    )
    wanted = {"wanted": [job_id for job_id in job_ids if job_id is not None]}
    return {row[0]: row[1] for row in connection.execute(query, wanted)}
