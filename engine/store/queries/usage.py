"""The usage of calls: stored with the reply or in rows without one, and added up from both."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, and_, func, select, union_all
from sqlalchemy.engine import Connection

from engine.core.money import Usage, UsageTotal
from engine.store.schema import call, call_without_reply

COLUMNS = ("role", "endpoint", "model", "input_tokens", "output_tokens", "cost")


def keep_without_reply(
    connection: Connection, run_id: int, took: Sequence[Usage], *, now: float
) -> None:
    """Store the usage of calls whose replies are not stored, such as answers that were asked for again.

    `now` is the time that is recorded for all of them.
    """
    if took:
        rows = [{"run_id": run_id, "recorded_at": now, **asdict(one)} for one in took]
        connection.execute(call_without_reply.insert(), rows)


def find_without_reply(connection: Connection, run_ids: Collection[int]) -> set[tuple[int, float]]:
    """The rows without a reply of these runs, as (run id, time of recording)."""
    columns = call_without_reply.c.run_id, call_without_reply.c.recorded_at
    rows = connection.execute(select(*columns).where(columns[0].in_(run_ids)))
    return {(run_id, at) for run_id, at in rows}


def keep_replaced(connection: Connection, run_id: int, digest: bytes, *, before: float) -> None:
    """Keep the usage of a reply that was recorded `before` a time and is about to be replaced."""
    if before:
        columns = [call.c.run_id, call.c.recorded_at, *(call.c[name] for name in COLUMNS)]
        replaced = select(*columns).where(
            call.c.run_id == run_id,
            call.c.digest == digest,
            call.c.recorded_at < before,
            call.c.role.is_not(None),
        )
        names = [column.name for column in columns]
        connection.execute(call_without_reply.insert().from_select(names, replaced))


def sum_usage(connection: Connection, run_id: int | None = None) -> tuple[UsageTotal, ...]:
    """The usage of the calls of a run, or of all runs, by role, model and endpoint."""

    def rows(table: Table) -> Select[Any]:
        of_run = () if run_id is None else (table.c.run_id == run_id,)
        chosen = [table.c[name] for name in COLUMNS]
        return select(*chosen).where(table.c.role.is_not(None), *of_run)

    each = union_all(rows(call), rows(call_without_reply)).subquery()
    is_counted = and_(each.c.input_tokens.is_not(None), each.c.output_tokens.is_not(None))
    is_priced = and_(is_counted, each.c.cost.is_(None))
    query = (
        select(
            each.c.role,
            each.c.endpoint,
            each.c.model,
            func.count().label("calls"),
            func.count().filter(is_counted).label("counted"),
            _sum(each.c.input_tokens, is_counted).label("input_tokens"),
            _sum(each.c.output_tokens, is_counted).label("output_tokens"),
            func.count(each.c.cost).label("reported"),
            func.coalesce(func.sum(each.c.cost), 0.0).label("reported_cost"),
            func.count().filter(is_priced).label("priced"),
            _sum(each.c.input_tokens, is_priced).label("priced_input_tokens"),
            _sum(each.c.output_tokens, is_priced).label("priced_output_tokens"),
        )
        .group_by(each.c.role, each.c.endpoint, each.c.model)
        # The target comes first: its role is the last in alphabetical order.
        .order_by(each.c.role.desc(), each.c.model, each.c.endpoint)
    )
    return tuple(UsageTotal(**row) for row in connection.execute(query).mappings())


def _sum(column: ColumnElement[int | None], chosen: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(column).filter(chosen), 0)
