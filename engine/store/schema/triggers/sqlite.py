"""The triggers that keep the counts on SQLite: for each row, they add to the row of its count."""

from collections.abc import Sequence
from functools import cache

from engine.store.schema.counts import COUNTS, answer_count, cell_count, error_count, job_count
from engine.store.schema.triggers.cells import CELL_COUNTS, ENDED
from engine.store.schema.triggers.values import (
    OPEN,
    count_of_answer,
    count_of_error,
    count_of_job,
    has_counted_error,
)

CELLS = CELL_COUNTS["sqlite"]


@cache
def statements() -> Sequence[str]:
    """The statements that create the triggers, which fire for each row."""
    length = "json_array_length({})"
    asked = "{0}.cell_count > 0"
    old, new = "OLD", "NEW"

    def count_job(row: str, sign: str = "") -> str:
        return _upsert(job_count.name, count_of_job(row, sign, length), "WHERE true")

    def count_error(row: str, sign: str = "") -> str:
        return _upsert(
            error_count.name, count_of_error(row, sign), f"WHERE {has_counted_error(row)}"
        )

    def count_answer(of: str, found: str, sign: str = "", of_job: str = "") -> str:
        # One of the two is the row of the trigger; the other is looked up.
        if of_job:
            source = f"FROM result WHERE result.job_id = {of_job} AND {asked.format(of)}"
        else:
            source = f"FROM job WHERE job.id = {found}.job_id AND {asked.format('job')}"
        return _upsert(answer_count.name, count_of_answer(of, found, sign), source)

    def count_asked(row: str, sign: str = "") -> str:
        return _upsert_all(cell_count.name, CELLS.asked(row, sign))

    def count_answered(of: str, found: str, sign: str = "") -> str:
        if of == "job":
            joined, condition = "job JOIN ", f" AND job.id = {found}.job_id"
        else:
            joined, condition = "result JOIN ", " AND result.job_id = NEW.id"
        return _upsert_all(cell_count.name, CELLS.answered(of, found, sign, joined) + condition)

    def changed(*columns: str) -> str:
        each = [", ".join(f"{row}.{name}" for name in columns) for row in (old, new)]
        return f"({each[0]}) IS NOT ({each[1]})"

    counted = ("run_id", "lane", "cost_class", "state", "cell_count", "past_cells", "threshold")
    erring = ("run_id", "state", "lane", "error", "detail", "cell_count")
    answered = ("run_id", "state", "cells", "threshold", "cell_count")
    labelled = ("run_id", "labels", "cells", "cell_count", "threshold")
    ends = f"({old}.state IN ({ENDED})) <> ({new}.state IN ({ENDED}))"
    numbers = ("passed", "failed", "scores", "unanswered")
    dated = "({0}.state IN (" + OPEN + ") AND {0}.due_at > 0)"
    dates = f"{dated.format(old)} <> {dated.format(new)}"
    errs = f"({has_counted_error(old)} OR {has_counted_error(new)})"
    has_result = "EXISTS (SELECT 1 FROM result WHERE result.job_id = NEW.id)"
    return (
        _row_trigger("count_job_insert", "INSERT ON job", "", count_job(new)),
        _row_trigger("count_job_delete", "DELETE ON job", "", count_job(old, "-")),
        _row_trigger(
            "count_job_update",
            f"UPDATE OF {', '.join(counted)}, due_at ON job",
            f"{changed(*counted)} OR {dates}",
            count_job(old, "-"),
            count_job(new),
        ),
        _row_trigger(
            "count_error_insert", "INSERT ON job", has_counted_error(new), count_error(new)
        ),
        _row_trigger(
            "count_error_delete", "DELETE ON job", has_counted_error(old), count_error(old, "-")
        ),
        _row_trigger(
            "count_error_update",
            f"UPDATE OF {', '.join(erring)} ON job",
            f"{errs} AND {changed(*erring)}",
            count_error(old, "-"),
            count_error(new),
        ),
        _row_trigger(
            "count_answer_of_job",
            f"UPDATE OF {', '.join(answered)} ON job",
            f"{changed(*answered)} AND {has_result}",
            count_answer(old, "result", "-", of_job="NEW.id"),
            count_answer(new, "result", of_job="NEW.id"),
        ),
        _row_trigger("count_answer_insert", "INSERT ON result", "", count_answer("job", new)),
        _row_trigger("count_answer_delete", "DELETE ON result", "", count_answer("job", old, "-")),
        _row_trigger(
            "count_answer_update",
            f"UPDATE OF job_id, {', '.join(numbers)} ON result",
            changed("job_id", *numbers),
            count_answer("job", old, "-"),
            count_answer("job", new),
        ),
        _row_trigger("count_cell_insert", "INSERT ON job", "", count_asked(new)),
        _row_trigger("count_cell_delete", "DELETE ON job", "", count_asked(old, "-")),
        _row_trigger(
            "count_cell_update",
            f"UPDATE OF {', '.join(labelled)}, state ON job",
            f"{changed(*labelled)} OR {ends}",
            count_asked(old, "-"),
            count_asked(new),
        ),
        _row_trigger(
            "count_cell_of_job",
            f"UPDATE OF {', '.join(labelled)} ON job",
            f"{changed(*labelled)} AND {has_result}",
            count_answered(old, "result", "-"),
            count_answered(new, "result"),
        ),
        _row_trigger("count_cell_answer", "INSERT ON result", "", count_answered("job", new)),
        _row_trigger("count_cell_forget", "DELETE ON result", "", count_answered("job", old, "-")),
        _row_trigger(
            "count_cell_again",
            f"UPDATE OF job_id, {', '.join(numbers)} ON result",
            changed("job_id", *numbers),
            count_answered("job", old, "-"),
            count_answered("job", new),
        ),
    )


def _row_trigger(name: str, on: str, when: str, *statements: str) -> str:
    body = "".join(f"    {statement};\n" for statement in statements)
    condition = f" WHEN {when}" if when else ""
    return f"CREATE TRIGGER {name} AFTER {on}{condition} BEGIN\n{body}END"


def _upsert(table: str, values: str, source: str) -> str:
    """Add a row to the sums of those that count the same."""
    return _upsert_all(table, f"SELECT {values} {source}")


def _upsert_all(table: str, rows: str) -> str:
    """Add the rows of a query to the sums of those that count the same."""
    [(key, sums)] = [of for one, of in COUNTS.items() if one.name == table]
    example = ("example",) if table == error_count.name else ()
    columns = ", ".join((*key, *example, *sums))
    added = ", ".join(f"{name} = {name} + excluded.{name}" for name in sums)
    return (
        f"INSERT INTO {table} ({columns}) {rows}"
        f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {added}"
    )
