"""From jobs to cells: one row for everything that the user asked about."""

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from typing import Any

from engine.core.model import Measurement, counted_unanswered
from engine.core.policy import UnansweredPolicy, UnansweredRule
from engine.core.states import State
from engine.core.statistics import failure_rate, rate_bounds, wilson
from engine.core.status import Row, Source
from engine.store import JobRow


async def rows(
    jobs: AsyncIterable[JobRow], folded_field: str | None, policy: UnansweredPolicy
) -> AsyncIterator[Row]:
    """One row per cell, in the order of the jobs; a folded job gives a row for each threshold."""
    async for job in jobs:
        if folded_field is None or not job.cells:
            yield _row(job, job.labels, job.threshold, policy)
            continue
        for threshold in job.cells:
            yield _row(job, {**job.labels, folded_field: threshold}, threshold, policy)


def _row(
    job: JobRow, labels: Mapping[str, Any], threshold: float | None, policy: UnansweredPolicy
) -> Row:
    if job.passed is None or job.failed is None:
        return Row(labels=labels, state=job.state, source=Source.MISSING, error=job.error)
    failed = job.failed
    total = job.passed + job.failed
    unanswered = sum(job.unanswered.values())
    if not policy.allows(total, unanswered):
        # It was kept under another setting.
        lacking = counted_unanswered(job.unanswered, total)
        error = f"{lacking}, more than the sweep allows; `nightsweep retry --unanswered` asks again"
        state = State.FAILED if job.state is State.SUCCEEDED else job.state
        return Row(labels=labels, state=state, source=Source.MISSING, error=error)
    source = Source.REUSED if job.reused else Source.MEASURED
    if threshold != job.threshold:
        assert threshold is not None, "only thresholds fold"
        if job.scores is None:
            error = "the answer lists no scores to read at another threshold"
            return Row(labels=labels, state=job.state, source=Source.MISSING, error=error)
        measured = Measurement(passed=job.passed, failed=job.failed, tests=total, scores=job.scores)
        failed = measured.failed_at(threshold)
        source = Source.REUSED if job.reused else Source.DERIVED
    bounds = rate_bounds(failed, total, unanswered)
    if policy.rule is UnansweredRule.AS_FAILED:
        failed, total = failed + unanswered, total + unanswered
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
        unanswered=unanswered,
        unanswered_reasons=job.unanswered,
        lowest_rate=None if bounds is None else bounds[0],
        highest_rate=None if bounds is None else bounds[1],
        identity=job.provenance,
        error=_told(job),
    )


def _told(job: JobRow) -> str | None:
    """What is to be known of an answer, and how asking for a better one ended."""
    again = f"asked again in vain: {job.error}" if job.error else None
    return "; ".join(filter(None, (job.note, again))) or None
