"""Changing many rows of a run in parts, one transaction each, so that other processes can write in between.

The ids to change are read first, from one snapshot, in eight bytes per job; each part checks its rows again before
it changes them. A change that was interrupted between two parts is completed by repeating it.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, bindparam
from sqlalchemy.engine import Connection

from engine.store.schema import job

T = TypeVar("T")

PART = 2_000
"""Jobs per transaction, which then takes a tenth of a second at most."""
PAUSE_S = 0.02
"""Pause between two parts, in which others can take the lock: SQLite has no queue for it."""
_ROWS_AT_ONCE = 10_000

ONE_OF_PART: ColumnElement[bool] = job.c.id == bindparam("job_id")
"""The condition for one job by id; see `each`. With a list of ids, SQLite's planner may scan the table for each part."""


def each(ids: Iterable[int]) -> list[dict[str, Any]]:
    """The parameters for executing a statement with ONE_OF_PART once for each of these jobs."""
    return [{"job_id": job_id} for job_id in ids]


def ids_of(connection: Connection, query: Select[Any]) -> "array[int]":
    """The ids in the first column of a query, in its order, read as a stream; a million take 8 MB."""
    found = array("q")
    rows = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(query)
    for some in rows.partitions():
        found.extend([job_id for (job_id,) in some])
    return found


def parts(things: Sequence[T]) -> Iterator[Sequence[T]]:
    """Divide a sequence, in order, into parts of at most PART items; an empty one has no parts."""
    for start in range(0, len(things), PART):
        yield things[start : start + PART]
