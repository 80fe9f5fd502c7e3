"""Answering jobs from the answers of other runs.

Every function runs inside a transaction of the caller.
"""

import json
from collections.abc import Iterable, Mapping

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    bindparam,
    exists,
    func,
    select,
    update,
)
from sqlalchemy.engine import Connection

from engine.core.policy import UnansweredPolicy
from engine.core.states import Event, target
from engine.store.queries import settled
from engine.store.queries.queue import CLAIMABLE
from engine.store.queries.runs import RunRow
from engine.store.requests import NewJob
from engine.store.schema import job, result


def reuse_answers(
    connection: Connection,
    of: RunRow,
    jobs: Iterable[NewJob],
    unanswered: UnansweredPolicy,
) -> None:
    """Answer jobs of this batch from other runs, except those that have an answer and are asked again."""
    provenance = {one.key: one.provenance for one in jobs}
    rows = connection.execute(
        select(job.c.id, job.c.key).where(
            job.c.key.in_(list(provenance)), job.c.run_id == of.id, CLAIMABLE, ~has_answer()
        )
    ).all()
    theirs = find_answers_of_others(
        connection, of, {row.key: provenance[row.key] for row in rows}, unanswered
    )
    found = {row.id: theirs[row.key] for row in rows if row.key in theirs}
    if not found:
        return
    connection.execute(
        result.insert(),
        [
            {
                "job_id": job_id,
                "run_id": of.id,
                "passed": row["passed"],
                "failed": row["failed"],
                "tests": row["tests"],
                "scores": row["scores"],
                "note": row["note"],
                "unanswered": row["unanswered"],
                "values": row["values"],
                "listing": row["listing"],
                "reused_from": row["source"],
                "provenance": row["provenance"],
                "recorded_at": row["recorded_at"],
            }
            for job_id, row in found.items()
        ],
    )
    connection.execute(
        update(job)
        .where(job.c.id == bindparam("job_id"), CLAIMABLE)
        .values(state=target(Event.SUCCEED), due_at=0.0, error=None, detail=None),
        [{"job_id": job_id} for job_id in found],
    )
    settled.add(connection, [(of.id, job_id) for job_id in found])


def find_answers_of_others(
    connection: Connection,
    of: RunRow,
    provenance: Mapping[bytes, str],
    unanswered: UnansweredPolicy,
) -> dict[bytes, RowMapping]:
    """The answers of other runs to these keys that can be reused here, by key.

    They were determined by the same facts, as their provenance shows. An answer without unanswered questions is
    preferred. If this run asks everything again, only answers recorded since then count.
    """
    if not provenance:
        return {}
    rows = connection.execute(
        select(
            job.c.key,
            func.coalesce(result.c.reused_from, job.c.id).label("source"),
            result.c.passed,
            result.c.failed,
            result.c.tests,
            result.c.scores,
            result.c.note,
            result.c.provenance,
            result.c.unanswered,
            result.c["values"],
            result.c.listing,
            result.c.recorded_at,
        )
        .select_from(job.join(result, result.c.job_id == job.c.id))
        .where(
            job.c.key.in_(list(provenance)),
            job.c.run_id != of.id,
            result.c.recorded_at >= (of.fresh_at or 0.0),
        )
        # The last row of a key wins.
        .order_by(result.c.unanswered.is_(None), job.c.id)
    )
    return {
        row["key"]: row
        for row in rows.mappings()
        if row["provenance"] == provenance[row["key"]] and is_enough(row, unanswered)
    }


def is_enough(row: RowMapping, policy: UnansweredPolicy) -> bool:
    """Whether an answer has no more unanswered questions than the sweep allows; else it is asked again."""
    unanswered = json.loads(row["unanswered"] or "{}")
    return policy.allows(row["passed"] + row["failed"], sum(unanswered.values()))


def has_answer() -> ColumnElement[bool]:
    own = result.alias("own")
    return exists().where(own.c.job_id == job.c.id)
