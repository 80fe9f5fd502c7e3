"""The layout of a run's last matrix, with which an edited sweep is compared; it is a column of `run`.

Every function runs inside a transaction of the caller.
"""

import json
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.engine import Connection

from engine.core.layout import Layout
from engine.core.policy import UnansweredPolicy, UnansweredRule
from engine.store.queries.runs import RunRow
from engine.store.schema import run


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLayout:
    """The last matrix that was completely in the queue, and its generation."""

    generation: int
    since: float
    """When its expansion began; answers that other runs got later were not reused."""
    unanswered: UnansweredPolicy
    """The policy by which answers of other runs were reused."""
    layout: Layout


def load(connection: Connection, of: RunRow) -> KeptLayout | None:
    """The last matrix that was completely in the queue, with which an edit is compared.

    None if it was not stored, as for a run of an earlier version; then all jobs are compared.
    """
    kept = connection.execute(select(run.c.layout).where(run.c.id == of.id)).scalar_one_or_none()
    if kept is None:
        return None
    found = json.loads(kept)
    rule, max_share = found["unanswered"]
    return KeptLayout(
        generation=found["generation"],
        since=found["since"],
        unanswered=UnansweredPolicy(rule=UnansweredRule(rule), max_share=max_share),
        layout=Layout.restore(found["layout"]),
    )


def dump(kept: KeptLayout | None) -> str | None:
    """The JSON that `load` reads; None, for no stored layout, if there is none to keep."""
    if kept is None:
        return None
    found = {
        "generation": kept.generation,
        "since": kept.since,
        "unanswered": [kept.unanswered.rule, kept.unanswered.max_share],
        "layout": kept.layout.dump(),
    }
    return json.dumps(found, ensure_ascii=False)
