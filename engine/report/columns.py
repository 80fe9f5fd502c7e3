"""The columns of rows as programs read them, with their types."""

from collections.abc import Mapping, Sequence

from engine.core.axes import IntegerAxis, NumberAxis
from engine.core.matrix import MatrixAxis
from engine.core.rows import digest_column
from engine.core.values import ValueType

KNOWN: Mapping[str, ValueType] = {
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
"""The columns of every row, in their order, with their types."""


def axis_columns(axes: Sequence[MatrixAxis]) -> dict[str, ValueType]:
    """The columns that identify the cell of a row, in their order, with their types.

    They are the fields of the axes, `repeat`, and a digest for each axis of prompts or documents.
    """
    labels: dict[str, ValueType] = {axis.field: _axis_type(axis) for axis in axes}
    digests: dict[str, ValueType] = {
        digest_column(axis.field): str for axis in axes if axis.is_large
    }
    return {**labels, "repeat": int, **digests}


def _axis_type(axis: MatrixAxis) -> ValueType:
    match axis.axis:
        case IntegerAxis():
            return int
        case NumberAxis():
            return float
        case _:
            return str
