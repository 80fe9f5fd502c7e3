"""The answers of a run, counted by what they are evaluated by.

Every function runs inside a transaction of the caller.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, case, func, select
from sqlalchemy.engine import Connection

from engine.core.states import State
from engine.store.json_columns import numbers_in
from engine.store.queries.fresh import Fresh
from engine.store.schema import answer_count, job, result
from engine.store.schema.counts import NO_THRESHOLD


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Answers of the sweep that are evaluated alike: with the same thresholds and unanswered questions."""

    state: State
    cells: tuple[float, ...]
    threshold: float | None
    has_scores: bool
    unanswered: Mapping[str, int]
    """Questions of each that have no answer, by reason."""
    jobs: int
    passed: int
    """Passed tests of all these answers, at the requested threshold or else at their own."""
    failed: int

    @property
    def tests_each(self) -> int:
        """Tests of each answer, in a group with unanswered questions."""
        return (self.passed + self.failed) // self.jobs


def find_answers(
    connection: Connection, run_id: int, threshold: float | None, fresh: Fresh | None
) -> tuple[Answers, ...]:
    """The answers to what the sweep of a run asks for, except outdated ones.

    Those that have scores and a higher threshold are counted at `threshold`, others at their own.
    """
    if fresh is not None:
        # The kept counts do not tell which answers are outdated.
        return _read_answers(connection, run_id, threshold, ~fresh.is_outdated)
    answers = [
        Answers(
            state=State(row.state),
            cells=tuple(json.loads(row.cells)),
            threshold=None if row.threshold == NO_THRESHOLD else row.threshold,
            has_scores=bool(row.has_scores),
            unanswered=json.loads(row.unanswered) if row.unanswered else {},
            jobs=row.jobs,
            passed=row.passed,
            failed=row.failed,
        )
        for row in connection.execute(_COUNTED_ANSWERS, {"run_id": run_id})
    ]
    if threshold is None:
        return tuple(answers)
    # An edit has lowered the highest threshold below that of these answers: their scores are read.
    above = {one.threshold for one in answers if one.has_scores and _is_above(one, threshold)}
    if not above:
        return tuple(answers)
    counted = [one for one in answers if one.threshold not in above]
    is_above = job.c.threshold > threshold
    return (*counted, *_read_answers(connection, run_id, threshold, is_above))


def _is_above(one: Answers, threshold: float) -> bool:
    return one.threshold is not None and one.threshold > threshold


def _select_counted_answers() -> Select[Any]:
    counted = answer_count.c
    alike = (
        counted.state,
        counted.cells,
        counted.threshold,
        counted.has_scores,
        counted.unanswered,
        counted.tests_each,
    )
    jobs = func.sum(counted.jobs)
    return (
        select(
            *alike,
            jobs.label("jobs"),
            func.sum(counted.passed).label("passed"),
            func.sum(counted.failed).label("failed"),
        )
        .where(counted.run_id == bindparam("run_id"))
        .group_by(*alike)
        .having(jobs > 0)
    )


_COUNTED_ANSWERS = _select_counted_answers()


def _read_answers(
    connection: Connection, run_id: int, threshold: float | None, wanted: ColumnElement[bool]
) -> tuple[Answers, ...]:
    """Count the answers of jobs that meet a condition, at `threshold` if they have scores for it, by reading them."""
    failed: ColumnElement[int] = result.c.failed
    if threshold is not None:
        scores = numbers_in(connection, result.c.scores)
        below = select(func.count()).select_from(scores.table).where(scores.value < threshold)
        failed = case(
            (
                and_(job.c.threshold > threshold, result.c.scores.is_not(None)),
                below.correlate(result).scalar_subquery(),
            ),
            else_=result.c.failed,
        )
    total = result.c.passed + result.c.failed
    alike = (
        job.c.state,
        job.c.cells,
        job.c.threshold,
        result.c.scores.is_not(None).label("has_scores"),
        result.c.unanswered,
        # Whether too many questions are unanswered depends on how many there are.
        case((result.c.unanswered.is_not(None), total)),
    )
    rows = connection.execute(
        select(
            *alike,
            func.count().label("jobs"),
            func.sum(total - failed).label("passed"),
            func.sum(failed).label("failed"),
        )
        .select_from(result.join(job, job.c.id == result.c.job_id))
        .where(
            # Not that of the result: its index would give the rows in an order in which each is another page.
            job.c.run_id == run_id,
            job.c.cell_count > 0,
            wanted,
        )
        .group_by(*alike)
    )
    return tuple(
        Answers(
            state=State(row.state),
            cells=tuple(json.loads(row.cells)),
            threshold=row.threshold,
            has_scores=bool(row.has_scores),
            unanswered={} if row.unanswered is None else json.loads(row.unanswered),
            jobs=row.jobs,
            passed=row.passed,
            failed=row.failed,
        )
        for row in rows
    )
