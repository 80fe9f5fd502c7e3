"""The requests that each worker has started for a run in the last minute, for kinds whose jobs send many.

Each run has one row of `rate_bucket` per worker, with a log like those of rates. Every function runs inside a
transaction of the caller.
"""

from sqlalchemy import bindparam, delete, select
from sqlalchemy.engine import Connection

from engine.core import rates
from engine.core.rates import RateLog
from engine.store.dialect import Upsert
from engine.store.schema import rate_bucket

_OF_RUN = select(rate_bucket.c.name, rate_bucket.c.log).where(
    rate_bucket.c.name.startswith(bindparam("prefix"))
)
_WRITE = Upsert(
    rate_bucket,
    lambda statement: statement.on_conflict_do_update(
        index_elements=["name"], set_={"log": statement.excluded.log}
    ),
)


def publish(
    connection: Connection, run_id: int, worker_id: str, log: RateLog, *, now: float
) -> None:
    """Store the log of a worker, and remove rows of other workers without a request in the last minute."""
    name = f"{_prefix(run_id)}{worker_id}"
    rows = [{"name": name, "log": rates.encode(log)}]
    _WRITE.run(connection, rows)
    others = connection.execute(_OF_RUN, {"prefix": _prefix(run_id)}).all()
    old = [row for row, text in others if row != name and not _live(text, now)]
    if old:
        connection.execute(delete(rate_bucket).where(rate_bucket.c.name.in_(old)))


def count_last_minute(
    connection: Connection, run_id: int, *, besides: str | None, now: float
) -> int:
    """The number of requests of a run that workers, except `besides`, started in the 60 s before `now`.

    With None, the requests of all workers count.
    """
    left_out = None if besides is None else f"{_prefix(run_id)}{besides}"
    rows = connection.execute(_OF_RUN, {"prefix": _prefix(run_id)})
    return sum(rates.count_recent(_live(text, now), now) for name, text in rows if name != left_out)


def forget(connection: Connection, run_id: int) -> None:
    """Remove the rows of a run, in which its workers record when they started requests."""
    connection.execute(delete(rate_bucket).where(rate_bucket.c.name.startswith(_prefix(run_id))))


def _live(text: str, now: float) -> RateLog:
    return rates.current(rates.decode(text), now)


def _prefix(run_id: int) -> str:
    return f"started {run_id} "
