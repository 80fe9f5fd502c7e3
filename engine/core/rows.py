"""The cells of a run, what is known of each, and how many of them say something: plain values."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, TypeAlias

from engine.core.states import State
from engine.core.values import Value


class Source(StrEnum):
    """How a cell's numbers were had."""

    MEASURED = "measured"
    DERIVED = "derived"
    REUSED = "reused"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One cell and what is known of it; None is what is not known."""

    labels: Mapping[str, Any]
    """The evaluation's axes by field, in the order of the kind, then `repeat`."""
    digests: Mapping[str, str | None] = field(default_factory=dict)
    """12 hexadecimal digits of each prompt and document by field: equal for equal texts, None for no text."""
    asked: bool | None = True
    """Whether the sweep asks for the cell; False where only an earlier one did, None as long as that is not known."""
    outdated: bool = False
    """Whether its answer is from before `run --fresh` and is still to be asked again: it counts as to come."""
    state: str
    source: Source
    passed: int | None = None
    failed: int | None = None
    total: int | None = None
    failure_rate: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    unanswered: int | None = None
    """Questions without an answer."""
    unanswered_reasons: Mapping[str, int] | None = None
    """The same by reason."""
    lowest_rate: float | None = None
    """The failure rate if all of these had passed."""
    highest_rate: float | None = None
    """The failure rate if all of these had failed."""
    identity: str | None = None
    """16 hexadecimal digits of what decided the answer: numbers of one cell are comparable where it is equal."""
    error: str | None = None
    values: Mapping[str, Value] = field(default_factory=dict)
    """What else the job kind told of the answer, by name."""

    @classmethod
    def known_columns(cls) -> tuple[str, ...]:
        """The fields that are columns: what is known of every cell."""
        others = ("labels", "digests", "outdated", "values")
        return tuple(known.name for known in fields(cls) if known.name not in others)

    @classmethod
    def column_names(cls, axes: Collection[str]) -> frozenset[str]:
        """The lower-case names of the columns that rows with these axes have; no value may have one of them."""
        # The table shows the failure rate as "rate".
        names = (*cls.known_columns(), "rate", "repeat", *axes, *map(digest_column, axes))
        return frozenset(name.lower() for name in names)


def digest_column(axis: str) -> str:
    """The name of the column that tells two texts under one label of an axis apart."""
    return f"{axis}_digest"


@dataclass(slots=True, kw_only=True)
class Coverage:
    """Cells by what is known of them. Each is in one of the counts, so that none leaves the denominator."""

    answered: int = 0
    failed: int = 0
    """Their job has failed, or its answer has no numbers for them."""
    cancelled: int = 0
    to_come: int = 0

    @property
    def cells(self) -> int:
        """All of them."""
        return self.answered + self.failed + self.cancelled + self.to_come

    def add(self, state: State, *, has_numbers: bool, cells: int = 1) -> None:
        """Count cells of jobs in a state, with numbers for them or without."""
        if has_numbers:
            self.answered += cells
        elif state is State.CANCELLED:
            self.cancelled += cells
        elif state in (State.FAILED, State.SUCCEEDED):
            self.failed += cells
        else:
            self.to_come += cells


@dataclass(slots=True, kw_only=True)
class TestCounts:
    """Tests of answered cells."""

    passed: int = 0
    failed: int = 0
    unanswered: Counter[str] = field(default_factory=Counter)
    """Questions without an answer, by reason."""


@dataclass(slots=True, kw_only=True)
class RowCounts:
    """What rows add up to."""

    coverage: Coverage = field(default_factory=Coverage)
    past: int = 0
    """Cells that the sweep does not ask for any more: in none of the other counts."""
    tests: dict[float | None, TestCounts] = field(default_factory=dict)
    """Tests by threshold, each test once at each of them; under None where the evaluation has none."""


Rows: TypeAlias = Callable[[], AsyncIterator[Row]]
"""The rows of a run, which can be read more than once."""
