"""Writing a sweep's matrix into the queue, batch by batch, and changing it later.

Each expansion has a generation. A job that the new matrix asks for carries its number, whether it was
there before or not; what is left with an older one was removed from the sweep. So an expansion that
was cut short is simply done again.
"""

import json
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import RowMapping, and_, bindparam, case, func, or_, select, update
from sqlalchemy.engine import Connection

from engine.core.errors import UsageError
from engine.core.states import Event, State, target
from engine.core.status import RunState
from engine.store.dialect import insert
from engine.store.queue import CLAIMABLE
from engine.store.requests import NewJob
from engine.store.schema import document, job, result, run

REMOVED = "removed from the sweep"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run as the store knows it; times are seconds since the epoch."""

    id: int
    name: str
    service: str
    evaluation: str
    target: str
    identity: str
    sweep: Mapping[str, Any]
    digest: str
    expanded: str | None
    generation: int
    state: RunState
    reason: str | None
    message: str
    resume_at: float | None
    created_at: float
    updated_at: float

    @property
    def is_expanded(self) -> bool:
        """Whether every cell of the sweep is in the queue."""
        return self.expanded == self.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """What a sweep wants of the run of its name."""

    name: str
    service: str
    evaluation: str
    target: str
    identity: str
    sweep: Mapping[str, Any]
    digest: str


def begin(connection: Connection, new: NewRun, *, now: float) -> RunRow:
    """Create the run, or take up the one of this name for its new sweep.

    Raises UsageError when that one evaluates something else.
    """
    found = find(connection, new.name)
    values = {"sweep": json.dumps(new.sweep, ensure_ascii=False), "digest": new.digest}
    if found is None:
        connection.execute(
            run.insert().values(
                name=new.name,
                service=new.service,
                evaluation=new.evaluation,
                target=new.target,
                identity=new.identity,
                generation=1,
                state=RunState.ACTIVE,
                created_at=now,
                updated_at=now,
                **values,
            )
        )
    else:
        _refuse_another(found, new)
        generation = found.generation + (found.digest != new.digest)
        connection.execute(
            update(run)
            .where(run.c.id == found.id)
            .values(generation=generation, updated_at=now, **values)
        )
    row = find(connection, new.name)
    assert row is not None, "it was just written"
    return row


def _refuse_another(found: RunRow, new: NewRun) -> None:
    for what, old, asked in (
        ("service", found.service, new.service),
        ("evaluation", found.evaluation, new.evaluation),
        ("target", found.target, new.target),
        ("service", found.identity, new.identity),
    ):
        if old != asked:
            raise UsageError(
                f"the run {new.name!r} in this store has the {what} {old}, the sweep has {asked};"
                " give the sweep another name, or use another store"
            )


def find(connection: Connection, name: str | None) -> RunRow | None:
    """The run of a name, or the one that was used last."""
    query = select(run).order_by(run.c.updated_at.desc(), run.c.id.desc()).limit(1)
    if name is not None:
        query = query.where(run.c.name == name)
    row = (connection.execute(query)).mappings().first()
    return None if row is None else run_row(row)


def run_row(row: RowMapping) -> RunRow:
    """A row of `run` as an object."""
    return RunRow(**{**row, "sweep": json.loads(row["sweep"]), "state": RunState(row["state"])})


def add_documents(connection: Connection, contents: Mapping[str, Any]) -> None:
    """Keep prompts and other large contents once, under their digests."""
    if contents:
        connection.execute(
            insert(connection, document).on_conflict_do_nothing(),
            [
                {"digest": digest, "content": json.dumps(content, ensure_ascii=False)}
                for digest, content in contents.items()
            ],
        )


def add_jobs(
    connection: Connection, of: RunRow, jobs: Sequence[NewJob], *, reuse: bool, now: float
) -> None:
    """Ask for a batch of jobs: new ones become pending, those that are there already stay."""
    wanted: Sequence[NewJob] = jobs
    if of.generation > 1:
        wanted = _leave_to_siblings(connection, of, jobs)
    if not wanted:
        return
    statement = insert(connection, job)
    returning = and_(job.c.state == State.CANCELLED, job.c.error == REMOVED)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["key", "run_id"],
            set_={
                "generation": statement.excluded.generation,
                "labels": statement.excluded.labels,
                "documents": statement.excluded.documents,
                "cells": statement.excluded.cells,
                "cell_count": statement.excluded.cell_count,
                "state": case((returning, target(Event.REQUEUE)), else_=job.c.state),
                "error": case((returning, None), else_=job.c.error),
            },
        ),
        [_values(of, one) for one in wanted],
    )
    if reuse:
        _reuse(connection, of, wanted, now=now)


def _values(of: RunRow, one: NewJob) -> dict[str, object]:
    return {
        "run_id": of.id,
        "key": one.key,
        "family": one.family,
        "generation": of.generation,
        "lane": one.lane,
        "cost_class": one.cost_class,
        "expected_tests": one.expected_tests,
        "labels": json.dumps(one.labels, ensure_ascii=False),
        "documents": json.dumps(one.documents),
        "repeat": one.repeat,
        "threshold": one.threshold,
        "cells": json.dumps(one.cells),
        "cell_count": max(1, len(one.cells)),
        "state": State.PENDING,
    }


def _leave_to_siblings(connection: Connection, of: RunRow, jobs: Sequence[NewJob]) -> list[NewJob]:
    """Leave to answers that are here already the cells that they answer: lower thresholds of a family."""
    families = {one.family for one in jobs if one.family is not None}
    if not families:
        return list(jobs)
    rows = connection.execute(
        select(job.c.id, job.c.key, job.c.family, job.c.threshold, job.c.cells).where(
            job.c.family.in_(families), job.c.run_id == of.id, job.c.state == State.SUCCEEDED
        )
    )
    siblings: dict[bytes, list[_Sibling]] = defaultdict(list)
    for row in rows:
        sibling = _Sibling(row.id, row.key, row.threshold, json.loads(row.cells))
        siblings[row.family].append(sibling)
    left: list[NewJob] = []
    taken: dict[int, _Sibling] = {}
    for one in jobs:
        remaining = []
        for cell in one.cells:
            able = [
                sibling
                for sibling in siblings.get(one.family or b"", ())
                if sibling.threshold >= cell and sibling.key != one.key
            ]
            if able:
                nearest = min(able, key=lambda sibling: sibling.threshold)
                nearest.add(cell)
                taken[nearest.id] = nearest
            else:
                remaining.append(cell)
        if remaining or not one.cells:
            left.append(replace(one, cells=tuple(remaining)))
    if taken:
        connection.execute(
            update(job)
            .where(job.c.id == bindparam("job_id"))
            .values(
                generation=of.generation,
                cells=bindparam("thresholds"),
                cell_count=bindparam("count"),
            ),
            [
                {
                    "job_id": sibling.id,
                    "thresholds": json.dumps(sibling.cells),
                    "count": len(sibling.cells),
                }
                for sibling in taken.values()
            ],
        )
    return left


@dataclass(slots=True)
class _Sibling:
    id: int
    key: bytes
    threshold: float
    cells: list[float]

    def add(self, cell: float) -> None:
        at = bisect_left(self.cells, cell)
        if at == len(self.cells) or self.cells[at] != cell:
            insort(self.cells, cell)


def _reuse(connection: Connection, of: RunRow, jobs: Iterable[NewJob], *, now: float) -> None:
    """Answer jobs of this batch from answers that other runs of the store hold for the same key."""
    keys = [one.key for one in jobs]
    theirs = job.alias("theirs")
    rows = connection.execute(
        select(
            job.c.id,
            func.coalesce(result.c.reused_from, theirs.c.id).label("source"),
            result.c.passed,
            result.c.failed,
            result.c.tests,
            result.c.scores,
            result.c.note,
        )
        .select_from(
            job.join(theirs, and_(theirs.c.key == job.c.key, theirs.c.run_id != of.id)).join(
                result, result.c.job_id == theirs.c.id
            )
        )
        .where(job.c.key.in_(keys), job.c.run_id == of.id, CLAIMABLE)
        .order_by(theirs.c.id)
    )
    found = {row["id"]: row for row in rows.mappings()}
    if not found:
        return
    connection.execute(
        result.insert(),
        [
            {
                "job_id": row["id"],
                "run_id": of.id,
                "passed": row["passed"],
                "failed": row["failed"],
                "tests": row["tests"],
                "scores": row["scores"],
                "note": row["note"],
                "reused_from": row["source"],
                "recorded_at": now,
            }
            for row in found.values()
        ],
    )
    connection.execute(
        update(job)
        .where(job.c.id == bindparam("job_id"), CLAIMABLE)
        .values(state=target(Event.SUCCEED), due_at=0.0, error=None, detail=None),
        [{"job_id": job_id} for job_id in found],
    )


def has_other_runs(connection: Connection, of: RunRow) -> bool:
    """Whether the store holds other runs that answers could be reused from."""
    query = select(run.c.id).where(
        run.c.id != of.id, run.c.service == of.service, run.c.identity == of.identity
    )
    return (connection.execute(query.limit(1))).first() is not None


def finish(connection: Connection, of: RunRow, *, now: float) -> int:
    """Say that the matrix is wholly in the queue; cancel what it no longer asks for.

    Answers of removed cells are kept. Returns how many jobs were removed.
    """
    stale = and_(job.c.run_id == of.id, job.c.generation < of.generation)
    removed = 0
    if of.generation > 1:
        connection.execute(
            update(job)
            .where(stale, job.c.state != State.SUCCEEDED)
            .values(cells="[]", cell_count=0)
        )
        done = connection.execute(
            update(job)
            .where(stale, or_(CLAIMABLE))
            .values(state=target(Event.CANCEL), error=REMOVED, due_at=0.0)
        )
        removed = done.rowcount
    # Only if nobody has submitted yet another sweep meanwhile.
    connection.execute(
        update(run)
        .where(run.c.id == of.id, run.c.generation == of.generation)
        .values(expanded=of.digest, updated_at=now)
    )
    return removed
