"""Which answers of a run no longer count because `run --fresh` asks everything again."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, case, func, or_, select
from sqlalchemy.engine import Connection

from engine.core.states import State
from engine.store.schema import job, result, run

ENDED = (State.SUCCEEDED, State.FAILED, State.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """The time since which everything is asked again.

    Conditions are on jobs joined with their results: jobs without a result have no `recorded_at`.
    """

    at: float
    generation: int
    is_expanded: bool
    """Whether the expansion has requeued all jobs that it asks for again."""

    @property
    def is_outdated(self) -> ColumnElement[bool]:
        """The condition for jobs without a newer answer that are, or will be, asked again."""
        return and_(
            func.coalesce(result.c.recorded_at, 0.0) < self.at,
            or_(job.c.generation < self.generation, job.c.state.not_in(ENDED)),
        )

    @property
    def state(self) -> ColumnElement[str]:
        """The state in which a job counts: pending if it has ended but is still to be requeued."""
        is_to_come = and_(self.is_outdated, job.c.state.in_(ENDED))
        return case((is_to_come, State.PENDING.value), else_=job.c.state)


def find_fresh(connection: Connection, run_id: int) -> Fresh | None:
    """When a run began to ask everything again, or None if it never did.

    Raises NoResultFound if there is no such run.
    """
    columns = run.c.fresh_at, run.c.fresh_generation, run.c.expanded, run.c.digest
    row = connection.execute(select(*columns).where(run.c.id == run_id)).one()
    return fresh_of(*row)


def fresh_of(
    at: float | None, generation: int | None, expanded: str | None, digest: str
) -> Fresh | None:
    """Build it from the columns of a run; None if the run never began to ask everything again.

    `expanded` is the digest of the last matrix that is completely in the queue, `digest` that of the sweep.
    """
    if at is None or generation is None:
        return None
    return Fresh(at=at, generation=generation, is_expanded=expanded == digest)
