"""The kept counts of runs, and their comparison with a recount.

Every function runs inside a transaction of the caller.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Table,
    and_,
    case,
    column,
    delete,
    func,
    insert,
    select,
    text,
    true,
)
from sqlalchemy.engine import Connection

from engine.core.states import State
from engine.store.json_columns import length_of
from engine.store.queries.queue import CLAIMABLE
from engine.store.schema import answer_count, cell_count, error_count, job, job_count, result, run
from engine.store.schema.counts import COUNTS, NO_THRESHOLD
from engine.store.schema.triggers.cells import CELL_COUNTS

_WITH_ERRORS = (State.FAILED, State.WAITING)


@dataclass(frozen=True, slots=True)
class WrongCount:
    """A kept count that differs from the rows that it counts."""

    run: str
    table: str
    counted: str
    """What it counts, in words."""
    kept: tuple[int, ...]
    found: tuple[int, ...]
    """The sums of a recount, in the order of the table's columns."""

    def __str__(self) -> str:
        return f"run {self.run}: {self.table} of {self.counted}: {self.kept}, a recount finds {self.found}"


def _recount_cells(connection: Connection) -> Select[Any]:
    """The query for the rows of `cell_count` of all runs, from every job."""
    cells = CELL_COUNTS[connection.dialect.name]
    between = " CROSS JOIN LATERAL " if connection.dialect.name == "postgresql" else " JOIN "
    found = f"job JOIN result ON result.job_id = job.id{between}"
    rows = text(
        f"{cells.asked('job', '', f'job{between}')} UNION ALL {cells.answered('job', 'result', '', found)}"
    )
    key, sums = COUNTS[cell_count]
    each = rows.columns(
        *(column(name, cell_count.c[name].type) for name in (*key, *sums))
    ).subquery()
    named = [each.c[name] for name in key]
    return select(*named, *(func.sum(each.c[name]) for name in sums)).group_by(*named)


def find_wrong(connection: Connection, run_id: int | None = None) -> list[WrongCount]:
    """The kept counts of a run, or of all runs, that differ from a recount, which reads every job."""
    names = {row.id: row.name for row in connection.execute(select(run.c.id, run.c.name))}
    wrong = []
    for table, (key, sums) in COUNTS.items():
        kept = _read(connection, _select_kept(table, run_id), len(key))
        found = _read(connection, _select_recounted(connection, table, run_id), len(key))
        for one in sorted({*kept, *found}, key=repr):
            none = (0,) * len(sums)
            if (before := kept.get(one, none)) != (now := found.get(one, none)):
                words = ", ".join(
                    f"{name} {value}" for name, value in zip(key[1:], one[1:], strict=True)
                )
                name = names.get(one[0], str(one[0]))
                wrong.append(WrongCount(name, table.name, words, before, now))
    return wrong


def recount(connection: Connection) -> None:
    """Replace all kept counts by a recount, in this transaction."""
    for table, (key, sums) in COUNTS.items():
        connection.execute(delete(table))
        columns = [*key, *(("example",) if "example" in table.c else ()), *sums]
        query = _select_recounted(connection, table, None, with_example=True)
        connection.execute(insert(table).from_select(columns, query))


def _read(
    connection: Connection, query: Select[Any], keys: int
) -> dict[tuple[Any, ...], tuple[int, ...]]:
    return {
        tuple(row[:keys]): tuple(int(value) for value in row[keys:])
        for row in connection.execute(query)
        if any(row[keys:])
    }


def _select_kept(table: Table, run_id: int | None) -> Select[Any]:
    key, sums = COUNTS[table]
    of_run = true() if run_id is None else table.c.run_id == run_id
    named = [table.c[name] for name in key]
    return (
        select(*named, *(func.sum(table.c[name]) for name in sums)).where(of_run).group_by(*named)
    )


def _select_recounted(
    connection: Connection, table: Table, run_id: int | None, *, with_example: bool = False
) -> Select[Any]:
    if table is cell_count:
        cells = _recount_cells(connection)
        of = cells.selected_columns["run_id"]
        return cells if run_id is None else cells.where(of == run_id)
    of_run = true() if run_id is None else job.c.run_id == run_id
    if table is job_count:
        return _select_jobs().where(of_run)
    if table is error_count:
        return _select_errors(with_example=with_example).where(of_run)
    assert table is answer_count
    return _select_answers().where(of_run)


def _select_jobs() -> Select[Any]:
    asked = case((job.c.cell_count > 0, 1), else_=0)
    key = (job.c.run_id, job.c.lane, job.c.cost_class, job.c.state, asked)
    dated = func.count().filter(and_(CLAIMABLE, job.c.due_at > 0))
    sums = (func.count(), func.sum(job.c.cell_count), func.sum(_PAST_CELLS), dated)
    return select(*key, *sums).group_by(*key)


def _select_errors(*, with_example: bool) -> Select[Any]:
    key = (job.c.run_id, job.c.state, job.c.lane, _ERROR)
    example = (func.min(func.coalesce(job.c.detail, "")),) if with_example else ()
    is_counted = and_(job.c.state.in_(_WITH_ERRORS), job.c.cell_count > 0)
    return select(*key, *example, func.count()).where(is_counted).group_by(*key)


def _select_answers() -> Select[Any]:
    tests = result.c.passed + result.c.failed
    key = (
        job.c.run_id,
        job.c.state,
        job.c.cells,
        func.coalesce(job.c.threshold, NO_THRESHOLD),
        case((result.c.scores.is_(None), 0), else_=1),
        func.coalesce(result.c.unanswered, ""),
        case((result.c.unanswered.is_(None), 0), else_=tests),
    )
    return (
        select(*key, func.count(), func.sum(result.c.passed), func.sum(result.c.failed))
        .select_from(result.join(job, job.c.id == result.c.job_id))
        .where(job.c.cell_count > 0)
        .group_by(*key)
    )


_PAST_CELLS: ColumnElement[int] = case(
    (and_(job.c.cell_count == 0, job.c.threshold.is_(None)), 1),
    else_=length_of(job.c.past_cells),
)
"""How many cells of a job only earlier versions of the sweep asked for."""
# The stored error ends with the service's own words, which differ from job to job.
_ERROR: ColumnElement[str] = func.replace(
    func.coalesce(job.c.error, ""), func.coalesce(": " + job.c.detail, ""), ""
)
