"""How many cells there are, and how many of them say something."""

from collections import Counter
from dataclasses import dataclass, field

from engine.core.model import listed_reasons
from engine.core.rows import Row
from engine.core.states import State
from engine.core.status import Status
from engine.report.terminal import plain
from engine.report.words import accepted_lines, at_threshold, judged_by

_MOST_THRESHOLDS = 5


@dataclass(slots=True)
class Tests:
    """Tests of the answered cells of one threshold."""

    passed: int = 0
    failed: int = 0
    unanswered: Counter[str] = field(default_factory=Counter)
    """Questions without an answer, by reason."""


@dataclass(slots=True)
class Tally:
    """Counts over the rows of a run. Missing and failed cells stay in every denominator."""

    folded_field: str | None = None
    """The axis of thresholds: a test is counted once at each of them, never over several."""
    cells: int = 0
    answered: int = 0
    failed: int = 0
    """Cells whose job has failed or was cancelled."""
    cancelled: int = 0
    """Those of `failed` whose job was cancelled."""
    past: int = 0
    """Cells that the sweep does not ask for any more: in none of the other counts."""
    tests: dict[float | None, Tests] = field(default_factory=dict)
    """Tests by threshold; under None where the evaluation has none."""

    @property
    def rows(self) -> int:
        """All that was counted."""
        return self.cells + self.past

    @property
    def open(self) -> int:
        """Cells that nothing is known of yet."""
        return self.cells - self.answered - self.failed

    def add(self, row: Row) -> None:
        """Count one row."""
        if row.asked is False:
            self.past += 1
            return
        self.cells += 1
        at = None if self.folded_field is None else row.labels.get(self.folded_field)
        tests = self.tests.setdefault(at, Tests())
        tests.unanswered.update(row.unanswered_reasons or {})
        if row.total is not None:
            self.answered += 1
            tests.passed += row.passed or 0
            tests.failed += row.failed or 0
        elif row.state in (State.FAILED, State.CANCELLED):
            self.failed += 1
            self.cancelled += row.state == State.CANCELLED

    def lines(self, status: Status) -> list[str]:
        """What the rows of a run add up to, for people, with nothing that is missing left unsaid."""
        lines = [f"{plain(status.run)}: {', '.join(self._cells(status))}"]
        if tests := self._tests():
            by = f" ({judged_by(status.judge)})" if status.judge else ""
            lines.append(f"tests failed: {tests}{by}")
        if unanswered := self._unanswered(status.threshold):
            lines.append(unanswered)
        return [*lines, *accepted_lines(status)]

    def _cells(self, status: Status) -> list[str]:
        parts = [f"{self.answered:,} of {self.cells:,} cells answered"]
        if self.failed > self.cancelled:
            parts.append(f"{self.failed - self.cancelled:,} failed")
        if self.cancelled:
            parts.append(f"{self.cancelled:,} cancelled")
        if self.open:
            parts.append(f"{self.open:,} {'missing' if status.state.is_over else 'to go'}")
        if self.past:
            parts.append(f"{self.past:,} not asked for any more")
        elif status.cells_past:
            parts.append(f"{status.cells_past:,} not asked for any more left out (--all)")
        return parts

    def _tests(self) -> str:
        """How many tests failed of how many, threshold by threshold, the lowest first."""
        counted = {at: tests for at, tests in self.tests.items() if tests.passed + tests.failed}
        parts = [
            f"{counted[at].failed:,} of {counted[at].passed + counted[at].failed:,}{at_threshold(at)}"
            for at in sorted(counted, key=lambda at: -1.0 if at is None else at)
        ]
        if hidden := parts[1 : 1 - _MOST_THRESHOLDS] if len(parts) > _MOST_THRESHOLDS else []:
            parts[1 : 1 + len(hidden)] = [f"... ({len(hidden):,} thresholds between)"]
        return ", ".join(parts)

    def _unanswered(self, threshold: float | None) -> str:
        """The questions without an answer, each counted once where the sweep has it at all."""
        tests = self.tests.get(threshold)
        if tests is None or not tests.unanswered:
            return ""
        reasons = plain(listed_reasons(dict(tests.unanswered.most_common())))
        count = tests.unanswered.total()
        return f"questions unanswered: {count:,}{at_threshold(threshold)} ({reasons})"
