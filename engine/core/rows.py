"""The rows of results, one for each cell, and counts of cells: plain values."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, TypeAlias

from engine.core.canonical import digest
from engine.core.states import State
from engine.core.values import Value


class Source(StrEnum):
    """Where a cell's numbers come from.

    `MEASURED` are those of an answer at the cell's own threshold, `DERIVED` were read from an answer at a
    higher one, and `REUSED` come from another run of the store. `MISSING` means that there are none.

    Example:
        >>> {row.source is Source.MEASURED for row in run.rows()}
        {True}
    """

    MEASURED = "measured"
    DERIVED = "derived"
    REUSED = "reused"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One cell of a sweep and its numbers, as `Run.rows` yields it; unknown values are None.

    A test fails if its score is below the threshold. Rates are shares from 0 to 1; `ci_low` and `ci_high` are
    the 95 % interval of `failure_rate`, made as `interval` says.

    Example:
        >>> row = next(run.rows())
        >>> row.labels["number"], row.values["value"], str(row.state), row.attempts
        (1, 0.5, 'succeeded', 1)
    """

    labels: Mapping[str, Any]
    """The evaluation's axes by field, in the order of the kind, then `repeat`."""
    digests: Mapping[str, str | None] = field(default_factory=dict)
    """12 hexadecimal digits of each prompt and document, by field: equal for equal texts, None without one."""
    asked: bool | None = True
    """Whether the sweep asks for the cell; False if only an earlier version did, None while unknown."""
    outdated: bool = False
    """Whether its answer is older than `run --fresh` and will be asked again: it counts as to come."""
    state: str
    source: Source
    passed: int | None = None
    failed: int | None = None
    total: int | None = None
    failure_rate: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    interval: str | None = None
    """How the interval was made: `Wilson` where each test is the one answer to a case of its own, `clustered` where
    cases have several tests, `layered` where cases that failed have variations; None without an interval, because
    the answer does not name the cases of its tests or too few of them failed, or passed."""
    cases: int | None = None
    """Cases whose first answer, before any variations, was judged."""
    first_failed: int | None = None
    """Of these, the cases whose first answer failed."""
    cases_failed: int | None = None
    """Cases with a failure in any answer, variations included."""
    unanswered: int | None = None
    """Questions without an answer."""
    unanswered_reasons: Mapping[str, int] | None = None
    """The number of these questions by reason."""
    lowest_rate: float | None = None
    """The failure rate if all unanswered questions had passed."""
    highest_rate: float | None = None
    """The failure rate if all unanswered questions had failed."""
    identity: str | None = None
    """16 hexadecimal digits of what decided the answer; numbers are comparable only if they are equal."""
    attempts: int = 0
    """The attempts of its job that count against `retry.attempts`; an answer gives several cells the same."""
    seconds: float | None = None
    """How long the attempt took whose answer this is; None without one, and for a reused answer."""
    answered_at: float | None = None
    """When its answer came, in seconds since the Unix epoch; None without an answer."""
    error: str | None = None
    values: Mapping[str, Value] = field(default_factory=dict)
    """Further values that the job kind reads from the answer, by name."""

    @classmethod
    def known_columns(cls) -> tuple[str, ...]:
        """The names of the fields that are columns of every row."""
        others = ("labels", "digests", "outdated", "values")
        return tuple(known.name for known in fields(cls) if known.name not in others)

    @classmethod
    def column_names(cls, axes: Collection[str]) -> frozenset[str]:
        """The columns of rows with these axes, in lower case; no value may have one of these names."""
        # The table shows the share of first answers that failed as "first_rate".
        names = (*cls.known_columns(), "first_rate", "repeat", *axes, *map(digest_column, axes))
        return frozenset(name.lower() for name in names)


_NO_TEXT = digest(None)
_DIGEST_LENGTH = 12


def short_digest(content: str) -> str | None:
    """The digest of a content as rows have it, from the whole one; None for that of no content."""
    return None if content == _NO_TEXT else content[:_DIGEST_LENGTH]


def digest_column(axis: str) -> str:
    """The name of the column that distinguishes texts with the same label on an axis, such as `prompt_digest`."""
    return f"{axis}_digest"


@dataclass(slots=True, kw_only=True)
class Coverage:
    """The number of cells by what is known of them.

    Each cell is in exactly one count, so their sum is the number of all cells: missing and failed ones are
    never left out of a denominator.
    """

    answered: int = 0
    failed: int = 0
    """Cells whose job failed, or whose answer has no numbers for them."""
    cancelled: int = 0
    to_come: int = 0

    @property
    def cells(self) -> int:
        """The number of all cells."""
        return self.answered + self.failed + self.cancelled + self.to_come

    def add_all(self, other: "Coverage") -> None:
        """Add the cells of another count, in place."""
        self.answered += other.answered
        self.failed += other.failed
        self.cancelled += other.cancelled
        self.to_come += other.to_come

    def add(self, state: State, *, has_numbers: bool, cells: int = 1) -> None:
        """Add cells of jobs in a state, in place.

        With numbers they are answered, whatever the state of the job: an earlier answer is kept while it is asked
        again. Without, a job that succeeded counts as failed.
        """
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
    """The totals of rows."""

    coverage: Coverage = field(default_factory=Coverage)
    past: int = 0
    """Cells that the sweep no longer asks for; no other count includes them."""
    tests: dict[float | None, TestCounts] = field(default_factory=dict)
    """Tests by threshold, each counted once at every threshold; by None if the evaluation has none."""


Rows: TypeAlias = Callable[[], AsyncIterator[Row]]
"""Returns the rows of a run; each call begins at the first row."""
