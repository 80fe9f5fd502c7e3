"""What is known of one log while its samples are written: its counts, and the head of its file."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.core.listing import quantity
from engine.core.rows import Coverage, Row
from engine.core.terminal import plain
from engine.report.inspect_log.cleaning import clean, time_text

_MOST_GAPS = 20
"""The cells without an answer that a log names; the others are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIdentity:
    """The run that logs are of; times are seconds since the Unix epoch."""

    id: str
    name: str
    evaluation: str
    created_at: float
    version: str
    """The version of this package."""
    metadata: Mapping[str, Any]
    """What else is known of the run, such as its judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogIdentity:
    """One log of a run: a model and the settings that its samples share."""

    id: str
    model: str
    settings: Mapping[str, Any]
    """Of the axes whose values its samples share, by field, without the model."""
    task: str
    """The name of the run, with what distinguishes the log from others of its model."""
    metadata: Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class ScorerCounts:
    """The values of one scorer, counted as they come."""

    judges: bool
    """Whether its values are verdicts; otherwise they are numbers."""
    options: Mapping[str, Any] = field(default_factory=dict)
    scored: int = 0
    total: float = 0.0
    """The sum of the values, a passed test counting 1."""
    cases: int | None = 0
    """Cases whose first answer was judged, once in each repeat; None if answers do not say."""
    first_failed: int = 0

    def add_row(self, row: Row) -> None:
        """Add the tests of a cell."""
        self.scored += row.total or 0
        self.total += row.passed or 0
        if row.cases is None or row.first_failed is None:
            self.cases = None
        elif self.cases is not None:
            self.cases += row.cases
            self.first_failed += row.first_failed

    @property
    def metrics(self) -> dict[str, float]:
        """Its metrics by name; the first one is that of the log."""
        if not self.scored:
            return {}
        if not self.judges:
            return {"mean": self.total / self.scored}
        rates = {
            "accuracy": self.total / self.scored,
            "failure_rate": (self.scored - self.total) / self.scored,
        }
        if self.cases:
            rates["first_rate"] = self.first_failed / self.cases
        return rates

    def to_document(self, name: str) -> dict[str, Any]:
        """The result of the scorer as Inspect's EvalScore."""
        return {
            "name": name,
            "scorer": name,
            "scored_samples": self.scored,
            "params": dict(self.options),
            "metrics": {key: {"name": key, "value": value} for key, value in self.metrics.items()},
        }

    def to_spec(self, name: str) -> dict[str, Any]:
        """The scorer as Inspect's EvalScorer."""
        return {
            "name": name,
            "options": dict(self.options),
            "metrics": [{"name": metric} for metric in self.metrics],
        }


@dataclass(slots=True, kw_only=True)
class LogCounts:
    """What a log holds and lacks, counted as the run is read."""

    coverage: Coverage = field(default_factory=Coverage)
    logged: int = 0
    """Samples in the log."""
    completed: int = 0
    """Tests with a result, in the log or not."""
    unanswered: int = 0
    """Questions without an answer in answered cells."""
    gaps: list[str] = field(default_factory=list)
    """The first cells without an answer, in words."""
    gap_groups: Counter[str] = field(default_factory=Counter)
    """Jobs without an answer, by group."""
    groups: dict[str, None] = field(default_factory=dict)
    thresholds: set[float] = field(default_factory=set)
    epochs: int = 1
    started_at: float | None = None
    ended_at: float | None = None
    scorers: dict[str, ScorerCounts] = field(default_factory=dict)

    def add_gap(self, cell: str, reason: str) -> None:
        """Note a cell without an answer, in words and with what became of it."""
        if len(self.gaps) < _MOST_GAPS:
            self.gaps.append(f"{cell}: {reason}")

    def add_times(self, answered_at: float | None, seconds: float | None) -> None:
        """Note when an answer came, and how long it took."""
        if answered_at is None:
            return
        began_at = answered_at - (seconds or 0.0)
        self.started_at = min(began_at, self.started_at or began_at)
        self.ended_at = max(answered_at, self.ended_at or answered_at)

    def add_verdicts(self, name: str, row: Row, options: Mapping[str, Any]) -> None:
        """Count the tests of a cell for a scorer of verdicts."""
        self.scorers.setdefault(name, ScorerCounts(judges=True, options=options)).add_row(row)

    def add_number(self, name: str, value: float) -> None:
        """Count the value of a scorer of numbers."""
        counts = self.scorers.setdefault(name, ScorerCounts(judges=False))
        counts.scored += 1
        counts.total += value

    @property
    def ranked_scorers(self) -> list[tuple[str, ScorerCounts]]:
        """The scorers: verdicts at the highest threshold first, as readers take the first one; then numbers."""
        return sorted(
            self.scorers.items(),
            key=lambda one: (not one[1].judges, -one[1].options.get("threshold", 0.0)),
        )

    @property
    def is_complete(self) -> bool:
        """Whether every cell has numbers."""
        return self.coverage.answered == self.coverage.cells

    def missing_samples(self, cases: Mapping[str, int]) -> int:
        """The samples that cells without an answer lack: the cases of their groups, one where these are unknown."""
        return sum(jobs * cases.get(group, 1) for group, jobs in self.gap_groups.items())

    def describe(self) -> str:
        """How many cells have an answer, and what became of the others."""
        coverage = self.coverage
        parts = [f"{coverage.answered:,} of {quantity(coverage.cells, 'cell')} answered"]
        for count, what in (
            (coverage.failed, "failed"),
            (coverage.cancelled, "cancelled"),
            (coverage.to_come, "without an answer so far"),
        ):
            if count:
                parts.append(f"{count:,} {what}")
        if self.unanswered:
            parts.append(f"{quantity(self.unanswered, 'question')} unanswered in answered cells")
        return ", ".join(parts)


def head_of(
    run: RunIdentity, log: LogIdentity, counts: LogCounts, cases: Mapping[str, int]
) -> dict[str, Any]:
    """A log without its samples as Inspect's EvalLog, in the order that its readers expect.

    `cases` are the cases of each group, as far as answers of the run show them.
    """
    total = counts.completed + counts.unanswered + counts.missing_samples(cases)
    head: dict[str, Any] = {
        "version": 2,
        "status": "success" if counts.is_complete else "error",
        "eval": _spec(run, log, counts, total),
        "plan": {"name": "plan", "steps": [{"solver": run.evaluation}], "config": {}},
        "results": {
            "total_samples": total,
            "completed_samples": counts.completed,
            "scores": [one.to_document(name) for name, one in counts.ranked_scorers],
        },
        "stats": {
            "started_at": time_text(counts.started_at or run.created_at),
            "completed_at": time_text(counts.ended_at or run.created_at),
        },
    }
    if not counts.is_complete:
        head["error"] = _error(counts)
    return dict(clean(head))


def _spec(run: RunIdentity, log: LogIdentity, counts: LogCounts, total: int) -> dict[str, Any]:
    settings = dict(log.settings)
    if counts.thresholds:
        settings["thresholds"] = sorted(counts.thresholds)
    return {
        "eval_id": log.id,
        "run_id": run.id,
        "created": time_text(run.created_at),
        "task": log.task,
        "task_id": log.id,
        "task_args": settings,
        "task_args_passed": settings,
        "tags": list(counts.groups),
        "dataset": {
            "name": ", ".join(counts.groups) or run.name,
            # Inspect multiplies it by the epochs.
            "samples": -(-total // counts.epochs),
            "shuffled": False,
        },
        "model": log.model,
        "config": {"epochs": counts.epochs},
        "packages": {"nightsweep": run.version},
        "metadata": {
            **run.metadata,
            **log.metadata,
            "coverage": counts.describe(),
            "samples_in_log": counts.logged,
        },
        "scorers": [one.to_spec(name) for name, one in counts.ranked_scorers],
    }


def _error(counts: LogCounts) -> dict[str, str]:
    coverage = counts.coverage
    others = coverage.cells - coverage.answered - len(counts.gaps)
    listed = [plain(gap) for gap in counts.gaps]
    listed += [f"and {quantity(others, 'cell')} more"] if others > 0 else []
    text = "\n".join(listed)
    return {"message": counts.describe(), "traceback": text, "traceback_ansi": text}
