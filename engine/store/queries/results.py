"""Reading a run: its jobs with their results, its queues, and its lanes' events."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

from sqlalchemy import Select, and_, bindparam, case, false, func, or_, select, true, tuple_
from sqlalchemy.engine import Connection

from engine.core.parsing import parse_json
from engine.core.runs import EventKind
from engine.core.states import AttemptOutcome, State
from engine.core.values import Value, ValueType, column_type
from engine.store.database import Database
from engine.store.dialect import Statement
from engine.store.queries import totals
from engine.store.queries.conditions import LabelLike, conditions_on
from engine.store.queries.fresh import fresh_of
from engine.store.queries.queue import CLAIMABLE
from engine.store.queries.runs import COLUMNS, RunRow, run_row
from engine.store.schema import attempt, event, job, result, run

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


def find_queues(connection: Connection, run_id: int) -> dict[str, tuple[str, ...]]:
    """The cost classes in which each lane of a run has claimable jobs, by lane, in ascending order.

    Reads one row for each pair of lane and class, however many jobs there are.
    """
    found: dict[str, list[str]] = {}
    next_pair = (
        select(job.c.lane, job.c.cost_class)
        .where(job.c.run_id == run_id, CLAIMABLE)
        .order_by(job.c.lane, job.c.cost_class)
        .limit(1)
    )
    query = next_pair
    while (row := connection.execute(query).first()) is not None:
        found.setdefault(row.lane, []).append(row.cost_class)
        # Jumps in the index from one pair to the next, however many jobs lie in between.
        query = next_pair.where(
            tuple_(job.c.lane, job.c.cost_class) > tuple_(row.lane, row.cost_class)
        )
    return {lane: tuple(classes) for lane, classes in found.items()}


def find_runs(connection: Connection) -> list[tuple[RunRow, Mapping[State, int]]]:
    """All runs, the last used first, each with the number of its jobs by state.

    Only jobs that the run's sweep asks for are counted; every state has an entry.
    """
    rows = connection.execute(select(*COLUMNS).order_by(run.c.updated_at.desc(), run.c.id.desc()))
    found = [run_row(row) for row in rows.mappings()]
    counts = connection.execute(
        select(job.c.run_id, job.c.state, func.count())
        .where(job.c.cell_count > 0)
        .group_by(job.c.run_id, job.c.state)
    )
    jobs: dict[int, dict[State, int]] = {one.id: dict.fromkeys(State, 0) for one in found}
    for run_id, state, count in counts:
        jobs[run_id][State(state)] = count
    for one in found:
        if one.fresh_at is not None and not one.is_expanded:
            jobs[one.id] = totals.jobs_by_state(connection, one.id)
    return [(one, jobs[one.id]) for one in found]


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


_TYPES: Mapping[str, ValueType] = {
    "integer": int,
    "real": float,
    "text": str,
    "true": bool,
    "false": bool,
}
"""The types of values by their names in SQLite."""


def value_columns(connection: Connection, run_id: int) -> dict[str, ValueType]:
    """The names of all further values in the results of a run, in alphabetical order, with their columns' types."""
    each = func.json_each(result.c["values"]).table_valued("key", "type")
    query = (
        select(each.c.key, each.c.type)
        .select_from(result.join(each, true()))
        .where(result.c.run_id == run_id, result.c["values"].is_not(None))
        .distinct()
    )
    found: dict[str, set[ValueType]] = {}
    for name, kind in connection.execute(query):
        found.setdefault(name, set()).add(_TYPES[kind])
    return {name: column_type(found[name]) for name in sorted(found)}


class PastValue(NamedTuple):
    """A value of an axis that jobs of earlier versions of a sweep have."""

    axis: str
    """The axis' field."""
    label: Any
    digest: str | None
    """The digest of its content; None if the axis has no contents beside its labels."""


def find_past_values(connection: Connection, of: RunRow) -> list[PastValue]:
    """The values of jobs that the sweep of a run no longer asks for, or that its expansion has not reached yet.

    They are in no order; the sweep may have them, too. All these jobs are read.
    """
    label = func.json_each(job.c.labels).table_valued("key", "value", name="label")
    content = func.json_each(job.c.documents).table_valued("key", "value", name="content")
    is_past = job.c.cell_count == 0
    if not of.is_expanded:
        is_past = or_(is_past, job.c.generation < of.generation)
    query = (
        select(label.c.key, label.c.value, content.c.value)
        .select_from(job.join(label, true()).outerjoin(content, content.c.key == label.c.key))
        .where(job.c.run_id == of.id, is_past)
        .distinct()
    )
    return [PastValue(*row) for row in connection.execute(query)]


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


def find_accepted_changes(connection: Connection, run_id: int) -> tuple[str, ...]:
    """The changes of what determines a run's answers that the user accepted, in words, the oldest first."""
    query = select(event.c.message).where(
        event.c.run_id == run_id, event.c.kind == EventKind.ACCEPTED
    )
    return tuple(connection.execute(query.order_by(event.c.id)).scalars())


def count_answers_by_identity(connection: Connection, run_id: int) -> dict[str, int]:
    """The number of answers to jobs that the run's sweep asks for, by what decided them, as `Row.identity` has it."""
    query = (
        select(result.c.provenance, func.count())
        .select_from(result.join(job, job.c.id == result.c.job_id))
        .where(result.c.run_id == run_id, job.c.cell_count > 0, result.c.provenance.is_not(None))
        .group_by(result.c.provenance)
    )
    return {str(identity): int(count) for identity, count in connection.execute(query)}


def count_past_cells(connection: Connection, run_id: int) -> int:
    """The number of cells of a run that only earlier versions of its sweep asked for, answered or not."""
    is_past = and_(job.c.cell_count == 0, job.c.threshold.is_(None))
    of_job = case((is_past, 1), else_=func.json_array_length(job.c.past_cells))
    query = select(func.coalesce(func.sum(of_job), 0)).where(job.c.run_id == run_id)
    return int(connection.execute(query).scalar_one())


def find_lanes_with_answers(connection: Connection, run_id: int) -> list[str]:
    """The lanes of a run in which a job has succeeded, in any order."""
    query = select(job.c.lane).where(job.c.run_id == run_id, job.c.state == State.SUCCEEDED)
    return list(connection.execute(query.distinct()).scalars())


def lanes_in_trouble(connection: Connection, run_id: int) -> dict[str, EventKind]:
    """The lanes whose last such event is an outage or a refusal that has not ended: OUTAGE or REFUSED by lane."""
    begins = (EventKind.OUTAGE, EventKind.REFUSED)
    # A refusal also ends when it is confirmed: these events say why the lane has stopped.
    ends = (
        EventKind.BACK,
        EventKind.PARKED,
        EventKind.ANSWERED,
        EventKind.QUOTA,
        EventKind.CREDIT,
    )
    latest = (
        select(func.max(event.c.id))
        .where(
            event.c.run_id == run_id,
            event.c.kind.in_([*begins, *ends]),
            event.c.lane.is_not(None),
        )
        .group_by(event.c.lane)
    )
    rows = connection.execute(
        select(event.c.lane, event.c.kind).where(event.c.id.in_(latest), event.c.kind.in_(begins))
    )
    return {row.lane: EventKind(row.kind) for row in rows}
