"""Rows from jobs: one for each cell of the sweep."""

from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.core.axes import Scalar
from engine.core.model import Measurement, counted_unanswered
from engine.core.policy import UnansweredPolicy, UnansweredRule
from engine.core.rows import Row, Source, short_digest
from engine.core.states import State
from engine.core.statistics import failure_rate, rate_bounds, wilson
from engine.store import JobRow

UNREADABLE = "the answer lists no scores to read at another threshold"
OUTDATED = "from before `run --fresh`, not yet asked again"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRules:
    """The settings of a sweep that its rows depend on."""

    folded_field: str | None = None
    unanswered: UnansweredPolicy = field(default_factory=UnansweredPolicy)
    names: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict)
    """The current names of prompts and documents, by field and digest."""


async def rows(
    jobs: AsyncIterable[JobRow], rules: RowRules, *, past: bool = False
) -> AsyncIterator[Row]:
    """Yield one row per cell, in the order of the jobs; a folded job has a row for each threshold.

    With `past`, cells that only an earlier version of the sweep asked for are included.
    """
    async for job in jobs:
        for row in rows_of(job, rules, past=past):
            yield row


def rows_of(job: JobRow, rules: RowRules, *, past: bool = False) -> Iterator[Row]:
    """Yield one row for each cell of a job; with `past`, also for those that the sweep no longer asks for."""
    labels = current_labels(job, rules.names)
    if rules.folded_field is None or job.threshold is None:
        yield _row(job, labels, None, job.is_asked, rules.unanswered)
        return
    for threshold, is_asked in cells_of(job, past=past):
        at = {**labels, rules.folded_field: threshold}
        yield _row(job, at, threshold, is_asked, rules.unanswered)


def cells_of(job: JobRow, *, past: bool) -> Iterator[tuple[float, bool | None]]:
    """The thresholds that a job answers, ascending, and whether the sweep asks for each.

    With `past`, those that only earlier versions of the sweep asked for are included.
    """
    asked = dict.fromkeys(job.cells, job.is_asked)
    if past:
        asked |= dict.fromkeys(job.past_cells, False)
    return iter(sorted(asked.items()))


def current_labels(job: JobRow, names: Mapping[str, Mapping[str, Scalar]]) -> dict[str, Any]:
    """A job's labels with the current names of its prompts and documents, which are identified by content."""
    renamed = {
        axis: names[axis][content]
        for axis, content in job.documents.items()
        if content in names.get(axis, ())
    }
    return {**job.labels, **renamed}


def _row(
    job: JobRow,
    labels: Mapping[str, Any],
    threshold: float | None,
    is_asked: bool | None,
    policy: UnansweredPolicy,
) -> Row:
    known: dict[str, Any] = {
        "labels": labels,
        "digests": {axis: short_digest(content) for axis, content in job.documents.items()},
        "asked": is_asked,
        "outdated": job.outdated and is_asked is not False,
        "attempts": job.attempts,
        "seconds": job.seconds,
        "answered_at": job.answered_at,
    }
    if job.passed is None or job.failed is None:
        return Row(**known, state=job.state, source=Source.MISSING, error=job.error)
    # An answer without numbers for this cell is a failure, unless the job is open and may still get them.
    state_without_numbers = State.FAILED if job.state is State.SUCCEEDED else job.state
    failed = job.failed
    total = job.passed + job.failed
    unanswered = sum(job.unanswered.values())
    known |= {"unanswered": unanswered, "unanswered_reasons": job.unanswered}
    if not policy.allows(total, unanswered):
        # The sweep allowed more when the answer was recorded.
        lacking = counted_unanswered(job.unanswered, total)
        error = f"{lacking}, more than the sweep allows; `nightsweep retry --unanswered` asks again"
        return Row(**known, state=state_without_numbers, source=Source.MISSING, error=error)
    source = Source.REUSED if job.reused else Source.MEASURED
    if threshold is not None and threshold != job.threshold:
        if job.scores is None:
            return Row(
                **known, state=state_without_numbers, source=Source.MISSING, error=UNREADABLE
            )
        measured = Measurement(passed=job.passed, failed=job.failed, tests=total, scores=job.scores)
        failed = measured.failed_at(threshold)
        source = Source.REUSED if job.reused else Source.DERIVED
    bounds = rate_bounds(failed, total, unanswered)
    if policy.rule is UnansweredRule.AS_FAILED:
        failed, total = failed + unanswered, total + unanswered
    interval = wilson(failed, total)
    return Row(
        **known,
        state=job.state,
        source=source,
        passed=total - failed,
        failed=failed,
        total=total,
        failure_rate=failure_rate(failed, total),
        ci_low=None if interval is None else interval[0],
        ci_high=None if interval is None else interval[1],
        lowest_rate=None if bounds is None else bounds[0],
        highest_rate=None if bounds is None else bounds[1],
        identity=job.provenance,
        values=job.values,
        error=_notes(job, is_outdated=known["outdated"]),
    )


def _notes(job: JobRow, *, is_outdated: bool) -> str | None:
    """The notes on an answer: its own, that it is outdated, and that a later attempt failed."""
    outdated = OUTDATED if is_outdated else None
    again = f"asking again failed: {job.error}" if job.error else None
    return "; ".join(filter(None, (job.note, outdated, again))) or None
