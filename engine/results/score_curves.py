"""The failure rate at every threshold: the distribution of the first answers' scores, where they are all known."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from engine.core.estimates import Rate
from engine.core.listed_tests import Listing, count_listed_cases
from engine.core.policy import UnansweredRule
from engine.core.reports import CURVE_STEPS, HeatCell, HeatMap, ScoreCurve
from engine.core.rows import short_digest
from engine.core.statistics import band_half_width
from engine.results.cells import RowRules
from engine.results.heat import MOST_COLUMNS, MOST_ROWS, HeatAxes
from engine.store import JobRow

_Value = tuple[str, str | None]
"""A label on an axis and the digest of its content."""
_GRID = tuple(step / CURVE_STEPS for step in range(CURVE_STEPS + 1))
_MOST_CURVES = MOST_ROWS * MOST_COLUMNS


class ScoreCounter:
    """Counts the scores of first answers by row and column of the heat map, and by steps of 1/200.

    Memory is some 2 kB for each row and column, however many answers a run has. A row and column with any answer
    that does not list the scores of all its first answers has no curve.
    """

    def __init__(self, axes: HeatAxes | None, rules: RowRules) -> None:
        self._axes = axes
        self._rules = rules
        # By row and column: the scores below 0, where questions without an answer are that count as failed, and
        # those in each step.
        self._counts: dict[tuple[_Value, _Value], list[int]] = {}
        self._incomplete: set[tuple[_Value, _Value]] = set()

    def add(self, job: JobRow) -> None:
        """Add one job; those without numbers do not count."""
        if self._axes is None or not self._has_numbers(job):
            return
        key = (self._value(job, self._axes.row), self._value(job, self._axes.column))
        if key in self._incomplete:
            return
        if (counts := self._counts.get(key)) is None:
            if len(self._counts) == _MOST_CURVES:
                return
            counts = self._counts[key] = [0] * (len(_GRID) + 1)
        if (scores := self._first_scores(job)) is None:
            self._incomplete.add(key)
            return
        for score in scores:
            # The number of thresholds at which the answer passes: a score fails above itself.
            counts[0 if score is None else bisect_right(_GRID, score)] += 1

    def _has_numbers(self, job: JobRow) -> bool:
        if job.passed is None or job.failed is None or job.outdated or job.is_asked is False:
            return False
        if self._rules.folded_field is None or job.threshold is None or not job.cells:
            return False
        if not job.unanswered:
            return True
        unanswered = sum(job.unanswered.values())
        return self._rules.unanswered.allows(job.passed + job.failed, unanswered)

    def _value(self, job: JobRow, axis: str) -> _Value:
        label, content = job.labels.get(axis), job.documents.get(axis)
        if content is None:
            return "" if label is None else str(label), None
        name = self._rules.names.get(axis, {}).get(content, label)
        return str(name), short_digest(content)

    def _first_scores(self, job: JobRow) -> Sequence[float | None] | None:
        """The scores of the first answers, None for those that count as failed; None unless all are known."""
        assert job.passed is not None
        assert job.failed is not None
        total = job.passed + job.failed
        unanswered = 0
        if job.unanswered and self._rules.unanswered.rule is UnansweredRule.AS_FAILED:
            unanswered = sum(job.unanswered.values())
        if not unanswered and self._is_flat(job, total):
            return job.scores
        if job.listing is None:
            return None
        tests = Listing.decode(job.listing).tests
        lacking = sum(test.score is None for test in tests)
        if len(tests) - lacking != total or any(test.layer is None for test in tests):
            return None
        if unanswered and lacking != unanswered:
            return None
        return [
            test.score
            for test in tests
            if test.layer == 0 and (unanswered or test.score is not None)
        ]

    @staticmethod
    def _is_flat(job: JobRow, total: int) -> bool:
        """Whether all scores are in the store, each that of the first answer to a case of its own."""
        if job.scores is None or len(job.scores) != total:
            return False
        return total == (1 if job.listing is None else count_listed_cases(job.listing))

    def curves(self, heat_map: HeatMap) -> tuple[ScoreCurve, ...]:
        """The curves of the rows and columns of a heat map that have one, in its order."""
        return tuple(self._find_curves(heat_map))

    def _find_curves(self, heat_map: HeatMap) -> Iterator[ScoreCurve]:
        counted = {
            (row, column): counts for (row, column), counts in self._name_counts() if sum(counts)
        }
        known = {(cell.row, cell.column): cell for cell in heat_map.cells if _has_rate(cell)}
        for (row, column), cell in known.items():
            if (counts := counted.get((row, column))) is None:
                continue
            failed = tuple(accumulate(counts[:-1]))
            answers = failed[-1] + counts[-1]
            cases = None if cell.cases is None else min(cell.cases, answers)
            yield ScoreCurve(
                row=row,
                column=column,
                failed=failed,
                answers=answers,
                cases=cases,
                half_width=None if cases is None else band_half_width(cases),
            )

    def _name_counts(self) -> Iterator[tuple[tuple[str, str], list[int]]]:
        """The counts by the names that rows and columns have in a heat map."""
        rows = _name_values(row for row, _ in self._counts)
        columns = _name_values(column for _, column in self._counts)
        for (row, column), counts in self._counts.items():
            if (row, column) not in self._incomplete:
                yield (rows[row], columns[column]), counts


def _has_rate(cell: HeatCell) -> bool:
    return cell.threshold is not None and cell.estimates[Rate.FIRST].rate is not None


def _name_values(values: Iterable[_Value]) -> Mapping[_Value, str]:
    """The names of values: their labels, with the digest where a label stands for several texts."""
    different = set(values)
    labels = [label for label, _ in different]
    return {
        (label, digest): f"{label} ({digest})" if labels.count(label) > 1 and digest else label
        for label, digest in different
    }
