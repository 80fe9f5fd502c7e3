"""The job queue in SQL: which jobs can be claimed, and what happens to many of them at once.

Every function runs inside a write transaction of the caller's and leaves committing to it.
"""

import zlib
from collections.abc import Iterable

from sqlalchemy import ColumnElement, func, literal_column, select, update
from sqlalchemy.engine import Connection

from engine.core.states import Event, State, sources, target
from engine.store.schema import job

# Written out, not bound: only so does the planner see that the partial index fits.
CLAIMABLE: ColumnElement[bool] = literal_column(
    "job.state IN ({})".format(", ".join(f"'{state}'" for state in sources(Event.CLAIM)))
)
RUNNING: ColumnElement[bool] = literal_column(f"job.state = '{State.RUNNING}'")

REMOVED = "removed from the sweep"
"""The error of a job that was cancelled because its sweep asks for it no more."""


def open_jobs(connection: Connection, run_id: int) -> bool:
    """Whether a run has any job that is neither answered, failed nor cancelled."""
    for where in (CLAIMABLE, RUNNING):
        query = select(job.c.id).where(job.c.run_id == run_id, where).limit(1)
        if (connection.execute(query)).first() is not None:
            return True
    return False


def cancel(connection: Connection, run_id: int) -> int:
    """Cancel what is not yet sent; returns how many jobs. What is in flight ends with its worker."""
    done = connection.execute(
        update(job)
        .where(job.c.run_id == run_id, CLAIMABLE)
        .values(state=target(Event.CANCEL), error="cancelled", due_at=0.0)
    )
    return done.rowcount


def requeue(connection: Connection, run_id: int, states: Iterable[State]) -> int:
    """Put failed or cancelled jobs of the sweep back in line with fresh attempts; returns how many."""
    allowed = [state for state in states if state in sources(Event.REQUEUE)]
    done = connection.execute(
        update(job)
        .where(job.c.run_id == run_id, job.c.state.in_(allowed), job.c.cell_count > 0)
        .values(
            state=target(Event.REQUEUE),
            attempts=0,
            due_at=0.0,
            error=None,
            detail=None,
        )
    )
    return done.rowcount


def peers(connection: Connection, run_id: int, *, but: str) -> int:
    """How many workers other than `but` have jobs of a run in flight."""
    owners = select(func.count(job.c.owner.distinct())).where(
        RUNNING, job.c.run_id == run_id, job.c.owner != but
    )
    return int(connection.execute(owners).scalar_one())


def compress(raw: bytes) -> bytes:
    """An answer as it is kept."""
    return zlib.compress(raw, 1)


def decompress(kept: bytes) -> bytes:
    """An answer as it was received."""
    return zlib.decompress(kept)
