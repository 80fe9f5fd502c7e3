"""Rows from jobs: one for each cell of the sweep."""

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import Any

from engine.core.rows import Row, short_digest
from engine.results.cells import Cell, RowRules, cells, cells_of
from engine.store import JobRow


async def rows(
    jobs: AsyncIterable[JobRow], rules: RowRules, *, past: bool = False
) -> AsyncIterator[Row]:
    """Yield one row per cell, in the order of the sweep; a folded job has a row for each threshold.

    With `past`, cells that only an earlier version of the sweep asked for are included.
    """
    async for cell in cells(jobs, rules, past=past):
        yield row_of(cell)


def rows_of(job: JobRow, rules: RowRules, *, past: bool = False) -> Iterator[Row]:
    """Yield one row for each cell of a job; with `past`, also for those that the sweep no longer asks for."""
    return map(row_of, cells_of(job, rules, past=past))


def row_of(cell: Cell) -> Row:
    """The row of a cell."""
    job = cell.job
    known: dict[str, Any] = {
        "labels": cell.labels,
        "digests": {axis: short_digest(content) for axis, content in job.documents.items()},
        "asked": cell.is_asked,
        "outdated": cell.is_outdated,
        "state": cell.state,
        "source": cell.source,
        "attempts": job.attempts,
        "seconds": job.seconds,
        "answered_at": job.answered_at,
        "error": cell.error,
    }
    if job.passed is not None:
        known |= {
            "unanswered": sum(job.unanswered.values()),
            "unanswered_reasons": job.unanswered,
        }
    if cell.tests is None:
        return Row(**known)
    tests = cell.tests
    estimate = tests.estimate()
    lowest, highest = cell.bounds or (None, None)
    return Row(
        **known,
        passed=tests.total - tests.failed,
        failed=tests.failed,
        total=tests.total,
        failure_rate=estimate.rate,
        ci_low=estimate.low,
        ci_high=estimate.high,
        interval=estimate.interval,
        **tests.numbers()._asdict(),
        lowest_rate=lowest,
        highest_rate=highest,
        identity=job.provenance,
        values=job.values,
    )
