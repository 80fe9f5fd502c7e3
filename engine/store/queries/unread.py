"""Answers that came and cannot be read: kept with their attempts, because they were paid for."""

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from engine.store.queries.queue import compress
from engine.store.schema import unread

UNREAD_BYTES_MAX = 32 * 1024 * 1024
"""What is kept of one answer: as much as is ever read of one."""
UNREAD_MAX = 20
"""How many are kept of one job: a proxy may answer every question of it with the same page."""


def keep(
    connection: Connection,
    run_id: int,
    job_id: int,
    fence: int,
    *,
    where: str,
    body: bytes,
    now: float,
) -> None:
    """Keep an answer, unless there are UNREAD_MAX of its job already."""
    of_job = select(func.count()).select_from(unread).where(unread.c.job_id == job_id)
    if connection.execute(of_job).scalar_one() >= UNREAD_MAX:
        return
    connection.execute(
        unread.insert().values(
            run_id=run_id,
            job_id=job_id,
            fence=fence,
            at=now,
            place=where,
            size=len(body),
            raw=compress(body[:UNREAD_BYTES_MAX]),
        )
    )
