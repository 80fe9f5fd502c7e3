"""Answers that cannot be read; they are kept with their attempts, because they were paid for."""

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from engine.store.queries.queue import compress
from engine.store.schema import unread

UNREAD_BYTES_MAX = 32 * 1024 * 1024
"""The most that is stored of one answer, which is also the most that is ever read of one."""
UNREAD_MAX = 20
"""The most answers stored of one job: a proxy may answer each of its questions with the same page."""


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
    """Store an answer that could not be read, with the attempt's fence and `where` it came from.

    Does nothing if its job has UNREAD_MAX of them already. A body is cut after UNREAD_BYTES_MAX bytes; its
    whole size is recorded.
    """
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
