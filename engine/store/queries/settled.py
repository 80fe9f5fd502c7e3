"""The order in which the jobs of a run are answered or fail.

Every function runs inside a transaction of the caller.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

from sqlalchemy import Integer, select
from sqlalchemy.engine import Connection

from engine.core.states import State
from engine.store.dialect import Bulk
from engine.store.queries import commit_order
from engine.store.queries.job_rows import JobRow, job_row, select_some
from engine.store.queries.runs import RunRow
from engine.store.schema import job, settled

SETTLED = (State.SUCCEEDED, State.FAILED)
"""The states in which a job stays until it is asked again."""

_ADD = Bulk(
    {"run_id": Integer(), "job_id": Integer()},
    lambda given: settled.insert().from_select([settled.c.run_id, settled.c.job_id], select(given)),
)


def add(connection: Connection, jobs: Sequence[tuple[int, int]]) -> None:
    """Record that these jobs are settled now, in this order; each is given by the ids of its run and of the job."""
    commit_order.add(connection, _ADD, [(of[0], of) for of in jobs])


@dataclass(frozen=True, slots=True)
class SettledPage:
    """A part of a run's entries: the id of the last one, and the jobs that are settled still, each with its entry's id.

    `has_more` says that it was full.
    """

    last: int
    jobs: Sequence[tuple[int, JobRow]]
    has_more: bool


def read_page(connection: Connection, of: RunRow, *, after: int, limit: int) -> SettledPage:
    """Read the next `limit` entries of a run after the one with this id, in order.

    Of several entries of a job, the last one on the page counts.
    """
    entries = connection.execute(
        select(settled.c.id, settled.c.job_id)
        .where(settled.c.run_id == of.id, settled.c.id > after)
        .order_by(settled.c.id)
        .limit(limit)
    ).all()
    if not entries:
        return SettledPage(after, (), has_more=False)
    ids = {entry.job_id: entry.id for entry in entries}
    query = select_some(of).where(job.c.state.in_(SETTLED))
    rows = connection.execute(query, {"ids": list(ids)})
    jobs = [(ids[row.id], job_row(of, *row)) for row in rows]
    return SettledPage(
        entries[-1].id, sorted(jobs, key=itemgetter(0)), has_more=len(entries) == limit
    )
