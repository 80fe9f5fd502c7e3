"""Rows whose ids are the order of commits, so that a reader can continue behind the last id that it has seen.

SQLite has one writer at a time, so there the order of ids is that of commits. PostgreSQL numbers rows when they are
inserted, and a transaction with a smaller number may commit later. Therefore these rows are inserted at the end of
their transaction, under a lock of their run that is held until it commits: a further row of the run gets its id
only once all rows with smaller ids can be read.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Integer, bindparam, func, select
from sqlalchemy.engine import Connection

from engine.store.dialect import Bulk, Statement

_HELD_BACK = "nightsweep rows in the order of commits"
"""The key of a connection's rows until the end of its transaction."""
_LOCKS = 0x6E73_6F72
"""The first key of the advisory locks; the second is the id of the run."""
_LOCK = Statement(
    lambda _: select(
        func.count(func.pg_advisory_xact_lock(_LOCKS, bindparam("run_id", type_=Integer)))
    )
)

_Rows = list[tuple[Bulk, int, Sequence[object]]]


@contextmanager
def numbering_last(connection: Connection) -> Iterator[None]:
    """Hold back the rows that are added within the block, and insert them at its end, in the order of `add`.

    The block is the whole transaction, but for its COMMIT: what it does later could wait for a lock that another
    transaction holds, which waits for this one.
    """
    rows: _Rows = []
    connection.info[_HELD_BACK] = rows
    try:
        yield
    finally:
        del connection.info[_HELD_BACK]
    _insert(connection, rows)


def add(
    connection: Connection, into: Bulk, rows: Sequence[tuple[int | None, Sequence[object]]]
) -> None:
    """Insert rows with a statement, each given with the id of its run, or None for those of no run.

    They are inserted at the end of the transaction, if it is in a block of `numbering_last`.
    """
    found: _Rows = [(into, run_id or 0, row) for run_id, row in rows]
    held_back: _Rows | None = connection.info.get(_HELD_BACK)
    if held_back is None:
        _insert(connection, found)
    else:
        held_back += found


def _insert(connection: Connection, rows: _Rows) -> None:
    if connection.dialect.name == "postgresql":
        # In ascending order: two transactions with rows of the same runs must not wait for each other.
        for run_id in sorted({run_id for _, run_id, _ in rows}):
            _LOCK.rows(connection, run_id=run_id)
    statements = dict.fromkeys(into for into, _, _ in rows)
    for into in statements:
        into.run(connection, [row for statement, _, row in rows if statement is into])
