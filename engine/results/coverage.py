"""How many cells of a run have an answer, and how many tests failed: counted from its rows or from totals."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from engine.core.error_kinds import ErrorKind
from engine.core.policy import UnansweredPolicy, UnansweredRule
from engine.core.rows import Coverage, Row, RowCounts, Rows, TestCounts
from engine.core.states import State
from engine.results.cells import UNREADABLE
from engine.store import Answers, Totals

_LACKING = "more questions of the answer are unanswered than the sweep allows"


class CountedRows:
    """The rows of a run, counted as they are read; `counts` holds the counts of the latest reading."""

    def __init__(self, rows: Rows, folded_field: str | None) -> None:
        self._rows = rows
        self._folded_field = folded_field
        self.counts = RowCounts()

    async def __call__(self) -> AsyncIterator[Row]:
        counts = self.counts = RowCounts()
        async for row in self._rows():
            _count_row(counts, row, self._folded_field)
            yield row


def _count_row(counts: RowCounts, row: Row, folded_field: str | None) -> None:
    if row.asked is False:
        counts.past += 1
        return
    if row.outdated:
        counts.coverage.add(State.PENDING, has_numbers=False)
        return
    has_numbers = row.total is not None
    counts.coverage.add(State(row.state), has_numbers=has_numbers)
    at = None if folded_field is None else row.labels.get(folded_field)
    if (tests := counts.tests.get(at)) is None:
        tests = counts.tests[at] = TestCounts()
    if row.unanswered_reasons:
        tests.unanswered.update(row.unanswered_reasons)
    if has_numbers:
        tests.passed += row.passed or 0
        tests.failed += row.failed or 0


@dataclass(slots=True)
class Counts:
    """The cells of a run by what is known of them, and their tests at one threshold."""

    coverage: Coverage = field(default_factory=Coverage)
    tests: TestCounts = field(default_factory=TestCounts)
    without_numbers: Counter[str] = field(default_factory=Counter)
    """Jobs whose answer has no numbers for a cell, by reason."""

    @property
    def errors(self) -> tuple[ErrorKind, ...]:
        """The reasons in `without_numbers` as errors of jobs."""
        return tuple(
            ErrorKind(message=reason, jobs=jobs) for reason, jobs in self.without_numbers.items()
        )

    def add_without_numbers(self, answers: Answers, cells: int, reason: str) -> None:
        """Add cells for which these answers have no numbers, in place.

        `reason` says why; it is counted per job, and only for jobs that succeeded.
        """
        self.coverage.add(answers.state, has_numbers=False, cells=cells)
        if cells and answers.state is State.SUCCEEDED:
            self.without_numbers[reason] += answers.jobs


def count_answers(totals: Totals, threshold: float | None, policy: UnansweredPolicy) -> Counts:
    """Count the cells of a run, and its tests at `threshold`; None if the sweep has no thresholds.

    The counts equal those of the rows. An answer counts until a new one replaces it. It has no numbers if
    more of its questions are unanswered than the sweep now allows; without scores it has numbers only at its
    own threshold.
    """
    counts = Counts()
    rest = dict(totals.cells)
    for answers in totals.answers:
        rest[answers.state] -= max(1, len(answers.cells)) * answers.jobs
        _add_answers(counts, answers, threshold, policy)
    for state, cells in rest.items():
        # Jobs that succeeded but are not in `answers` have an outdated answer.
        counts.coverage.add(state, has_numbers=state is State.SUCCEEDED, cells=cells)
    return counts


def _add_answers(
    counts: Counts, answers: Answers, threshold: float | None, policy: UnansweredPolicy
) -> None:
    unanswered = sum(answers.unanswered.values())
    is_asked = threshold is None or threshold in answers.cells
    if is_asked:
        for reason, count in answers.unanswered.items():
            counts.tests.unanswered[reason] += count * answers.jobs
    each = max(1, len(answers.cells))
    if not policy.allows(answers.tests_each, unanswered):
        counts.add_without_numbers(answers, each * answers.jobs, _LACKING)
        return
    unreadable = 0 if answers.has_scores else sum(at != answers.threshold for at in answers.cells)
    counts.add_without_numbers(answers, unreadable * answers.jobs, UNREADABLE)
    readable = (each - unreadable) * answers.jobs
    counts.coverage.add(answers.state, has_numbers=True, cells=readable)
    if is_asked and (threshold in (None, answers.threshold) or answers.has_scores):
        counts.tests.passed += answers.passed
        counts.tests.failed += answers.failed
        if policy.rule is UnansweredRule.AS_FAILED:
            counts.tests.failed += unanswered * answers.jobs
