"""Cells from jobs: what is known of each, before it is shown as a row or counted in a summary."""

from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from engine.core.axes import Scalar
from engine.core.cell_tests import CellTests
from engine.core.model import count_failed, counted_unanswered
from engine.core.policy import UnansweredPolicy, UnansweredRule
from engine.core.rows import Source
from engine.core.states import State
from engine.core.statistics import rate_bounds
from engine.store import JobRow

UNREADABLE = "the answer lists no scores to read at another threshold"
_SORTED_JOBS = 1_000
OUTDATED = "from before `run --fresh`, not yet asked again"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRules:
    """The settings of a sweep that its rows depend on."""

    folded_field: str | None = None
    unanswered: UnansweredPolicy = field(default_factory=UnansweredPolicy)
    names: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict)
    """The current names of prompts and documents, by field and digest."""


@dataclass(slots=True, kw_only=True)
class Cell:
    """One cell of a sweep: its job, what the sweep asks for, and its tests if there are any."""

    job: JobRow
    labels: Mapping[str, Any]
    threshold: float | None
    is_asked: bool | None
    is_outdated: bool
    state: str
    source: Source
    error: str | None
    tests: CellTests | None = None
    """None if there are no numbers, for the reason in `error`."""
    bounds: tuple[float, float] | None = None
    """The lowest and highest failure rate that the unanswered questions leave possible."""


async def cells(
    jobs: AsyncIterable[JobRow], rules: RowRules, *, past: bool = False
) -> AsyncIterator[Cell]:
    """Yield the cells of jobs in the order of the sweep: those of folded jobs by threshold.

    Jobs that differ only in axes after the threshold's are sorted together, at most 1,000 at a time.
    With `past`, cells that only an earlier version of the sweep asked for are included.
    """
    held: list[Cell] = []
    held_jobs, shared = 0, None
    async for job in jobs:
        leading = _leading_labels(job, rules.folded_field)
        if held and (leading != shared or held_jobs == _SORTED_JOBS):
            for cell in sorted(held, key=_threshold_or_zero):
                yield cell
            held.clear()
            held_jobs = 0
        shared = leading
        held += cells_of(job, rules, past=past)
        held_jobs += 1
    for cell in sorted(held, key=_threshold_or_zero):
        yield cell


def _leading_labels(job: JobRow, folded_field: str | None) -> tuple[Any, ...] | int:
    """The labels of a job on the axes before the threshold; without thresholds, what no other job shares."""
    if folded_field is None or job.threshold is None:
        return job.id
    names = takewhile(lambda name: name != folded_field, job.labels)
    return tuple(job.labels[name] for name in names)


def _threshold_or_zero(cell: Cell) -> float:
    return cell.threshold or 0.0


def cells_of(job: JobRow, rules: RowRules, *, past: bool = False) -> Iterator[Cell]:
    """Yield the cells that a job answers; with `past`, also those that the sweep no longer asks for."""
    labels = current_labels(job, rules.names)
    if rules.folded_field is None or job.threshold is None:
        yield _cell(job, labels, None, job.is_asked, rules.unanswered)
        return
    for threshold, is_asked in thresholds_of(job, past=past):
        at = {**labels, rules.folded_field: threshold}
        yield _cell(job, at, threshold, is_asked, rules.unanswered)


def thresholds_of(job: JobRow, *, past: bool) -> Iterator[tuple[float, bool | None]]:
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


def _cell(
    job: JobRow,
    labels: Mapping[str, Any],
    threshold: float | None,
    is_asked: bool | None,
    policy: UnansweredPolicy,
) -> Cell:
    cell = Cell(
        job=job,
        labels=labels,
        threshold=threshold,
        is_asked=is_asked,
        is_outdated=job.outdated and is_asked is not False,
        state=job.state,
        source=Source.MISSING,
        error=job.error,
    )
    if job.passed is not None and job.failed is not None:
        _read_numbers(cell, job.passed, job.failed, policy)
    return cell


def _read_numbers(cell: Cell, passed: int, failed: int, policy: UnansweredPolicy) -> None:
    """Add to a cell what its answer says at its threshold, or why it says nothing."""
    job, threshold, total = cell.job, cell.threshold, passed + failed
    unanswered = sum(job.unanswered.values())
    if not policy.allows(total, unanswered):
        # The sweep allowed more when the answer was recorded.
        lacking = counted_unanswered(job.unanswered, total)
        _refuse(
            cell,
            f"{lacking}, more than the sweep allows; `nightsweep retry --unanswered` asks again",
        )
        return
    source = Source.MEASURED
    if threshold is not None and threshold != job.threshold:
        if job.scores is None:
            _refuse(cell, UNREADABLE)
            return
        failed = count_failed(job.scores, threshold)
        source = Source.DERIVED
    counts_unanswered = policy.rule is UnansweredRule.AS_FAILED
    added = unanswered if counts_unanswered else 0
    cell.tests = CellTests(
        failed=failed + added,
        total=total + added,
        threshold=threshold,
        listing=job.listing,
        unanswered=unanswered,
        counts_unanswered=counts_unanswered,
    )
    cell.bounds = rate_bounds(failed, total, unanswered)
    cell.source = Source.REUSED if job.reused else source
    cell.error = _notes(job, is_outdated=cell.is_outdated)


def _refuse(cell: Cell, why: str) -> None:
    """Leave a cell without numbers: a failure, unless its job is open and may still get them."""
    if cell.job.state is State.SUCCEEDED:
        cell.state = State.FAILED
    cell.error = why


def _notes(job: JobRow, *, is_outdated: bool) -> str | None:
    """The notes on an answer: its own, that it is outdated, and that a later attempt failed."""
    outdated = OUTDATED if is_outdated else None
    again = f"asking again failed: {job.error}" if job.error else None
    return "; ".join(filter(None, (job.note, outdated, again))) or None
