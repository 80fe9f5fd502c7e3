"""Rows from jobs: one for each cell of the sweep."""

from collections.abc import AsyncIterable, AsyncIterator, Iterator

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
    job, tests = cell.job, cell.tests
    digests = {axis: short_digest(content) for axis, content in job.documents.items()}
    unanswered = None if job.passed is None else sum(job.unanswered.values())
    reasons = None if job.passed is None else job.unanswered
    if tests is None:
        return Row(
            labels=cell.labels,
            digests=digests,
            asked=cell.is_asked,
            outdated=cell.is_outdated,
            state=cell.state,
            source=cell.source,
            unanswered=unanswered,
            unanswered_reasons=reasons,
            attempts=job.attempts,
            seconds=job.seconds,
            answered_at=job.answered_at,
            error=cell.error,
        )
    rate, _, _, low, high, interval = tests.estimate()
    cases, first_failed, cases_failed = tests.numbers()
    lowest, highest = cell.bounds or (None, None)
    return Row(
        labels=cell.labels,
        digests=digests,
        asked=cell.is_asked,
        outdated=cell.is_outdated,
        state=cell.state,
        source=cell.source,
        passed=tests.total - tests.failed,
        failed=tests.failed,
        total=tests.total,
        failure_rate=rate,
        ci_low=low,
        ci_high=high,
        interval=interval,
        cases=cases,
        first_failed=first_failed,
        cases_failed=cases_failed,
        unanswered=unanswered,
        unanswered_reasons=reasons,
        lowest_rate=lowest,
        highest_rate=highest,
        identity=job.provenance,
        attempts=job.attempts,
        seconds=job.seconds,
        answered_at=job.answered_at,
        error=cell.error,
        values=job.values,
    )
