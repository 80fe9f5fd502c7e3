"""What calls took: kept with the reply, or in rows of their own, and added up from both."""

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
    """Keep what calls took of which no reply is kept."""
    if took:
        rows = [{"run_id": run_id, "recorded_at": now, **asdict(one)} for one in took]
        connection.execute(call_without_reply.insert(), rows)


def find_without_reply(connection: Connection, run_ids: Collection[int]) -> set[tuple[int, float]]:
    """Of which runs, and when, something was kept that calls took of which no reply is kept."""
    columns = call_without_reply.c.run_id, call_without_reply.c.recorded_at
    rows = connection.execute(select(*columns).where(columns[0].in_(run_ids)))
    return {(run_id, at) for run_id, at in rows}


def keep_replaced(connection: Connection, run_id: int, digest: bytes, *, before: float) -> None:
    """Go on counting what the call took whose reply, kept `before` a time, is about to be replaced."""
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
    """What the calls of a run took, or without one those of all runs, by whom they went to in which role."""

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
            func.count(each.c.cost).label("told"),
            func.coalesce(func.sum(each.c.cost), 0.0).label("told_cost"),
            func.count().filter(is_priced).label("priced"),
            _sum(each.c.input_tokens, is_priced).label("priced_input_tokens"),
            _sum(each.c.output_tokens, is_priced).label("priced_output_tokens"),
        )
        .group_by(each.c.role, each.c.endpoint, each.c.model)
        # The model under test first, whose role comes last in the alphabet.
        .order_by(each.c.role.desc(), each.c.model, each.c.endpoint)
    )
    return tuple(UsageTotal(**row) for row in connection.execute(query).mappings())


def _sum(column: ColumnElement[int | None], chosen: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(column).filter(chosen), 0)
