"""From jobs to cells: one row for everything that the user asked about."""

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from typing import Any

from engine.core.model import Measurement
from engine.core.states import State
from engine.core.statistics import failure_rate, wilson
from engine.core.status import Row, Source
from engine.store import JobRow


async def rows(jobs: AsyncIterable[JobRow], folded_field: str | None) -> AsyncIterator[Row]:
    """One row per cell, in the order of the jobs; a folded job gives a row for each threshold."""
    async for job in jobs:
        if folded_field is None or not job.cells:
            yield _row(job, job.labels, job.threshold)
            continue
        for threshold in job.cells:
            yield _row(job, {**job.labels, folded_field: threshold}, threshold)


def _row(job: JobRow, labels: Mapping[str, Any], threshold: float | None) -> Row:
    if job.state is not State.SUCCEEDED or job.passed is None or job.failed is None:
        return Row(labels=labels, state=job.state, source=Source.MISSING, error=job.error)
    failed = job.failed
    total = job.passed + job.failed
    source = Source.REUSED if job.reused else Source.MEASURED
    if threshold != job.threshold:
        assert threshold is not None, "only thresholds fold"
        if job.scores is None:
            error = "the answer lists no scores to read at another threshold"
            return Row(labels=labels, state=job.state, source=Source.MISSING, error=error)
        measured = Measurement(passed=job.passed, failed=job.failed, tests=total, scores=job.scores)
        failed = measured.failed_at(threshold)
        source = Source.REUSED if job.reused else Source.DERIVED
    interval = wilson(failed, total)
    return Row(
        labels=labels,
        state=job.state,
        source=source,
        passed=total - failed,
        failed=failed,
        total=total,
        failure_rate=failure_rate(failed, total),
        ci_low=None if interval is None else interval[0],
        ci_high=None if interval is None else interval[1],
        error=job.note,
    )
