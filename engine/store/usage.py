"""What calls took, added up from their rows."""

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.engine import Connection

from engine.core.money import UsageTotal
from engine.store.schema import call

_IS_COUNTED = and_(call.c.input_tokens.is_not(None), call.c.output_tokens.is_not(None))
_IS_PRICED = and_(_IS_COUNTED, call.c.cost.is_(None))


def _sum(column: ColumnElement[int | None], chosen: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(column).filter(chosen), 0)


_TOTALS = (
    select(
        call.c.role,
        call.c.endpoint,
        call.c.model,
        func.count().label("calls"),
        func.count().filter(_IS_COUNTED).label("counted"),
        _sum(call.c.input_tokens, _IS_COUNTED).label("input_tokens"),
        _sum(call.c.output_tokens, _IS_COUNTED).label("output_tokens"),
        func.count(call.c.cost).label("told"),
        func.coalesce(func.sum(call.c.cost), 0.0).label("told_cost"),
        func.count().filter(_IS_PRICED).label("priced"),
        _sum(call.c.input_tokens, _IS_PRICED).label("priced_input_tokens"),
        _sum(call.c.output_tokens, _IS_PRICED).label("priced_output_tokens"),
    )
    .where(call.c.role.is_not(None))
    .group_by(call.c.role, call.c.endpoint, call.c.model)
    # The model under test first, whose role comes last in the alphabet.
    .order_by(call.c.role.desc(), call.c.model, call.c.endpoint)
)


def totals(connection: Connection, run_id: int | None = None) -> tuple[UsageTotal, ...]:
    """What the calls of a run took, or without one those of all runs, by whom they went to in which role."""
    query = _TOTALS if run_id is None else _TOTALS.where(call.c.run_id == run_id)
    return tuple(UsageTotal(**row) for row in connection.execute(query).mappings())
