"""How many cells of a run say something, and how many tests failed: of its rows, or without reading them one by one."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from engine.core.error_kinds import ErrorKind
from engine.core.policy import UnansweredPolicy, UnansweredRule
from engine.core.rows import Coverage, Row, RowCounts, Rows, TestCounts
from engine.core.states import State
from engine.results.rows import UNREADABLE
from engine.store import Answers, Totals

_LACKING = "more questions of the answer are unanswered than the sweep allows"


class CountedRows:
    """Rows of a run that are counted as they are read; `counts` is of the last time that they were."""

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
    """Cells by what rows say of them, and the tests of those at one threshold."""

    coverage: Coverage = field(default_factory=Coverage)
    tests: TestCounts = field(default_factory=TestCounts)
    in_vain: Counter[str] = field(default_factory=Counter)
    """Jobs whose answer gives a cell no numbers, by the reason."""

    @property
    def errors(self) -> tuple[ErrorKind, ...]:
        """The same as errors of jobs."""
        return tuple(ErrorKind(message=why, jobs=jobs) for why, jobs in self.in_vain.items())

    def add_in_vain(self, answers: Answers, cells: int, why: str) -> None:
        """Count cells that these answers have no numbers for."""
        self.coverage.add(answers.state, has_numbers=False, cells=cells)
        if cells and answers.state is State.SUCCEEDED:
            self.in_vain[why] += answers.jobs


def count_answers(totals: Totals, threshold: float | None, policy: UnansweredPolicy) -> Counts:
    """Count a run; tests at `threshold`, where the sweep has thresholds.

    An answer that is asked for again stays until there is another. One that lacks more questions than the
    sweep allows by now says nothing, and one without scores nothing of other thresholds than its own.
    """
    counts = Counts()
    rest = dict(totals.cells)
    for answers in totals.answers:
        rest[answers.state] -= max(1, len(answers.cells)) * answers.jobs
        _count(counts, answers, threshold, policy)
    for state, cells in rest.items():
        # A job that has succeeded has an answer: those that are not told of are outdated ones.
        counts.coverage.add(state, has_numbers=state is State.SUCCEEDED, cells=cells)
    return counts


def _count(
    counts: Counts, answers: Answers, threshold: float | None, policy: UnansweredPolicy
) -> None:
    unanswered = sum(answers.unanswered.values())
    is_asked = threshold is None or threshold in answers.cells
    if is_asked:
        for reason, count in answers.unanswered.items():
            counts.tests.unanswered[reason] += count * answers.jobs
    each = max(1, len(answers.cells))
    if not policy.allows(answers.tests_each, unanswered):
        counts.add_in_vain(answers, each * answers.jobs, _LACKING)
        return
    unreadable = 0 if answers.has_scores else sum(at != answers.threshold for at in answers.cells)
    counts.add_in_vain(answers, unreadable * answers.jobs, UNREADABLE)
    readable = (each - unreadable) * answers.jobs
    counts.coverage.add(answers.state, has_numbers=True, cells=readable)
    if is_asked and (threshold in (None, answers.threshold) or answers.has_scores):
        counts.tests.passed += answers.passed
        counts.tests.failed += answers.failed
        if policy.rule is UnansweredRule.AS_FAILED:
            counts.tests.failed += unanswered * answers.jobs
