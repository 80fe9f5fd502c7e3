"""Reading single jobs and the event log of a run, for finding out why it is stuck."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from engine.core.axes import Scalar
from engine.core.errors import UsageError
from engine.core.inspection import EventFilter, JobDetails, JobFilter, JobInfo
from engine.core.runs import Event, RunState
from engine.session.conditions import name_axes, to_labels_like
from engine.store import KnownJob, RunRow, Store
from engine.sweep import SweepFacts

_LANE = "lane"


async def jobs(
    store: Store, facts: SweepFacts, row: RunRow, wanted: JobFilter
) -> AsyncIterator[JobInfo]:
    """The jobs of a run that meet a filter, in the order of the file.

    Raises UsageError where the filter names what the run has no axis for.
    """
    wanted = replace(wanted, where=name_axes(facts, row.name, wanted.where, (_LANE,)))
    names = facts.document_labels()
    labels = to_labels_like(facts, wanted.where)
    found = store.inspection.jobs(
        row, wanted.states, has_error=bool(wanted.error), past=wanted.past, labels=labels
    )
    async for one in found:
        info = _with_names(one, names)
        if wanted.wants(info):
            yield info


async def details(store: Store, facts: SweepFacts, row: RunRow, job_id: int) -> JobDetails:
    """All that the store knows of a job, read in one snapshot; raises UsageError if it was deleted meanwhile."""
    found = await store.inspection.find_job(row, job_id)
    if found is None:
        raise UsageError(f"job {job_id} was deleted")
    known, history = found
    answer, is_aside = history.answer, False
    if answer is None:
        answer = await store.inspection.find_answer_aside(job_id, history.workers)
        is_aside = answer is not None
    contents = await store.reader.documents(known.documents.values())
    return JobDetails(
        run=row.name,
        job=_with_names(known, facts.document_labels()),
        documents={name: contents.get(digest) for name, digest in known.documents.items()},
        attempts=history.attempts,
        result=history.result,
        answer=answer,
        is_in_side_file=is_aside,
        unread=history.unread,
    )


async def find_job(store: Store, name: str, row: RunRow | None = None) -> tuple[int, int]:
    """The job that a name means, of one run or of all: its id and that of its run.

    Raises UsageError where there is none, or more than one.
    """
    found = await store.inspection.find_jobs_by_name(name, None if row is None else row.id)
    where = str(store.path) if row is None else f"the run {row.name}"
    if not found:
        raise UsageError(
            f"{where} has no job {name!r:.100}: name it by its number, as `nightsweep jobs` prints it,"
            " or by at least six digits of its key"
        )
    if len(found) > 1:
        ids = ", ".join(str(job_id) for job_id, _ in found)
        raise UsageError(f"{where} has several jobs whose key begins with {name}, such as {ids}")
    return found[0]


async def events(
    store: Store, row: RunRow, wanted: EventFilter, *, after: int
) -> AsyncIterator[Event]:
    """The events of a run after the one with a number, page by page, the oldest first."""
    while page := await store.inspection.events_after(row.id, wanted, after):
        for event in page:
            yield event
        after = page[-1].id


async def is_executed_elsewhere(store: Store, row: RunRow) -> bool:
    """Whether a process other than this one works on a run; one that died counts until that is noticed.

    Of a new run without lanes this is not known: it counts as executed if any other process uses the store.
    """
    if await store.worker.is_executed_elsewhere(row.id):
        return True
    # Until the first batch of its matrix is written, a run has no lanes that tell who executes it.
    is_new = not row.is_expanded and row.state is RunState.ACTIVE and row.reason is None
    return is_new and not await store.worker.is_alone()


def _with_names(known: KnownJob, names: Mapping[str, Mapping[str, Scalar]]) -> JobInfo:
    """A job with the names that its prompts and documents have now: they are known by content."""
    renamed: dict[str, Any] = {
        axis: names[axis][content]
        for axis, content in known.documents.items()
        if content in names.get(axis, ())
    }
    return replace(known.info, labels={**known.info.labels, **renamed}) if renamed else known.info
