"""Which of the answers and replies of a side file belong to a store.

Every function runs inside a transaction of the caller.
"""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.engine import Connection

from engine.store.requests import CallReply, Outcome
from engine.store.schema import attempt, run


def select_known_answers(
    connection: Connection, worker_id: str, answers: Sequence[Outcome]
) -> list[Outcome]:
    """The answers to attempts of this worker that this store has.

    A new store at the same path has other jobs with the same ids.
    """
    rows = connection.execute(
        select(attempt.c.job_id, attempt.c.fence).where(
            attempt.c.job_id.in_([one.job_id for one in answers]), attempt.c.worker == worker_id
        )
    )
    sent = {(row.job_id, row.fence) for row in rows}
    return [one for one in answers if (one.job_id, one.fence) in sent]


def select_known_replies(connection: Connection, replies: Sequence[CallReply]) -> list[CallReply]:
    """The replies to calls of runs that this store has, even if their jobs are gone."""
    ids = {one.run_id for one in replies}
    rows = connection.execute(select(run.c.id, run.c.created_at).where(run.c.id.in_(ids)))
    runs = {(row.id, row.created_at) for row in rows}
    return [one for one in replies if (one.run_id, one.run_created_at) in runs]
