"""Statements on earlier results, one row each: callers list them, and evaluate them again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.engine import Connection
from sqlalchemy.sql import Select

from jobs.serve.ledger.schema import evaluation, result


@dataclass(frozen=True, slots=True, kw_only=True)
class PastResult:
    """One earlier result: the first question, the last reply, and its score. `created_at` is in epoch seconds."""

    test_result_id: int
    evaluation_id: int
    case_id: str
    test_case_id: int | None
    user_input: str
    model_response: str
    score: float
    passed: bool
    created_at: float


def record(
    connection: Connection,
    key_id: int,
    kind: str,
    evaluation_id: int,
    results: Sequence[Mapping[str, Any]],
    *,
    now: float,
) -> None:
    """Record an evaluation and its results, in their order; `now` is in epoch seconds.

    Each result has the columns of the table `result`, without `evaluation`. There may be none.
    """
    added = connection.execute(
        evaluation.insert().values(
            key_id=key_id, kind=kind, evaluation_id=evaluation_id, created_at=now
        )
    )
    row = added.inserted_primary_key
    assert row is not None, "an insert of one row has its key"
    if results:
        connection.execute(result.insert(), [{**each, "evaluation": row[0]} for each in results])


def list_results(
    connection: Connection, key_id: int, kind: str, *, limit: int, offset: int
) -> list[PastResult]:
    """At most `limit` earlier results of a key and kind, after the first `offset`.

    The latest evaluation comes first, and the results of each are in their order.
    """
    return _read(
        connection,
        _select(key_id, kind)
        .order_by(evaluation.c.id.desc(), result.c.id)
        .limit(limit)
        .offset(offset),
    )


def results_of_evaluation(
    connection: Connection, key_id: int, kind: str, evaluation_id: int
) -> list[PastResult]:
    """The results of one evaluation in their order; empty if the key has none of this kind with this id."""
    return _read(
        connection,
        _select(key_id, kind)
        .where(evaluation.c.evaluation_id == evaluation_id)
        .order_by(result.c.id),
    )


def results_by_id(
    connection: Connection, key_id: int, kind: str, test_result_ids: Sequence[int]
) -> list[PastResult]:
    """The results with these ids, the oldest first, whatever the order of the ids.

    Ids of other keys or kinds and unknown ids are left out.
    """
    return _read(
        connection,
        _select(key_id, kind)
        .where(result.c.test_result_id.in_(test_result_ids))
        .order_by(result.c.id),
    )


def delete_before(connection: Connection, time: float) -> None:
    """Delete the evaluations before `time`, with their results."""
    connection.execute(delete(evaluation).where(evaluation.c.created_at < time))


def _select(key_id: int, kind: str) -> Select[Any]:
    return (
        select(
            result.c.test_result_id,
            evaluation.c.evaluation_id,
            result.c.case_id,
            result.c.test_case_id,
            result.c.user_input,
            result.c.model_response,
            result.c.score,
            result.c.passed,
            evaluation.c.created_at,
        )
        .join(evaluation, evaluation.c.id == result.c.evaluation)
        .where(evaluation.c.key_id == key_id, evaluation.c.kind == kind)
    )


def _read(connection: Connection, query: Select[Any]) -> list[PastResult]:
    return [PastResult(**row) for row in connection.execute(query).mappings()]
