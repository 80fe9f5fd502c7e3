"""The kept counts of a run's cells by their labels.

Every function runs inside a transaction of the caller.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, select
from sqlalchemy.engine import Connection

from engine.store.schema import cell_count
from engine.store.schema.counts import CELL_KEY, CELL_SUMS, NO_THRESHOLD


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedCells:
    """Cells with the same labels and threshold; their answers have as many tests and unanswered questions.

    Cells, and those of failed and cancelled jobs, are counted where the answers have no unanswered questions.
    """

    labels: Mapping[str, Any]
    threshold: float | None
    unanswered: int
    tests_each: int
    cells: int
    ended: int
    answered: int
    passed: int
    failed: int


_KEY = [cell_count.c[name] for name in CELL_KEY if name != "run_id"]
_COUNTED = (
    select(*_KEY, *(func.sum(cell_count.c[name]).label(name) for name in CELL_SUMS))
    .where(cell_count.c.run_id == bindparam("run_id"))
    .group_by(*_KEY)
)


def find(connection: Connection, run_id: int) -> list[CountedCells]:
    """The counts of a run by the axes in `RunRow.grouped`, in any order."""
    found = []
    for row in connection.execute(_COUNTED, {"run_id": run_id}).mappings():
        if any(row[name] for name in CELL_SUMS):
            threshold = None if row["threshold"] == NO_THRESHOLD else row["threshold"]
            values = {**row, "labels": json.loads(row["labels"]), "threshold": threshold}
            found.append(CountedCells(**values))
    return found
