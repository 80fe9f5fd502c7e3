"""The cells that a gate looks at: how they are named, counted, and which of them are the worst."""

from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from typing import Any

from engine.core.gates import Decision, GateRules, decide_cell, is_gated
from engine.core.rows import Row
from engine.core.terminal import plain

_WORST_MAX = 5_000
_MISSING_MAX = 2_000


def cell_words(labels: Mapping[str, Any]) -> str:
    """A cell's labels on one line, as in `model a, group self_harm, threshold 0.5, repeat 1`."""
    return plain(", ".join(f"{name} {'-' if of is None else of}" for name, of in labels.items()))


@dataclass(slots=True)
class CellTally:
    """The gated cells of a run, counted; the worst of those above the limit, and the first without numbers."""

    cells: int = 0
    above: int = 0
    missing: int = 0
    """Cells without numbers, or without a single test."""
    unsure: int = 0
    """Cells whose rate has no interval, where the gate asks for one."""
    _worst: list[tuple[float, int, int, Row]] = field(default_factory=list)
    missing_first: list[Row] = field(default_factory=list)

    @property
    def worst(self) -> list[Row]:
        """Up to 5,000 cells above the limit, the highest rate first."""
        return [row for *_, row in sorted(self._worst, key=lambda one: one[:3], reverse=True)]

    def add(self, row: Row, rules: GateRules) -> None:
        """Count a cell."""
        self.cells += 1
        match decide_cell(row, rules):
            case Decision.FAILED:
                self.above += 1
                entry = (row.failure_rate or 0.0, row.failed or 0, -self.cells, row)
                if len(self._worst) < _WORST_MAX:
                    heappush(self._worst, entry)
                else:
                    heappushpop(self._worst, entry)
            case Decision.UNDECIDED if row.total:
                self.unsure += 1
            case None | Decision.UNDECIDED:
                self.missing += 1
                if len(self.missing_first) < _MISSING_MAX:
                    self.missing_first.append(row)


async def tally_cells(
    rows: AsyncIterable[Row], rules: GateRules, folded_field: str | None
) -> CellTally:
    """Count the cells of a run that its gate looks at."""
    tally = CellTally()
    async for row in rows:
        if is_gated(row, rules, folded_field):
            tally.add(row, rules)
    return tally


def missing_words(row: Row) -> str:
    """Why a cell has no numbers."""
    if row.total == 0:
        return "nothing was measured: the answer has no tests"
    if row.outdated:
        return "asked again, not yet answered"
    state = row.state if row.error is None else f"{row.state}: {row.error}"
    return f"no answer ({plain(state)})"


def above_words(row: Row, rules: GateRules) -> str:
    """How far a cell is above the limit."""
    assert rules.fail_above is not None
    interval = ""
    if rules.certainty is not rules.certainty.RATE and row.ci_low is not None:
        interval = f", 95 % interval {row.ci_low:.2%} to {row.ci_high or 0:.2%}"
    rate = f"{row.failure_rate or 0:.2%}"
    return (
        f"{row.failed} of {row.total} tests failed: {rate}{interval}; limit {rules.fail_above:.2%}"
    )
