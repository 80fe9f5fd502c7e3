"""How many cells with the same labels have an answer, and how many of its tests passed and failed."""

from collections.abc import Mapping
from dataclasses import dataclass

from engine.core.axes import Scalar


@dataclass(slots=True, kw_only=True)
class CellCount:
    """The cells of a run with the same labels on some of its axes.

    Example:
        >>> [count] = run.cell_counts()
        >>> count.cells, count.answered, count.missing
        (3, 3, 0)
    """

    labels: Mapping[str, Scalar]
    """Their values by the axis' field."""
    cells: int = 0
    answered: int = 0
    """Cells for which an answer has numbers."""
    cells_failed: int = 0
    """Cells without them whose job failed or was cancelled."""
    passed: int = 0
    """Tests of the answered cells that passed, at the threshold of each cell."""
    failed: int = 0

    @property
    def missing(self) -> int:
        """Cells for which no answer has numbers: failed ones, and those that are still to come."""
        return self.cells - self.answered

    @property
    def failure_rate(self) -> float | None:
        """The share of the tests that failed, from 0 to 1; None without tests."""
        total = self.passed + self.failed
        return self.failed / total if total else None
