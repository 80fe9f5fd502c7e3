"""What the answers of a run come to, counted like its rows and without reading them one by one."""

from collections import Counter
from dataclasses import dataclass, field

from engine.core.error_kinds import ErrorKind
from engine.core.policy import UnansweredPolicy, UnansweredRule
from engine.core.states import State
from engine.results.rows import UNREADABLE
from engine.store import Answers, Totals

_LACKING = "more questions of the answer are unanswered than the sweep allows"


@dataclass(slots=True)
class Counts:
    """Cells by what rows say of them, and the tests of those at one threshold."""

    cells: dict[State, int]
    passed: int = 0
    failed: int = 0
    unanswered: Counter[str] = field(default_factory=Counter)
    """Questions without an answer, by reason."""
    in_vain: Counter[str] = field(default_factory=Counter)
    """Jobs whose answer gives a cell no numbers, by the reason."""

    @property
    def errors(self) -> tuple[ErrorKind, ...]:
        """The same as errors of jobs."""
        return tuple(ErrorKind(message=why, jobs=jobs) for why, jobs in self.in_vain.items())

    def move(self, cells: int, before: State, after: State, why: str = "", jobs: int = 0) -> None:
        """Count cells elsewhere than their job's state says."""
        self.cells[before] -= cells
        self.cells[after] += cells
        if cells and why and before is State.SUCCEEDED:
            self.in_vain[why] += jobs


def count_answers(totals: Totals, threshold: float | None, policy: UnansweredPolicy) -> Counts:
    """Count a run; tests at `threshold`, where the sweep has thresholds.

    An answer that is asked for again stays until there is another. One that lacks more questions than the
    sweep allows by now says nothing, and one without scores nothing of other thresholds than its own.
    """
    counts = Counts(dict(totals.cells))
    for answers in totals.answers:
        _count(counts, answers, threshold, policy)
    return counts


def _count(
    counts: Counts, answers: Answers, threshold: float | None, policy: UnansweredPolicy
) -> None:
    unanswered = sum(answers.unanswered.values())
    is_asked = threshold is None or threshold in answers.cells
    if is_asked:
        for reason, count in answers.unanswered.items():
            counts.unanswered[reason] += count * answers.jobs
    in_vain = State.FAILED if answers.state is State.SUCCEEDED else answers.state
    each = max(1, len(answers.cells))
    if not policy.allows(answers.tests_each, unanswered):
        counts.move(each * answers.jobs, answers.state, in_vain, _LACKING, answers.jobs)
        return
    unreadable = 0 if answers.has_scores else sum(at != answers.threshold for at in answers.cells)
    counts.move(unreadable * answers.jobs, answers.state, in_vain, UNREADABLE, answers.jobs)
    counts.move((each - unreadable) * answers.jobs, answers.state, State.SUCCEEDED)
    if is_asked and (threshold in (None, answers.threshold) or answers.has_scores):
        counts.passed += answers.passed
        counts.failed += answers.failed
        if policy.rule is UnansweredRule.AS_FAILED:
            counts.failed += unanswered * answers.jobs
