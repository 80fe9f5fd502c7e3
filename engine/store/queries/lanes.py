"""What the lanes of a run wait for in each worker, as that worker last reported.

Every function runs inside a transaction of the caller, which commits.
"""

from collections.abc import Iterable

from sqlalchemy import bindparam, delete, select
from sqlalchemy.engine import Connection

from engine.core.breaker import BreakerState
from engine.core.lanes import LaneState
from engine.core.runs import WaitReason
from engine.store.dialect import Upsert
from engine.store.schema import lane, worker

_WRITE = Upsert(
    lane,
    lambda statement: statement.on_conflict_do_update(
        index_elements=["run_id", "worker", "name"],
        set_={
            name: statement.excluded[name]
            for name in ("reason", "until", "detail", "breaker", "in_flight", "changed_at")
        },
    ),
)
_OTHERS = (
    select(lane)
    .join(worker, worker.c.id == lane.c.worker)
    .where(
        lane.c.run_id == bindparam("run_id"),
        lane.c.worker != bindparam("but"),
        worker.c.ended_at.is_(None),
    )
    .order_by(lane.c.changed_at)
)


def publish(
    connection: Connection, run_id: int, worker_id: str, states: Iterable[LaneState], *, now: float
) -> None:
    """Store what lanes of a run wait for in a worker, so that other processes can show it.

    Replaces the rows of the same lanes; the worker's other lanes stay. `now` is the time of the change.
    """
    rows = [
        {
            "run_id": run_id,
            "worker": worker_id,
            "name": one.name,
            "reason": one.why,
            "until": one.until,
            "detail": one.detail,
            "breaker": one.breaker,
            "in_flight": one.in_flight,
            "changed_at": now,
        }
        for one in states
    ]
    if rows:
        _WRITE.run(connection, rows)


def find_of_others(connection: Connection, run_id: int, *, but: str) -> list[tuple[str, LaneState]]:
    """The lanes of a run in workers that have not ended, except `but`: (worker, lane), the latest change last."""
    rows = connection.execute(_OTHERS, {"run_id": run_id, "but": but})
    return [
        (
            row.worker,
            LaneState(
                name=row.name,
                why=WaitReason(row.reason),
                until=row.until,
                detail=row.detail,
                breaker=BreakerState(row.breaker),
                in_flight=row.in_flight,
            ),
        )
        for row in rows
    ]


def remove(connection: Connection, run_id: int, worker_id: str) -> None:
    """Remove the lanes of a run in a worker that no longer executes it; those of its other runs stay."""
    connection.execute(delete(lane).where(lane.c.run_id == run_id, lane.c.worker == worker_id))


def forget(connection: Connection, worker_id: str) -> None:
    """Remove the lanes of all runs in a worker that has ended or was declared dead."""
    connection.execute(delete(lane).where(lane.c.worker == worker_id))
