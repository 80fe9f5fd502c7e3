"""Changing many rows of a run in parts: a transaction each, with room for other writers between them.

What is to change is looked up first, from one snapshot, eight bytes a job; each part checks again what it
changes. A change that is cut short between two parts is completed by doing it again.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, bindparam
from sqlalchemy.engine import Connection

from engine.store.schema import job

T = TypeVar("T")

PART = 2_000
"""Jobs that are changed in one transaction: it takes a tenth of a second at most."""
PAUSE_S = 0.02
"""Between two parts: SQLite gives the lock to whoever happens to ask while it is free."""
_ROWS_AT_ONCE = 10_000

ONE_OF_PART: ColumnElement[bool] = job.c.id == bindparam("job_id")
"""One job of a part, by its id; see `each`. A list of ids would be at the mercy of statistics: a scan for each part."""


def each(ids: Iterable[int]) -> list[dict[str, Any]]:
    """The parameters of a statement with ONE_OF_PART, which is run for each job."""
    return [{"job_id": job_id} for job_id in ids]


def ids_of(connection: Connection, query: Select[Any]) -> "array[int]":
    """The ids that a query finds, read as a stream: a million take 8 MB."""
    found = array("q")
    rows = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(query)
    for some in rows.partitions():
        found.extend([job_id for (job_id,) in some])
    return found


def parts(things: Sequence[T]) -> Iterator[Sequence[T]]:
    """What is to be changed in parts, as it is changed together."""
    for start in range(0, len(things), PART):
        yield things[start : start + PART]
