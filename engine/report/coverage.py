"""The counts of a run's rows as text."""

from engine.core.model import describe_reasons
from engine.core.rows import RowCounts
from engine.core.status import Status
from engine.core.terminal import plain
from engine.report.words import accepted_lines, at_threshold, coverage_parts, judge_words

_MOST_THRESHOLDS = 5


def counts_lines(counts: RowCounts, status: Status, *, is_selection: bool = False) -> list[str]:
    """The counts of a run's rows for people: cells, failed tests, unanswered questions.

    Failed tests are counted by threshold, the lowest first, with the thresholds in the middle left out if
    there are many; unanswered questions at the threshold of `status` only. Without tests, or without
    unanswered questions, their line is left out. Changes that were accepted during the run come last. Says
    that the counts are of some cells only if they are of a selection.
    """
    selected = ", selected cells only" if is_selection else ""
    cells = _cells(counts, status, is_selection=is_selection)
    lines = [f"{plain(status.run)}{selected}: {', '.join(cells)}"]
    if tests := _tests(counts):
        by = f" ({judge_words(status.judge)})" if status.judge else ""
        lines.append(f"tests failed: {tests}{by}")
    if unanswered := _unanswered_line(counts, status.threshold):
        lines.append(unanswered)
    return [*lines, *accepted_lines(status)]


def _cells(counts: RowCounts, status: Status, *, is_selection: bool) -> list[str]:
    parts = coverage_parts(counts.coverage, status)
    if counts.past:
        parts.append(f"{counts.past:,} not asked for any more")
    elif status.cells_past and not is_selection:
        parts.append(f"{status.cells_past:,} not asked for any more left out (--all)")
    return parts


def _tests(counts: RowCounts) -> str:
    """Failed tests of all tests by threshold, the lowest first."""
    counted = {at: tests for at, tests in counts.tests.items() if tests.passed + tests.failed}
    parts = [
        f"{counted[at].failed:,} of {counted[at].passed + counted[at].failed:,}{at_threshold(at)}"
        for at in sorted(counted, key=lambda at: -1.0 if at is None else at)
    ]
    if hidden := parts[1 : 1 - _MOST_THRESHOLDS] if len(parts) > _MOST_THRESHOLDS else []:
        parts[1 : 1 + len(hidden)] = [f"... ({len(hidden):,} thresholds between)"]
    return ", ".join(parts)


def _unanswered_line(counts: RowCounts, threshold: float | None) -> str:
    """The number of questions without an answer at one threshold, with their reasons."""
    tests = counts.tests.get(threshold)
    if tests is None or not tests.unanswered:
        return ""
    reasons = plain(describe_reasons(dict(tests.unanswered.most_common())))
    count = tests.unanswered.total()
    return f"questions unanswered: {count:,}{at_threshold(threshold)} ({reasons})"
