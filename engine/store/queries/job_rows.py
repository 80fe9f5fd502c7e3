"""Reading the jobs of a run with their results."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

from sqlalchemy import Select, bindparam, false, func, select, tuple_
from sqlalchemy.engine import Connection

from engine.core.parsing import parse_json
from engine.core.states import AttemptOutcome, State
from engine.core.values import Value
from engine.store.database import Database
from engine.store.dialect import Statement
from engine.store.queries.conditions import LabelLike, conditions_on
from engine.store.queries.fresh import fresh_of
from engine.store.queries.runs import RunRow
from engine.store.schema import attempt, job, result

_PAGE = 1_000
_PAGE_CHARACTERS = 16 * 1024 * 1024
"""About the most that the values of a page's rows may take."""


class JobRow(NamedTuple):
    """A job with its result, for result rows and reports.

    A tuple, because a run may have a million of them: a frozen dataclass takes five times as long to make.
    """

    id: int
    labels: Mapping[str, Any]
    documents: Mapping[str, str]
    """The digests of prompts and other documents, by field."""
    state: State
    threshold: float | None
    cells: tuple[float, ...]
    """The thresholds that the sweep asks of it."""
    past_cells: tuple[float, ...]
    """The thresholds that only earlier versions of the sweep asked of it."""
    is_asked: bool | None
    """Whether the sweep asks for it; None while an edited sweep is not fully expanded."""
    error: str | None
    passed: int | None
    failed: int | None
    scores: tuple[float, ...] | None
    note: str | None
    unanswered: Mapping[str, int]
    values: Mapping[str, Value]
    reused: bool
    attempts: int = 0
    """The attempts that count."""
    seconds: float | None = None
    """How long the attempt with its answer took; None without one in this run."""
    answered_at: float | None = None
    """When its answer came, in seconds since the Unix epoch."""
    outdated: bool = False
    """Whether `run --fresh` asks it again, and no answer has come since then."""
    provenance: str | None = None
    """The digest of what determined the answer; None if it was not recorded."""
    listing: str | None = None
    """The tests that the answer lists, as `Listing.encode` returns them; None if they were not recorded."""


# The attempt with the answer ended when the answer was recorded; a late answer may be that of any attempt.
# Of equal times, which only a simulated clock gives, one is taken.
_SECONDS = (
    select(func.max(attempt.c.ended_at - attempt.c.sent_at))
    .where(
        attempt.c.job_id == job.c.id,
        attempt.c.outcome == AttemptOutcome.SUCCEEDED,
        attempt.c.ended_at == result.c.recorded_at,
    )
    .correlate(job, result)
    .scalar_subquery()
)
_ORDER = (job.c.place, job.c.repeat, job.c.id)
_STATES = {str(state): state for state in State}
_make_job = partial(tuple.__new__, JobRow)
_JOBS = select(
    *_ORDER,
    job.c.labels,
    job.c.documents,
    job.c.generation,
    job.c.state,
    job.c.threshold,
    job.c.cells,
    job.c.cell_count,
    job.c.past_cells,
    job.c.error,
    result.c.passed,
    result.c.failed,
    result.c.scores,
    result.c.note,
    result.c.provenance,
    result.c.unanswered,
    result.c["values"].label("further"),
    result.c.listing,
    result.c.reused_from,
    job.c.attempts,
    _SECONDS.label("seconds"),
    result.c.recorded_at,
).select_from(job.outerjoin(result, result.c.job_id == job.c.id))
_IN_ORDER = (
    job.c.run_id == bindparam("run_id"),
    tuple_(*_ORDER) > tuple_(bindparam("place"), bindparam("repeat"), bindparam("id")),
)


START = {"place": -(2**62), "repeat": 0, "id": 0}
"""The values of `select_jobs` for the first page of a run."""


async def job_rows(
    database: Database, of: RunRow, *, past: bool = False, labels: Iterable[LabelLike] = ()
) -> AsyncIterator[JobRow]:
    """Yield the jobs of a run with their results, in the order of the file, read page by page.

    With `past`, jobs that only earlier versions of the sweep asked for are included. Of others than those that
    meet the conditions on `labels`, few are read.
    """
    query = select_jobs(of, past=past, labels=labels).limit(_PAGE)
    statement = Statement(lambda _: query)
    after = {"run_id": of.id, **START}
    is_last = False
    while not is_last:
        page, is_last = await database.ask(partial(_page, statement, after))
        for row in page:
            yield job_row(of, *row)
        if page:
            after |= position(page[-1])


def select_jobs(of: RunRow, *, past: bool, labels: Iterable[LabelLike] = ()) -> Select[Any]:
    """The jobs of a run with their results after a position, in the order of the file, for `job_row`.

    With conditions on `labels`, those that may meet them.
    The values of the query are `run_id` and a position, at first START, then that of the last row of the page
    before.
    """
    asked = () if past else (job.c.cell_count > 0,)
    wanted = (*_IN_ORDER, *asked, *conditions_on(labels))
    return _with_outdated(of).where(*wanted).order_by(*_ORDER)


def select_some(of: RunRow) -> Select[Any]:
    """The jobs of a run whose ids are the value `ids` of the query, with their results, in any order, for `job_row`."""
    return _with_outdated(of).where(job.c.id.in_(bindparam("ids", expanding=True)))


def _with_outdated(of: RunRow) -> Select[Any]:
    fresh = fresh_of(of.fresh_at, of.fresh_generation, of.expanded, of.digest)
    outdated = false() if fresh is None else fresh.is_outdated
    return _JOBS.add_columns(outdated.label("outdated"))


def position(row: Any) -> dict[str, int]:
    """The position of a row of `select_jobs`."""
    return {"place": row.place, "repeat": row.repeat, "id": row.id}


def _page(
    statement: Statement, after: Mapping[str, int], connection: Connection
) -> tuple[list[Any], bool]:
    """The rows of a page, fewer if their values are large, and whether it is the last one."""
    left = _PAGE_CHARACTERS

    def is_full(part: list[Any]) -> bool:
        nonlocal left
        left -= sum([len(row.further or "") + len(row.listing or "") for row in part])
        return left < 0

    rows = statement.first_rows(connection, is_full, **after)
    return rows, left >= 0 and len(rows) < _PAGE


def job_row(
    of: RunRow,
    _place: int,
    _repeat: int,
    job_id: int,
    labels: str,
    documents: str,
    generation: int,
    state: str,
    threshold: float | None,
    cells: str,
    cell_count: int,
    past_cells: str,
    error: str | None,
    passed: int | None,
    failed: int | None,
    scores: str | None,
    note: str | None,
    provenance: str | None,
    unanswered: str | None,
    further: str | None,
    listing: str | None,
    reused_from: int | None,
    attempts: int,
    seconds: float | None,
    recorded_at: float | None,
    is_outdated: int,
) -> JobRow:
    """A row of `select_jobs`, column by column: names are looked up for each row, positions are not."""
    return _make_job(
        (
            job_id,
            parse_json(labels),
            _digests(documents),
            _STATES[state],
            threshold,
            thresholds(cells),
            thresholds(past_cells),
            is_asked(of, cell_count, generation),
            error,
            passed,
            failed,
            None if scores is None else tuple(parse_json(scores)),
            note,
            {} if unanswered is None else parse_json(unanswered),
            {} if further is None else parse_json(further),
            reused_from is not None,
            attempts,
            # A clock may have been set back meanwhile. Times as floats are exact to a microsecond.
            None if seconds is None else round(seconds, 6) if seconds > 0 else 0.0,
            recorded_at,
            bool(is_outdated),
            provenance,
            listing,
        )
    )


@lru_cache
def _digests(documents: str) -> Mapping[str, str]:
    """The digests of prompts and documents by field: parsed once for all jobs that share them."""
    digests: dict[str, str] = json.loads(documents)
    return digests


@lru_cache
def thresholds(listed: str) -> tuple[float, ...]:
    """Parse a JSON list of thresholds; cached, because the jobs of a run have few different ones."""
    return tuple(json.loads(listed))


def is_asked(of: RunRow, cell_count: int, generation: int) -> bool | None:
    """Whether the sweep of a run asks for a job, given its columns of these names.

    None while that is unknown: the sweep was edited, and its expansion has not reached the job yet.
    """
    if cell_count == 0:
        return False
    return True if of.is_expanded or generation == of.generation else None
