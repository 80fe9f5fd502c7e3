"""The totals of a run, from the kept counts, and from its rows where there are few of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    and_,
    func,
    select,
)
from sqlalchemy.engine import Connection

from engine.core.error_kinds import ErrorKind, by_kind
from engine.core.progress import QuestionsInFlight
from engine.core.rates import CLOCK_TOLERANCE_S
from engine.core.states import AttemptOutcome, State
from engine.core.status import ReusedAnswers
from engine.store.queries import progress
from engine.store.queries.counted_answers import Answers, find_answers
from engine.store.queries.fresh import Fresh, find_fresh
from engine.store.queries.open_jobs import count_questions_to_come, find_backing_off, find_open_jobs
from engine.store.schema import attempt, error_count, job, job_count, result, run

_LATEST = 1_000
"""The number of latest attempts, and of different errors, that are read."""
_KINDS_MAX = 20


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
    for state_text, lane, some, of_cells in _count_jobs(connection, run_id, fresh):
        state = State(state_text)
        jobs[state] += some
        cells[state] += of_cells
        lanes.setdefault(lane, dict.fromkeys(State, 0))[state] = some
    sent = connection.execute(
        select(func.count()).where(
            attempt.c.run_id == run_id,
            # Slots in the future are claimed, but nothing was sent in them yet.
            attempt.c.sent_at > now - 60.0,
            attempt.c.sent_at <= now,
        )
    ).scalar_one()
    ended, ended_over_s = _measure_speed(connection, run_id, now)
    queue = find_open_jobs(connection, run_id, now)
    return Totals(
        jobs=jobs,
        cells=cells,
        lanes=lanes,
        answers=find_answers(connection, run_id, threshold, fresh),
        sent_last_minute=sent,
        ended=ended,
        ended_over_s=ended_over_s,
        errors=_find_errors(connection, run_id) if jobs[State.FAILED] else (),
        questions_to_come=count_questions_to_come(connection, run_id, queue),
        in_flight_elsewhere=progress.count_in_flight(connection, run_id, but=worker_id),
        backing_off=find_backing_off(queue),
        backing_off_after=_backing_off_after(connection, run_id) if jobs[State.WAITING] else {},
        cells_outdated=0 if fresh is None else _count_outdated(connection, run_id, fresh),
    )


def jobs_by_state(connection: Connection, run_id: int) -> dict[State, int]:
    """Jobs that the sweep asks for by state; those that `run --fresh` will ask again are pending."""
    jobs = dict.fromkeys(State, 0)
    for state, _, some, _ in _count_jobs(connection, run_id, find_fresh(connection, run_id)):
        jobs[State(state)] += some
    return jobs


def _count_jobs(connection: Connection, run_id: int, fresh: Fresh | None) -> Sequence[Any]:
    """State, lane, jobs and cells of what the sweep asks for, by state and lane."""
    if fresh is not None and not fresh.is_expanded:
        # The kept counts do not tell which answers will be asked again.
        state = fresh.state.label("state_now")
        return connection.execute(
            select(state, job.c.lane, func.count(), func.sum(job.c.cell_count))
            .select_from(job.outerjoin(result, result.c.job_id == job.c.id))
            .where(job.c.run_id == run_id, job.c.cell_count > 0)
            .group_by(state, job.c.lane)
        ).all()
    jobs = func.sum(job_count.c.jobs)
    return connection.execute(
        select(job_count.c.state, job_count.c.lane, jobs, func.sum(job_count.c.cells))
        .where(job_count.c.run_id == run_id, job_count.c.asked == 1)
        .group_by(job_count.c.state, job_count.c.lane)
        .having(jobs > 0)
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
    counted = error_count.c
    jobs = func.sum(counted.jobs)
    rows = connection.execute(
        select(counted.lane, counted.message, jobs, func.min(counted.example))
        .where(counted.run_id == run_id, counted.state == state)
        .group_by(counted.lane, counted.message)
        .having(jobs > 0)
        .order_by(jobs.desc())
        .limit(_LATEST)
    )
    return [
        (lane, ErrorKind(message=message, jobs=count, example=example))
        for lane, message, count, example in rows
    ]
