"""How far attempts in flight are, in questions, as their jobs report it.

Every function runs inside a transaction of the caller.
"""

from collections.abc import Iterable

from sqlalchemy import and_, bindparam, func, select, update
from sqlalchemy.engine import Connection

from engine.core.progress import AttemptProgress, QuestionsInFlight
from engine.core.states import AttemptOutcome, State
from engine.store.schema import attempt, job

_RECORD = (
    update(attempt)
    .where(
        attempt.c.job_id == bindparam("of_job"),
        attempt.c.fence == bindparam("of_fence"),
        attempt.c.outcome == AttemptOutcome.SENT,
    )
    .values(questions_answered=bindparam("now_answered"), questions=bindparam("in_all"))
)


def record(connection: Connection, reports: Iterable[AttemptProgress]) -> None:
    """Store the latest progress of attempts; those that have ended stay as they are."""
    rows = [
        {
            "of_job": one.job_id,
            "of_fence": one.fence,
            "now_answered": one.answered,
            "in_all": one.total,
        }
        for one in reports
    ]
    if rows:
        connection.execute(_RECORD, rows)


def count_in_flight(connection: Connection, run_id: int, *, but: str) -> QuestionsInFlight:
    """The questions of a run's jobs in flight in other workers than `but`, from one attempt for each job.

    A job that has not reported any progress has as many as are expected of it, if that is known.
    """
    expected = job.c.expected_tests
    current = and_(attempt.c.job_id == job.c.id, attempt.c.fence == job.c.fence)
    answered, total, more_than_expected = connection.execute(
        select(
            func.coalesce(func.sum(attempt.c.questions_answered), 0),
            func.coalesce(func.sum(func.coalesce(attempt.c.questions, expected)), 0),
            func.coalesce(func.sum(attempt.c.questions - expected), 0),
        )
        .select_from(job.join(attempt, current))
        .where(
            job.c.run_id == run_id,
            job.c.state == State.RUNNING,
            attempt.c.worker != but,
        )
    ).one()
    return QuestionsInFlight(
        answered=int(answered), total=int(total), more_than_expected=int(more_than_expected)
    )
