"""Outcomes of attempts: settled by their worker, given back, or lost with it.

Every function runs inside a write transaction of the caller, which commits. Rows are read for update and then
changed by id, so that the rows which a decision was based on are the ones that are changed.
"""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Float,
    Integer,
    Text,
    bindparam,
    case,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Connection

from engine.core.quota import Cost
from engine.core.states import AttemptOutcome, Event, State, sources, target
from engine.store.dialect import Bulk, BulkUpsert, Upsert
from engine.store.queries import rates, reservations, settled
from engine.store.queries.queue import REMOVED, RUNNING, compress
from engine.store.requests import Blocked, Outcome
from engine.store.schema import answer, attempt, cost, job, result

_ANSWERABLE = sources(Event.SUCCEED)
_CLAIMABLE = sources(Event.CLAIM)

_DIED_MESSAGE = "the process that was working on it died"
_CLOSED_MESSAGE = "interrupted"

_CURRENT_JOBS = Bulk(
    {"id": Integer()},
    lambda given: (
        select(job.c.id, job.c.state, job.c.fence, job.c.attempts, job.c.cell_count)
        .where(job.c.id.in_(select(given.c.id)))
        .with_for_update()
    ),
)
_HELD_BY = (
    select(job.c.id, job.c.run_id, job.c.state, job.c.fence, job.c.attempts, job.c.cell_count)
    .where(RUNNING, job.c.owner == bindparam("worker_id"))
    .with_for_update()
)

_MOVE = Bulk(
    {
        "id": Integer(),
        "state": Text(),
        "attempts": Integer(),
        "due_at": Float(),
        "error": Text(),
        "detail": Text(),
    },
    lambda given: (
        update(job)
        .where(job.c.id == given.c.id)
        .values(
            state=given.c.state,
            owner=None,
            attempts=given.c.attempts,
            due_at=given.c.due_at,
            error=given.c.error,
            detail=given.c.detail,
        )
    ),
)

_CLOSE_ATTEMPTS = Bulk(
    {
        "job_id": Integer(),
        "fence": Integer(),
        "ended_at": Float(),
        "outcome": Text(),
        "status": Integer(),
        "error": Text(),
        "detail": Text(),
    },
    lambda given: (
        update(attempt)
        .where(
            attempt.c.job_id == given.c.job_id,
            attempt.c.fence == given.c.fence,
            # An attempt that was recorded as lost can only turn out to have succeeded.
            or_(
                attempt.c.outcome == AttemptOutcome.SENT,
                given.c.outcome == AttemptOutcome.SUCCEEDED,
            ),
        )
        .values(
            ended_at=given.c.ended_at,
            outcome=given.c.outcome,
            status=given.c.status,
            error=given.c.error,
            detail=given.c.detail,
        )
    ),
)

_RESULT_COLUMNS = (
    result.c.job_id,
    result.c.run_id,
    result.c.passed,
    result.c.failed,
    result.c.tests,
    result.c.scores,
    result.c.note,
    result.c.recorded_at,
    result.c.provenance,
    result.c.unanswered,
    result.c["values"],
    result.c.listing,
)
# A result exists already if an answer with unanswered questions was asked for again.
_KEEP_RESULTS = BulkUpsert(
    _RESULT_COLUMNS,
    lambda statement: statement.on_conflict_do_update(
        index_elements=["job_id"],
        set_={column.name: statement.excluded[column.name] for column in _RESULT_COLUMNS[2:]}
        | {"reused_from": None},
    ),
)
_KEEP_ANSWER = Upsert(
    answer,
    lambda statement: statement.on_conflict_do_update(
        index_elements=["job_id"], set_={"raw": statement.excluded.raw}
    ),
)
_ANSWERED = select(result.c.job_id).where(result.c.job_id.in_(bindparam("ids", expanding=True)))


def _greater(one: ColumnElement[int], other: ColumnElement[int]) -> ColumnElement[int]:
    return case((one > other, one), else_=other)


_KEEP_COST = Upsert(
    cost,
    lambda statement: statement.on_conflict_do_update(
        index_elements=["service", "cost_class"],
        set_={
            "tests": _greater(statement.excluded.tests, cost.c.tests),
            "answers": cost.c.answers + statement.excluded.answers,
            "bound": _greater(
                func.coalesce(statement.excluded.bound, cost.c.bound),
                func.coalesce(cost.c.bound, statement.excluded.bound),
            ),
        },
    ),
)


@dataclass(slots=True)
class _CurrentJob:
    """A job as the earlier outcomes of the same transaction left it."""

    state: str
    fence: int
    attempts: int
    cell_count: int
    has_answer: bool = False
    """Whether the job is being asked again and already has an answer, which is kept."""

    def accepts(self, one: Outcome) -> bool:
        """Whether an outcome counts: an answer if there is none yet, others only from the job's current claim."""
        if one.event is Event.SUCCEED:
            return self.state in _ANSWERABLE
        return self.state == State.RUNNING and self.fence == one.fence

    @property
    def is_settled(self) -> bool:
        """Whether it is answered or has failed."""
        return self.state in settled.SETTLED

    def apply(self, one: Outcome) -> tuple[object, ...]:
        """Change state by an outcome; returns the new values of the row."""
        # A late answer does not change the attempts of the claim that holds the job now.
        given_back = not one.keeps_attempt and self.fence == one.fence
        return self._move(
            one.job_id, one.event, one.due_at, one.error, one.detail, given_back=given_back
        )

    def take_back(self, job_id: int, event: Event, message: str) -> tuple[object, ...]:
        """Change state because the job's worker has ended; returns the new values of the row."""
        error = message if event is Event.FAIL else None
        return self._move(job_id, event, 0.0, error, None, given_back=event is Event.GIVE_BACK)

    def _move(
        self,
        job_id: int,
        event: Event,
        due_at: float,
        error: str | None,
        detail: str | None,
        *,
        given_back: bool,
    ) -> tuple[object, ...]:
        self.state = target(event)
        self.attempts -= given_back
        if self.cell_count == 0 and self.state in _CLAIMABLE:
            # The sweep was edited while the job was in flight and no longer asks for it: no other attempt is made.
            self.state, due_at, error = target(Event.CANCEL), 0.0, REMOVED
            if self.has_answer:
                self.state, error = target(Event.SUCCEED), None
        elif self.has_answer and event is Event.FAIL:
            self.state = target(Event.SUCCEED)
        return job_id, self.state, self.attempts, due_at, error, detail


def settle(connection: Connection, outcomes: Sequence[Outcome]) -> list[bool]:
    """Record the outcomes of attempts; returns for each whether it changed its job.

    A negative outcome counts only under the fence of its own claim; an answer is kept if the job has none yet.
    """
    jobs = _load_jobs(connection, outcomes)
    counts: list[bool] = []
    moved: list[tuple[object, ...]] = []
    ended: list[tuple[int, int]] = []
    answered: list[Outcome] = []
    for one in outcomes:
        of = jobs[one.job_id]
        counts.append(of.accepts(one))
        if counts[-1]:
            moved.append(of.apply(one))
            if of.is_settled:
                ended.append((one.run_id, one.job_id))
            if one.answer is not None:
                answered.append(one)
    if moved:
        _MOVE.run(connection, moved)
        settled.add(connection, ended)
    _CLOSE_ATTEMPTS.run(connection, [_attempt_values(one) for one in outcomes])
    if answered:
        _keep_answers(connection, answered)
    if reserving := [one for one in outcomes if one.reserved]:
        reservations.settle(connection, reserving)
    _block(connection, outcomes)
    return counts


def _block(connection: Connection, outcomes: Iterable[Outcome]) -> None:
    """Block the rates that outcomes ask to be blocked, each until the latest time."""
    blocked: dict[str, Blocked] = {}
    for one in outcomes:
        for name, wait in one.blocked.items():
            blocked[name] = max(wait, blocked.get(name, wait))
    if blocked:
        rates.block(connection, blocked)


def _load_jobs(connection: Connection, outcomes: Sequence[Outcome]) -> dict[int, _CurrentJob]:
    rows = _CURRENT_JOBS.rows(connection, [(one.job_id,) for one in outcomes])
    ending = {one.job_id for one in outcomes if one.event is Event.FAIL}
    ending |= {row.id for row in rows if row.cell_count == 0}
    answered = _find_answered(connection, ending)
    return {
        row.id: _CurrentJob(row.state, row.fence, row.attempts, row.cell_count, row.id in answered)
        for row in rows
    }


def _find_answered(connection: Connection, job_ids: Collection[int]) -> set[int]:
    """The jobs among these that have an answer."""
    if not job_ids:
        return set()
    return set(connection.execute(_ANSWERED, {"ids": list(job_ids)}).scalars())


def _attempt_values(one: Outcome) -> tuple[object, ...]:
    return (
        one.job_id,
        one.fence,
        one.ended_at,
        one.attempt_outcome,
        one.status,
        one.error,
        one.detail,
    )


def _keep_answers(connection: Connection, answered: Iterable[Outcome]) -> None:
    results, answers = [], []
    costs: dict[tuple[str, str], Cost] = {}
    for one in answered:
        assert one.answer is not None
        measured = one.answer.measurement
        results.append(
            (
                one.job_id,
                one.run_id,
                measured.passed,
                measured.failed,
                measured.tests,
                None if measured.scores is None else json.dumps(measured.scores),
                measured.note,
                one.ended_at,
                one.provenance,
                json.dumps(dict(measured.unanswered)) if measured.unanswered else None,
                json.dumps(dict(measured.values)) if measured.values else None,
                None if measured.listing is None else measured.listing.encode(),
            )
        )
        answers.append({"job_id": one.job_id, "raw": compress(one.answer.raw)})
        known = (one.service, one.cost_class)
        before = costs.get(known, Cost(tests=0, answers=0))
        bounds = [bound for bound in (before.bound, one.most_tests) if bound is not None]
        costs[known] = Cost(
            tests=max(measured.tests, before.tests),
            answers=before.answers + 1,
            bound=max(bounds, default=None),
        )
    _KEEP_RESULTS.run(connection, results)
    _KEEP_ANSWER.run(connection, answers)
    _KEEP_COST.run(
        connection,
        [
            {
                "service": service,
                "cost_class": name,
                "tests": of.tests,
                "answers": of.answers,
                "bound": of.bound,
            }
            for (service, name), of in costs.items()
        ],
    )


def reclaim(
    connection: Connection,
    worker_id: str,
    *,
    now: float,
    attempts: int | None = None,
    run_id: int | None = None,
) -> tuple[int, int]:
    """Reclaim the jobs of a dead worker: (jobs to be sent again, jobs that have failed).

    The fate of their requests is unknown, so each uses an attempt and its quota counts as used. A job fails if it
    has used `attempts`, the limit of the run `run_id`, or of all runs if that is None. Jobs of other runs never
    fail here, because each run has its own limit.
    """

    def event(row_run_id: int, used: int) -> Event:
        spent = attempts is not None and run_id in (None, row_run_id) and used >= attempts
        return Event.FAIL if spent else Event.RECLAIM

    taken = _take_back(
        connection, worker_id, event, now=now, outcome=AttemptOutcome.LOST, message=_DIED_MESSAGE
    )
    return len(taken) - taken.count(Event.FAIL), taken.count(Event.FAIL)


def give_back(connection: Connection, worker_id: str, *, now: float) -> int:
    """Give back the jobs and attempts that a worker still holds when it signs off; returns how many jobs."""
    taken = _take_back(
        connection,
        worker_id,
        lambda _run_id, _used: Event.GIVE_BACK,
        now=now,
        outcome=AttemptOutcome.INTERRUPTED,
        message=_CLOSED_MESSAGE,
    )
    return len(taken)


def _take_back(
    connection: Connection,
    worker_id: str,
    decide: Callable[[int, int], Event],
    *,
    now: float,
    outcome: AttemptOutcome,
    message: str,
) -> list[Event]:
    reservations.charge_lost(connection, worker_id)
    held = connection.execute(_HELD_BY, {"worker_id": worker_id}).all()
    if not held:
        return []
    events = [decide(row.run_id, row.attempts) for row in held]
    answered = _find_answered(
        connection,
        [
            row.id
            for row, event in zip(held, events, strict=True)
            if event is Event.FAIL or row.cell_count == 0
        ],
    )
    moved: list[tuple[object, ...]] = []
    ended: list[tuple[int, int]] = []
    for row, event in zip(held, events, strict=True):
        of = _CurrentJob(row.state, row.fence, row.attempts, row.cell_count, row.id in answered)
        moved.append(of.take_back(row.id, event, message))
        if of.is_settled:
            ended.append((row.run_id, row.id))
    _MOVE.run(connection, moved)
    settled.add(connection, ended)
    _CLOSE_ATTEMPTS.run(
        connection, [(row.id, row.fence, now, outcome, None, message, None) for row in held]
    )
    return events
