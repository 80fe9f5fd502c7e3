"""How many cells there are, and how many of them say something."""

from collections import Counter
from dataclasses import dataclass, field

from engine.core.model import listed_reasons
from engine.core.states import State
from engine.core.status import Row


@dataclass(slots=True)
class Tally:
    """Counts over the rows of a run. Missing and failed cells stay in every denominator."""

    cells: int = 0
    answered: int = 0
    failed: int = 0
    """Cells whose job has failed or was cancelled."""
    cancelled: int = 0
    """Those of `failed` whose job was cancelled."""
    tests_passed: int = 0
    tests_failed: int = 0
    unanswered: Counter[str] = field(default_factory=Counter)
    """Questions without an answer in the answered cells, by reason."""

    @property
    def missing(self) -> int:
        """Cells that nothing is known of yet."""
        return self.cells - self.answered - self.failed

    def add(self, row: Row) -> None:
        """Count one row."""
        self.cells += 1
        if row.total is not None:
            self.answered += 1
            self.tests_passed += row.passed or 0
            self.tests_failed += row.failed or 0
            self.unanswered.update(row.unanswered_reasons or {})
        elif row.state in (State.FAILED, State.CANCELLED):
            self.failed += 1
            self.cancelled += row.state == State.CANCELLED

    def line(self) -> str:
        """One line for people, with nothing that is missing left unsaid."""
        parts = [f"{self.answered:,} of {self.cells:,} cells answered"]
        if self.failed > self.cancelled:
            parts.append(f"{self.failed - self.cancelled:,} failed")
        if self.cancelled:
            parts.append(f"{self.cancelled:,} cancelled")
        if self.missing:
            parts.append(f"{self.missing:,} missing")
        tests = self.tests_passed + self.tests_failed
        if tests:
            parts.append(f"{self.tests_failed:,} of {tests:,} tests failed, cell by cell")
        if self.unanswered:
            reasons = listed_reasons(dict(self.unanswered.most_common()))
            parts.append(f"{self.unanswered.total():,} questions unanswered ({reasons})")
        return ", ".join(parts)
