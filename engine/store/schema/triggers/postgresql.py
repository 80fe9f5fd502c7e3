"""The triggers that keep the counts on PostgreSQL: for each statement, they add rows with what it changed.

Writers that changed the same row would wait for each other until they commit. Rows that count the same are therefore
added up only now and then, by one writer at a time.
"""

from collections.abc import Iterator, Sequence
from functools import cache

from sqlalchemy import Table

from engine.store.schema.counts import COUNTS, answer_count, cell_count, error_count, job_count
from engine.store.schema.triggers.cells import CELL_COUNTS
from engine.store.schema.triggers.values import (
    count_of_answer,
    count_of_error,
    count_of_job,
    has_counted_error,
)

_CELLS = CELL_COUNTS["postgresql"]
_LOCK = 0x4E5357_50
"""The advisory lock of the writer that adds rows up; one for each table follows it."""
_FOLDED = 0.02
"""The share of the statements after which rows are added up."""
_LENGTH = "json_array_length({}::json)"
_ROWS = {"INSERT": ("new_rows",), "UPDATE": ("old_rows", "new_rows"), "DELETE": ("old_rows",)}


@cache
def statements() -> Sequence[str]:
    """The statements that create the functions and their triggers."""
    made = [_fold(table, number) for number, table in enumerate(COUNTS)]
    for operation, rows in _ROWS.items():
        jobs = [_add(job_count, _jobs(rows)), _add(error_count, _errors(rows))]
        if operation == "UPDATE":
            jobs.append(_add(answer_count, _answers_of_jobs(rows)))
            jobs.append(_add(cell_count, _answered_of_jobs(rows)))
        jobs.append(_add(cell_count, _asked(rows)))
        made += _statement_trigger(operation, "job", rows, jobs)
        made += _statement_trigger(
            operation,
            "result",
            rows,
            [_add(answer_count, _answers(rows)), _add(cell_count, _answered(rows))],
        )
    return tuple(made)


def _jobs(rows: Sequence[str]) -> Iterator[str]:
    for name in rows:
        yield f"SELECT {count_of_job(name, _sign(name), _LENGTH)} FROM {name}"


def _errors(rows: Sequence[str]) -> Iterator[str]:
    for name in rows:
        values = count_of_error(name, _sign(name))
        yield f"SELECT {values} FROM {name} WHERE {has_counted_error(name)}"


def _answers_of_jobs(rows: Sequence[str]) -> Iterator[str]:
    for name in rows:
        values = count_of_answer(name, "result", _sign(name))
        joined = f"{name} JOIN result ON result.job_id = {name}.id"
        yield f"SELECT {values} FROM {joined} WHERE {name}.cell_count > 0"


def _answers(rows: Sequence[str]) -> Iterator[str]:
    for name in rows:
        values = count_of_answer("job", name, _sign(name))
        yield f"SELECT {values} FROM {name} JOIN job ON job.id = {name}.job_id WHERE job.cell_count > 0"


def _asked(rows: Sequence[str]) -> Iterator[str]:
    for name in rows:
        yield _CELLS.asked(name, _sign(name), f"{name} CROSS JOIN LATERAL ")


def _answered_of_jobs(rows: Sequence[str]) -> Iterator[str]:
    for name in rows:
        joined = f"{name} JOIN result ON result.job_id = {name}.id CROSS JOIN LATERAL "
        yield _CELLS.answered(name, "result", _sign(name), joined)


def _answered(rows: Sequence[str]) -> Iterator[str]:
    for name in rows:
        joined = f"{name} JOIN job ON job.id = {name}.job_id CROSS JOIN LATERAL "
        yield _CELLS.answered("job", name, _sign(name), joined)


def _sign(rows: str) -> str:
    return "-" if rows == "old_rows" else ""


def _columns(table: Table) -> tuple[str, str, str, str]:
    """The columns of a count, as lists: all, those that say what it counts, sums of the others, and whether one is not 0."""
    key, sums = COUNTS[table]
    example = ("example",) if table is error_count else ()
    return (
        ", ".join((*key, *example, *sums)),
        ", ".join(key),
        ", ".join((*(f"min({name})" for name in example), *(f"sum({name})" for name in sums))),
        " OR ".join(f"sum({name}) <> 0" for name in sums),
    )


def _add(table: Table, each: Iterator[str]) -> str:
    """Add rows for what a statement has changed, and sometimes add up those that there are."""
    every, key, sums, is_any = _columns(table)
    rows = " UNION ALL ".join(each)
    return (
        f"INSERT INTO {table.name} ({every}) SELECT {key}, {sums} FROM ({rows}) AS one ({every})"
        f" GROUP BY {key} HAVING {is_any};\n"
        f"    IF FOUND AND random() < {_FOLDED} THEN PERFORM fold_{table.name}(); END IF;"
    )


def _fold(table: Table, number: int) -> str:
    """The function that adds up the rows that count the same, unless another writer is doing so."""
    every, key, sums, is_any = _columns(table)
    return f"""CREATE FUNCTION fold_{table.name}() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF pg_try_advisory_xact_lock({_LOCK}, {number}) THEN
        WITH gone AS (DELETE FROM {table.name} RETURNING *)
        INSERT INTO {table.name} ({every})
        SELECT {key}, {sums} FROM gone GROUP BY {key} HAVING {is_any};
    END IF;
END $$"""


def _statement_trigger(
    operation: str, on: str, rows: Sequence[str], work: Sequence[str]
) -> Iterator[str]:
    name = f"count_{on}_{operation.lower()}"
    body = "\n    ".join(work)
    yield (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$\nBEGIN\n    {body}\n"
        "    RETURN NULL;\nEND $$"
    )
    tables = " ".join(f"{one.split('_')[0].upper()} TABLE AS {one}" for one in rows)
    yield (
        f"CREATE TRIGGER {name} AFTER {operation} ON {on} REFERENCING {tables}"
        f" FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
    )
