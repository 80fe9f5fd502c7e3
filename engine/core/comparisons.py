"""What changed between two runs, as plain values: cell by cell and case by case."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from engine.core.findings import JudgedTest
from engine.core.rows import Coverage


class Change(StrEnum):
    """What became of a rate from one run to another; the words are about the later run.

    Example:
        >>> str(Change.UNKNOWN)
        'cannot be told apart'
    """

    BETTER = "better"
    """It fails less often."""
    WORSE = "worse"
    """It fails more often."""
    UNKNOWN = "cannot be told apart"
    NEW = "new"
    """Only the later run has numbers."""
    MISSING = "missing"
    """Only the earlier run has numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateChange:
    """The failure rates of two runs over the same cells, and what can be said of their difference.

    Rates are of first answers, from 0 to 1. Where both runs name their cases, each case has the same weight, and
    `p` is the exact probability of a difference at least as large by chance; else `p` is None.

    Example:
        >>> RateChange(threshold=0.5, cells=1, change=Change.NEW).rate_before is None
        True
    """

    labels: Mapping[str, Any] = field(default_factory=dict)
    """The values of axes that the cells share, by field, as the later run calls them."""
    threshold: float | None
    cells: int
    """Cells of the later run, or of the earlier one if it alone has numbers."""
    change: Change
    cases: int | None = None
    """The cases that both runs have asked; None if the answers do not name them."""
    rate_before: float | None = None
    rate_after: float | None = None
    difference: float | None = None
    """`rate_after` minus `rate_before`."""
    low: float | None = None
    """The low end of the 95 % interval of the difference."""
    high: float | None = None
    interval: str | None = None
    """How the interval was made: `paired by case`, or `newcombe` for two samples of different cases."""
    detectable: float | None = None
    """The difference that so many cases would have shown with a chance of 80 %; None without named cases."""
    p: float | None = None
    p_corrected: float | None = None
    """`p` corrected by Holm's rule for all rates of the same table at this threshold."""


class Shift(StrEnum):
    """How the mean of a value in the later of two runs lies to that in the earlier one.

    Whether higher is better is for the reader to say.

    Example:
        >>> str(Shift.HIGHER)
        'higher'
    """

    HIGHER = "higher"
    LOWER = "lower"
    UNKNOWN = "cannot be told apart"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueChange:
    """The means of a value of the job kind in two runs, over the cells and cases in which both have it.

    Means and their difference are in the unit of the value; of true and false, they are shares that are true, from
    0 to 1. Each case has the same weight, and `p` is the exact probability of a difference at least as large by
    chance.

    Example:
        >>> run.compare().values
        ()
    """

    name: str
    is_share: bool
    """Whether the value is true or false, so that the means are shares."""
    cells: int
    """Cells of the later run that have the value in both."""
    cases: int
    """The cases in which both have it."""
    mean_before: float
    mean_after: float
    difference: float
    """`mean_after` minus `mean_before`."""
    low: float | None
    """The low end of the 95 % interval of the difference by case; None for a number that differs alike in all
    cases, whose spread is unknown."""
    high: float | None
    p: float
    p_corrected: float
    """`p` corrected by Holm's rule for all values that were compared."""
    change: Shift
    """Higher or lower if `p_corrected` is below 0.05."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseChange:
    """A case that failed in at least half of its first answers in one of two runs, and in fewer in the other.

    Example:
        >>> change = CaseChange(
        ...     labels={"model": "a"},
        ...     threshold=0.5,
        ...     case="greeting",
        ...     failed_before=0,
        ...     answers_before=1,
        ...     failed_after=1,
        ...     answers_after=1,
        ... )
        >>> change.change
        <Change.WORSE: 'worse'>
    """

    labels: Mapping[str, Any]
    """The axes of its cells, by field, as the later run calls them."""
    labels_before: Mapping[str, Any] = field(default_factory=dict)
    """The same in the earlier run."""
    digests: Mapping[str, str | None] = field(default_factory=dict)
    """The digests of prompts and other contents, by field, as rows have them."""
    digests_before: Mapping[str, str | None] = field(default_factory=dict)
    threshold: float | None
    case: str
    failed_before: int
    answers_before: int
    failed_after: int
    answers_after: int

    @property
    def change(self) -> Change:
        """Whether it fails more or less often in the later run."""
        return Change.WORSE if self.difference > 0 else Change.BETTER

    @property
    def difference(self) -> float:
        """The share of answers that failed in the later run minus that in the earlier one."""
        return self.failed_after / self.answers_after - self.failed_before / self.answers_before

    @property
    def is_failing(self) -> bool:
        """Whether it fails in at least half of the answers of the later run."""
        return 2 * self.failed_after >= self.answers_after


@dataclass(frozen=True, slots=True, kw_only=True)
class FlippedCase:
    """A case that flipped, with an answer of each run that shows it.

    Example:
        >>> [flipped.change.case for flipped in run.flipped_cases(run.compare())]
        []
    """

    change: CaseChange
    before: JudgedTest | None
    """A test of the earlier run; None if its answer is not in the store any more, or not readable."""
    after: JudgedTest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedText:
    """A value of an axis that is compared with a different one: another text of the same name, or another model.

    Example:
        >>> ChangedText(axis="model", before="a", after="b").after
        'b'
    """

    axis: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What changed from one run to another, as `Run.compare` returns it.

    Example:
        >>> comparison = run.compare()
        >>> comparison.cells_compared, comparison.cells_new
        (0, 3)
    """

    before: str
    """The name of the earlier run."""
    after: str
    is_edit: bool
    """Whether the earlier answers are those to earlier versions of the same run's sweep."""
    coverage_before: Coverage
    coverage_after: Coverage
    changed: tuple[ChangedText, ...]
    ignored: tuple[str, ...]
    """Axes that only one of the runs has, with one value."""
    cells_compared: int
    """Cells of the later run that have numbers in both."""
    cells_new: int
    """Cells of the later run that the earlier one does not have."""
    cells_missing: int
    """Cells of the earlier run that the later one does not have."""
    cells_unanswered: int
    """Cells of the later run that both have, without numbers in one of them."""
    cells_unnamed: int
    """Cells with numbers in both whose answers do not name their cases."""
    cases_new: int
    """Cases that only the later run has asked, in cells that both have."""
    cases_missing: int
    overall: tuple[RateChange, ...]
    """One for each threshold, ascending."""
    by_axis: Mapping[str, tuple[RateChange, ...]]
    """For each axis with several values that were compared, one for each value and threshold."""
    cells: tuple[RateChange, ...]
    """One for each setting (all repeats of a cell) of either run, in the order of the later one."""
    flipped: tuple[CaseChange, ...]
    """The cases that flipped: those that became worse first, the largest change first."""
    values: tuple[ValueChange, ...] = ()
    """One for each number, and each true or false, that answers of both have as a value, by name."""
