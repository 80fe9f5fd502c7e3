"""The totals of a run, always derived from its rows."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, case, func, select, true
from sqlalchemy.engine import Connection

from engine.core.error_kinds import ErrorKind, by_kind
from engine.core.progress import QuestionsInFlight
from engine.core.rates import CLOCK_TOLERANCE_S
from engine.core.states import AttemptOutcome, State
from engine.core.status import ReusedAnswers
from engine.store.queries import progress
from engine.store.queries.fresh import Fresh, find_fresh
from engine.store.queries.queue import CLAIMABLE
from engine.store.schema import attempt, job, result, run

_LATEST = 1_000
"""The number of latest attempts, and of different errors, that are read."""
_KINDS_MAX = 20


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The totals of a run, over what its sweep still asks for."""

    jobs: Mapping[State, int]
    cells: Mapping[State, int]
    lanes: Mapping[str, Mapping[State, int]]
    """Jobs by lane and state."""
    answers: tuple[Answers, ...]
    sent_last_minute: int
    ended: int
    """Requests that have ended, among the latest since the run was activated; see `_measure_speed`."""
    ended_over_s: float
    """Seconds since the first of these was sent."""
    errors: tuple[ErrorKind, ...]
    questions_to_come: int | None
    """Expected questions of the open jobs; None if the number is unknown for one of them, or 0."""
    in_flight_elsewhere: QuestionsInFlight
    """The questions of jobs in flight in other workers, as those last reported."""
    backing_off: Mapping[str, tuple[int, float]]
    """Jobs that may not be sent yet, by lane: (how many, when the first of them may be sent)."""
    backing_off_after: Mapping[str, ErrorKind]
    """The most frequent error of the waiting jobs of each lane."""
    cells_outdated: int
    """Cells with an answer from before `run --fresh`, because asking again failed."""

    @property
    def questions_answered(self) -> int:
        """Answered questions of succeeded jobs; a job that is asked again counts once it has succeeded again."""
        return sum(
            answers.passed + answers.failed
            for answers in self.answers
            if answers.state is State.SUCCEEDED
        )

    @property
    def questions_unanswered(self) -> int:
        """Unanswered questions of the same jobs."""
        return sum(
            sum(answers.unanswered.values()) * answers.jobs
            for answers in self.answers
            if answers.state is State.SUCCEEDED
        )


def count(
    connection: Connection,
    run_id: int,
    *,
    now: float,
    worker_id: str,
    threshold: float | None = None,
) -> Totals:
    """Count a run; answers that can be evaluated at `threshold` are counted at that threshold.

    If everything is asked again, jobs that are not answered again yet count as open. `worker_id` is this
    process's worker.
    """
    jobs = dict.fromkeys(State, 0)
    cells = dict.fromkeys(State, 0)
    lanes: dict[str, dict[State, int]] = {}
    fresh = find_fresh(connection, run_id)
    for state_text, lane, job_count, cell_count in _count_jobs(connection, run_id, fresh):
        state = State(state_text)
        jobs[state] += job_count
        cells[state] += cell_count
        lanes.setdefault(lane, dict.fromkeys(State, 0))[state] = job_count
    sent = connection.execute(
        select(func.count()).where(
            attempt.c.run_id == run_id,
            # Slots in the future are claimed, but nothing was sent in them yet.
            attempt.c.sent_at > now - 60.0,
            attempt.c.sent_at <= now,
        )
    ).scalar_one()
    ended, ended_over_s = _measure_speed(connection, run_id, now)
    queue = _find_open_jobs(connection, run_id, now)
    return Totals(
        jobs=jobs,
        cells=cells,
        lanes=lanes,
        answers=_find_answers(connection, run_id, threshold, fresh),
        sent_last_minute=sent,
        ended=ended,
        ended_over_s=ended_over_s,
        errors=_find_errors(connection, run_id) if jobs[State.FAILED] else (),
        questions_to_come=_questions_to_come(connection, run_id, queue),
        in_flight_elsewhere=progress.count_in_flight(connection, run_id, but=worker_id),
        backing_off=_backing_off(queue),
        backing_off_after=_backing_off_after(connection, run_id) if jobs[State.WAITING] else {},
        cells_outdated=0 if fresh is None else _count_outdated(connection, run_id, fresh),
    )


def jobs_by_state(connection: Connection, run_id: int) -> dict[State, int]:
    """Jobs that the sweep asks for by state; those that `run --fresh` will ask again are pending."""
    jobs = dict.fromkeys(State, 0)
    for state, _, job_count, _ in _count_jobs(connection, run_id, find_fresh(connection, run_id)):
        jobs[State(state)] += job_count
    return jobs


def _count_jobs(connection: Connection, run_id: int, fresh: Fresh | None) -> Sequence[Any]:
    """State, lane, jobs and cells of what the sweep asks for, by state and lane."""
    state: ColumnElement[str] = job.c.state
    jobs: FromClause = job
    if fresh is not None and not fresh.is_expanded:
        state, jobs = fresh.state, job.outerjoin(result, result.c.job_id == job.c.id)
    return connection.execute(
        select(state, job.c.lane, func.count(), func.sum(job.c.cell_count))
        .select_from(jobs)
        .where(job.c.run_id == run_id, job.c.cell_count > 0)
        .group_by(state, job.c.lane)
    ).all()


def _count_outdated(connection: Connection, run_id: int, fresh: Fresh) -> int:
    """Cells with an answer from before `run --fresh`, because asking again failed."""
    cells = (
        select(func.coalesce(func.sum(job.c.cell_count), 0))
        .select_from(result.join(job, job.c.id == result.c.job_id))
        .where(
            result.c.run_id == run_id,
            result.c.recorded_at < fresh.at,
            job.c.state == State.SUCCEEDED,
            ~fresh.is_outdated,
        )
    )
    return int(connection.execute(cells).scalar_one())


def count_answered_since(connection: Connection, run_id: int, time: float) -> int:
    """How many cells that the sweep asks for were answered by requests sent at `time` or later."""
    since = select(attempt.c.job_id).where(
        attempt.c.run_id == run_id,
        attempt.c.sent_at >= time,
        attempt.c.outcome == AttemptOutcome.SUCCEEDED,
    )
    cells = select(func.coalesce(func.sum(job.c.cell_count), 0)).where(job.c.id.in_(since))
    return int(connection.execute(cells).scalar_one())


def answers_from_other_runs(connection: Connection, run_id: int) -> tuple[ReusedAnswers, ...]:
    """The answers of a run that were reused from other runs, by the run that asked for them."""
    theirs = job.alias("theirs")
    rows = connection.execute(
        select(
            run.c.name,
            func.sum(job.c.cell_count).label("cells"),
            func.max(result.c.recorded_at).label("answered_at"),
        )
        .select_from(
            result.join(job, job.c.id == result.c.job_id)
            .outerjoin(theirs, and_(theirs.c.id == result.c.reused_from, theirs.c.id != job.c.id))
            .outerjoin(run, run.c.id == theirs.c.run_id)
        )
        .where(
            # Not with the index of the runs, but with that of the reused answers, which are few.
            result.c.run_id + 0 == run_id,
            result.c.reused_from.is_not(None),
            job.c.cell_count > 0,
        )
        .group_by(run.c.name)
        .order_by(func.sum(job.c.cell_count).desc(), run.c.name)
    )
    return tuple(
        ReusedAnswers(run=row.name, cells=row.cells, answered_at=row.answered_at) for row in rows
    )


@dataclass(frozen=True, slots=True)
class _OpenJobs:
    """Claimable jobs of one lane and cost class."""

    lane: str
    jobs: int
    expected_tests: int | None
    """Expected questions of each job; the jobs of a class have the same number."""
    backing_off: int
    next_due_at: float | None


def _find_open_jobs(connection: Connection, run_id: int, now: float) -> list[_OpenJobs]:
    # Counted with an index; one job of each class shows what all of them expect.
    is_early = job.c.due_at > now
    classes = (
        select(
            job.c.lane,
            func.count().label("jobs"),
            func.min(job.c.id).label("sample"),
            func.count().filter(is_early).label("backing_off"),
            func.min(job.c.due_at).filter(is_early).label("next_due_at"),
        )
        .where(job.c.run_id == run_id, CLAIMABLE)
        .group_by(job.c.lane, job.c.cost_class)
        .subquery()
    )
    rows = connection.execute(
        select(
            classes.c.lane,
            classes.c.jobs,
            job.c.expected_tests,
            classes.c.backing_off,
            classes.c.next_due_at,
        ).join(job, job.c.id == classes.c.sample)
    )
    return [_OpenJobs(*row) for row in rows]


def _questions_to_come(
    connection: Connection, run_id: int, queue: Iterable[_OpenJobs]
) -> int | None:
    running = connection.execute(
        select(job.c.expected_tests).where(job.c.run_id == run_id, job.c.state == State.RUNNING)
    ).scalars()
    expected = [(1, tests) for tests in running] + [(one.jobs, one.expected_tests) for one in queue]
    total = 0
    for jobs, tests in expected:
        # Jobs without tests, such as functions, may still report the progress of something else.
        if not tests:
            return None
        total += jobs * tests
    return total


def _backing_off(queue: Iterable[_OpenJobs]) -> dict[str, tuple[int, float]]:
    found: dict[str, tuple[int, float]] = {}
    for one in queue:
        if one.next_due_at is not None:
            jobs, due_at = found.get(one.lane, (0, one.next_due_at))
            found[one.lane] = jobs + one.backing_off, min(due_at, one.next_due_at)
    return found


def _find_answers(
    connection: Connection, run_id: int, threshold: float | None, fresh: Fresh | None
) -> tuple[Answers, ...]:
    failed: ColumnElement[int] = result.c.failed
    if threshold is not None:
        score = func.json_each(result.c.scores).table_valued("value")
        below = select(func.count()).select_from(score).where(score.c.value < threshold)
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
            true() if fresh is None else ~fresh.is_outdated,
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


def _measure_speed(connection: Connection, run_id: int, now: float) -> tuple[int, float]:
    """(requests that have ended, seconds since the first was sent), over the latest since the run was activated.

    Sent requests alone do not show the speed: sixteen requests that take 15 minutes each are sent within a second.
    """
    taken_up_at = select(run.c.updated_at).where(run.c.id == run_id).scalar_subquery()
    latest = (
        select(attempt.c.outcome, attempt.c.sent_at)
        .where(
            attempt.c.run_id == run_id,
            attempt.c.sent_at.between(now - 3600.0, now + CLOCK_TOLERANCE_S),
            attempt.c.sent_at >= taken_up_at,
        )
        .order_by(attempt.c.sent_at.desc())
        .limit(_LATEST)
        .subquery()
    )
    answers = latest.c.outcome.in_([AttemptOutcome.SUCCEEDED, AttemptOutcome.FAILED])
    ended, first_sent_at = connection.execute(
        select(func.count().filter(answers), func.coalesce(func.min(latest.c.sent_at), now))
    ).one()
    return ended, max(0.0, now - first_sent_at)


def _find_errors(connection: Connection, run_id: int) -> tuple[ErrorKind, ...]:
    """The errors of failed jobs, the most frequent kinds first."""
    found = [kind for _, kind in _find_errors_of(connection, run_id, State.FAILED)]
    return by_kind(found)[:_KINDS_MAX]


def _backing_off_after(connection: Connection, run_id: int) -> dict[str, ErrorKind]:
    lanes: dict[str, list[ErrorKind]] = {}
    for lane, kind in _find_errors_of(connection, run_id, State.WAITING):
        lanes.setdefault(lane, []).append(kind)
    return {lane: by_kind(kinds)[0] for lane, kinds in lanes.items()}


def _find_errors_of(
    connection: Connection, run_id: int, state: State
) -> list[tuple[str, ErrorKind]]:
    # The stored error ends with the service's own words, which differ from job to job.
    message = func.replace(
        func.coalesce(job.c.error, ""), func.coalesce(": " + job.c.detail, ""), ""
    ).label("message")
    rows = connection.execute(
        select(job.c.lane, message, func.count(), func.min(job.c.detail))
        .where(job.c.run_id == run_id, job.c.state == state, job.c.cell_count > 0)
        .group_by(job.c.lane, message)
        .order_by(func.count().desc())
        .limit(_LATEST)
    )
    return [
        (lane, ErrorKind(message=message, jobs=count, example=detail or ""))
        for lane, message, count, detail in rows
    ]
