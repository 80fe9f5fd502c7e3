"""Counting the cells of a run by its axes."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from engine.core.axes import Scalar
from engine.core.cell_counts import CellCount
from engine.core.combinations import MatrixAxis
from engine.core.policy import UnansweredPolicy, UnansweredRule
from engine.core.rows import Row
from engine.core.states import State
from engine.store import CountedCells
from engine.sweep import SweepFacts

GROUPS_MAX = 2_000
"""Kinds of cells that a new run counts, at each threshold."""
_ENDED = (State.FAILED, State.CANCELLED)


def choose_axes(axes: Sequence[MatrixAxis], folded_field: str | None) -> tuple[str, ...]:
    """The fields of the axes by which the cells of a new run are counted: all except those with most values.

    The number of their combinations is at most GROUPS_MAX. Thresholds are counted beside them.
    """
    chosen = [axis for axis in axes if axis.field != folded_field]
    while _combinations(chosen) > GROUPS_MAX:
        chosen.remove(max(chosen, key=lambda axis: len(axis.values)))
    return tuple(axis.field for axis in chosen)


def _combinations(axes: Iterable[MatrixAxis]) -> int:
    number = 1
    for axis in axes:
        number *= len(axis.values)
    return number


class CellCounter:
    """Adds up the cells of a run by some of its axes."""

    def __init__(self, facts: SweepFacts, by: Sequence[str]) -> None:
        self._policy = facts.unanswered
        self._folded_field = facts.folded_field
        self._by = by
        known = {axis.field: axis.values for axis in facts.axes}
        # Databases may give back a number for a boolean.
        self._order = {
            field: {value.label: (at, value.label) for at, value in enumerate(known[field])}
            for field in by
            if field in known
        }
        self._counts: dict[tuple[Any, ...], CellCount] = {}

    @property
    def counts(self) -> list[CellCount]:
        """The counts so far, in the order of the sweep's values."""
        return [self._counts[key] for key in sorted(self._counts, key=self._place)]

    def add_counted(self, counted: Iterable[CountedCells]) -> None:
        """Add kept counts, which tell apart all axes by which this counts."""
        for one in counted:
            labels = {**one.labels}
            if self._folded_field is not None:
                labels[self._folded_field] = one.threshold
            count = self._find(labels)
            count.cells += one.cells
            count.cells_failed += one.ended
            if self._policy.allows(one.tests_each, one.unanswered):
                count.answered += one.answered
                count.passed += one.passed
                count.failed += one.failed + _count_as_failed(self._policy, one)

    async def add_rows(self, rows: AsyncIterator[Row]) -> None:
        """Add the cells of rows."""
        async for row in rows:
            count = self._find(row.labels)
            count.cells += 1
            if row.total is not None and not row.outdated:
                count.answered += 1
                count.passed += row.passed or 0
                count.failed += row.failed or 0
            elif row.state in _ENDED and not row.outdated:
                count.cells_failed += 1

    def _find(self, labels: Any) -> CellCount:
        values = tuple(self._own(field, labels.get(field)) for field in self._by)
        if values not in self._counts:
            self._counts[values] = CellCount(labels=dict(zip(self._by, values, strict=True)))
        return self._counts[values]

    def _own(self, field: str, label: Scalar) -> Scalar:
        """The sweep's own value of an axis that equals a label."""
        _, own = self._order.get(field, {}).get(label, (0, label))
        return own

    def _place(self, values: tuple[Any, ...]) -> tuple[tuple[int, str], ...]:
        """The place of a combination in the order of the file; values that the sweep does not have come last."""
        return tuple(
            (self._order.get(field, {}).get(value, (2**62, None))[0], repr(value))
            for field, value in zip(self._by, values, strict=True)
        )


def _count_as_failed(policy: UnansweredPolicy, one: CountedCells) -> int:
    return one.unanswered * one.answered if policy.rule is UnansweredRule.AS_FAILED else 0
