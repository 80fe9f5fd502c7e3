"""The columns of rows as programs read them, and what is in each."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from engine.core.axes import IntegerAxis, NumberAxis
from engine.core.matrix import MatrixAxis
from engine.report.document import digest_column

ColumnType: TypeAlias = type[str] | type[int] | type[float] | type[bool]

KNOWN: Mapping[str, ColumnType] = {
    "asked": bool,
    "state": str,
    "passed": int,
    "failed": int,
    "total": int,
    "failure_rate": float,
    "ci_low": float,
    "ci_high": float,
    "unanswered": int,
    "unanswered_reasons": str,
    "lowest_rate": float,
    "highest_rate": float,
    "identity": str,
    "source": str,
    "error": str,
}
"""What is known of a cell and what is in it, in the order of the columns."""


def axis_columns(axes: Sequence[MatrixAxis]) -> dict[str, ColumnType]:
    """The columns that say which cell a row is about, in their order, and what is in them."""
    labels: dict[str, ColumnType] = {axis.field: _axis_type(axis) for axis in axes}
    digests: dict[str, ColumnType] = {
        digest_column(axis.field): str for axis in axes if axis.is_large
    }
    return {**labels, "repeat": int, **digests}


def _axis_type(axis: MatrixAxis) -> ColumnType:
    match axis.axis:
        case IntegerAxis():
            return int
        case NumberAxis():
            return float
        case _:
            return str
