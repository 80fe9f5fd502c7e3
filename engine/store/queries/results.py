"""What is asked of runs beside their jobs: queues, numbers, the values of results, the events of lanes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import func, or_, select, true, tuple_
from sqlalchemy.engine import Connection

from engine.core.runs import EventKind
from engine.core.states import State
from engine.core.values import ValueType, column_type
from engine.store.json_columns import entries_of, type_of
from engine.store.queries import totals
from engine.store.queries.queue import CLAIMABLE
from engine.store.queries.runs import COLUMNS, RunRow, run_row
from engine.store.schema import event, job, job_count, result, run


def find_queues(connection: Connection, run_id: int) -> dict[str, tuple[str, ...]]:
    """The cost classes in which each lane of a run has claimable jobs, by lane, in ascending order.

    Reads one row for each pair of lane and class, however many jobs there are.
    """
    found: dict[str, list[str]] = {}
    next_pair = (
        select(job.c.lane, job.c.cost_class)
        .where(job.c.run_id == run_id, CLAIMABLE)
        .order_by(job.c.lane, job.c.cost_class)
        .limit(1)
    )
    query = next_pair
    while (row := connection.execute(query).first()) is not None:
        found.setdefault(row.lane, []).append(row.cost_class)
        # Jumps in the index from one pair to the next, however many jobs lie in between.
        query = next_pair.where(
            tuple_(job.c.lane, job.c.cost_class) > tuple_(row.lane, row.cost_class)
        )
    return {lane: tuple(classes) for lane, classes in found.items()}


def find_runs(connection: Connection) -> list[tuple[RunRow, Mapping[State, int]]]:
    """All runs, the last used first, each with the number of its jobs by state.

    Only jobs that the run's sweep asks for are counted; every state has an entry.
    """
    rows = connection.execute(select(*COLUMNS).order_by(run.c.updated_at.desc(), run.c.id.desc()))
    found = [run_row(row) for row in rows.mappings()]
    counts = connection.execute(
        select(job_count.c.run_id, job_count.c.state, func.sum(job_count.c.jobs))
        .where(job_count.c.asked == 1)
        .group_by(job_count.c.run_id, job_count.c.state)
    )
    jobs: dict[int, dict[State, int]] = {one.id: dict.fromkeys(State, 0) for one in found}
    for run_id, state, count in counts:
        jobs[run_id][State(state)] = count
    for one in found:
        if one.fresh_at is not None and not one.is_expanded:
            jobs[one.id] = totals.jobs_by_state(connection, one.id)
    return [(one, jobs[one.id]) for one in found]


def value_columns(connection: Connection, run_id: int) -> dict[str, ValueType]:
    """The names of all further values in the results of a run, in alphabetical order, with their columns' types."""
    each = entries_of(connection, result.c["values"], "each")
    query = (
        select(each.key, each.type_name)
        .select_from(result.join(each.table, true()))
        .where(result.c.run_id == run_id, result.c["values"].is_not(None))
        .distinct()
    )
    found: dict[str, set[ValueType]] = {}
    for name, kind in connection.execute(query):
        found.setdefault(name, set()).add(type_of(kind))
    return {name: column_type(found[name]) for name in sorted(found)}


class PastValue(NamedTuple):
    """A value of an axis that jobs of earlier versions of a sweep have."""

    axis: str
    """The axis' field."""
    label: Any
    digest: str | None
    """The digest of its content; None if the axis has no contents beside its labels."""


def find_past_values(connection: Connection, of: RunRow) -> list[PastValue]:
    """The values of jobs that the sweep of a run no longer asks for, or that its expansion has not reached yet.

    They are in no order; the sweep may have them, too. All these jobs are read.
    """
    label = entries_of(connection, job.c.labels, "label")
    content = entries_of(connection, job.c.documents, "content")
    is_past = job.c.cell_count == 0
    if not of.is_expanded:
        is_past = or_(is_past, job.c.generation < of.generation)
    query = (
        select(label.key, label.value, content.value)
        .select_from(
            job.join(label.table, true()).outerjoin(content.table, content.key == label.key)
        )
        .where(job.c.run_id == of.id, is_past)
        .distinct()
    )
    return [PastValue(*row) for row in connection.execute(query)]


def find_accepted_changes(connection: Connection, run_id: int) -> tuple[str, ...]:
    """The changes of what determines a run's answers that the user accepted, in words, the oldest first."""
    query = select(event.c.message).where(
        event.c.run_id == run_id, event.c.kind == EventKind.ACCEPTED
    )
    return tuple(connection.execute(query.order_by(event.c.id)).scalars())


def count_answers_by_identity(connection: Connection, run_id: int) -> dict[str, int]:
    """The number of answers to jobs that the run's sweep asks for, by what decided them, as `Row.identity` has it."""
    query = (
        select(result.c.provenance, func.count())
        .select_from(result.join(job, job.c.id == result.c.job_id))
        .where(result.c.run_id == run_id, job.c.cell_count > 0, result.c.provenance.is_not(None))
        .group_by(result.c.provenance)
    )
    return {str(identity): int(count) for identity, count in connection.execute(query)}


def count_past_cells(connection: Connection, run_id: int) -> int:
    """The number of cells of a run that only earlier versions of its sweep asked for, answered or not."""
    past = func.coalesce(func.sum(job_count.c.past_cells), 0)
    query = select(past).where(job_count.c.run_id == run_id)
    return int(connection.execute(query).scalar_one())


def find_lanes_with_answers(connection: Connection, run_id: int) -> list[str]:
    """The lanes of a run in which a job has succeeded, in any order."""
    counted = job_count.c
    query = (
        select(counted.lane)
        .where(counted.run_id == run_id, counted.state == State.SUCCEEDED)
        .group_by(counted.lane)
        .having(func.sum(counted.jobs) > 0)
    )
    return list(connection.execute(query).scalars())


def lanes_in_trouble(connection: Connection, run_id: int) -> dict[str, EventKind]:
    """The lanes whose last such event is an outage or a refusal that has not ended: OUTAGE or REFUSED by lane."""
    begins = (EventKind.OUTAGE, EventKind.REFUSED)
    # A refusal also ends when it is confirmed: these events say why the lane has stopped.
    ends = (
        EventKind.BACK,
        EventKind.PARKED,
        EventKind.ANSWERED,
        EventKind.QUOTA,
        EventKind.CREDIT,
    )
    latest = (
        select(func.max(event.c.id))
        .where(
            event.c.run_id == run_id,
            event.c.kind.in_([*begins, *ends]),
            event.c.lane.is_not(None),
        )
        .group_by(event.c.lane)
    )
    rows = connection.execute(
        select(event.c.lane, event.c.kind).where(event.c.id.in_(latest), event.c.kind.in_(begins))
    )
    return {row.lane: EventKind(row.kind) for row in rows}
