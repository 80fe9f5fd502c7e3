"""The failure rate at every threshold: the distribution of the first answers' scores, where they are all known."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, TypeAlias

from engine.core.estimates import Rate
from engine.core.listed_tests import Listing, Round, count_listed_cases
from engine.core.policy import UnansweredRule
from engine.core.reports import CURVE_STEPS, HeatCell, HeatMap, ScoreCurve
from engine.core.statistics import band_half_width
from engine.results.cells import RowRules
from engine.results.heat import MOST_COLUMNS, MOST_ROWS, HeatAxes
from engine.results.identities import Identifier, Identity
from engine.store import JobRow

_Value: TypeAlias = tuple[Any, str | None]
"""A label on an axis and the digest of its content."""
_GRID = tuple(step / CURVE_STEPS for step in range(CURVE_STEPS + 1))
_MOST_CURVES = MOST_ROWS * MOST_COLUMNS
_MOST_SCORES = 256
"""The most different scores that are counted before they are put into steps."""


class _Distribution:
    """How often first answers have each score."""

    def __init__(self) -> None:
        self.is_complete = True
        # The scores below 0, where questions without an answer are that count as failed, and those in each step.
        self._steps = [0] * (len(_GRID) + 1)
        self._scores: Counter[float | None] = Counter()

    def add(self, scores: Sequence[float | None]) -> None:
        self._scores.update(scores)
        if len(self._scores) > _MOST_SCORES:
            self._put_into_steps()

    def _put_into_steps(self) -> None:
        for score, times in self._scores.items():
            # The number of thresholds at which the answer passes: a score fails above itself.
            self._steps[0 if score is None else bisect_right(_GRID, score)] += times
        self._scores.clear()

    @property
    def counts(self) -> Sequence[int]:
        """The scores below 0, and those in each step."""
        self._put_into_steps()
        return self._steps


class ScoreCounter:
    """Counts the scores of first answers by row and column of the heat map, and by steps of 1/200.

    Memory is at most some 30 kB for each row and column, however many answers a run has. A row and column with any answer
    that does not list the scores of all its first answers has no curve.
    """

    def __init__(self, axes: HeatAxes | None, rules: RowRules) -> None:
        self._rules = rules
        self._identifier = (
            None if axes is None else Identifier((axes.row, axes.column), rules.names)
        )
        # By row and column.
        self._counted: dict[Identity, _Distribution] = {}

    def add(self, job: JobRow, answer: Round | None) -> None:
        """Add one job, with its answer if `read_round_of` can read it; those without numbers do not count."""
        if self._identifier is None or not job.cells:
            return
        if answer is None and not self._has_numbers(job):
            return
        key = self._identifier.find(job)
        if (counted := self._counted.get(key)) is None:
            if len(self._counted) == _MOST_CURVES:
                return
            counted = self._counted[key] = _Distribution()
        if not counted.is_complete:
            return
        scores = self._first_scores(job) if answer is None else answer.scores
        if scores is None:
            counted.is_complete = False
        else:
            counted.add(scores)

    def _has_numbers(self, job: JobRow) -> bool:
        if job.passed is None or job.failed is None or job.outdated or job.is_asked is False:
            return False
        if self._rules.folded_field is None or job.threshold is None:
            return False
        if not job.unanswered:
            return True
        unanswered = sum(job.unanswered.values())
        return self._rules.unanswered.allows(job.passed + job.failed, unanswered)

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
        counted = dict(self._name_counts())
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

    def _name_counts(self) -> Iterator[tuple[tuple[str, str], Sequence[int]]]:
        """The counts by the names that rows and columns have in a heat map, where there are any."""
        # Each axis as the labels and digests of all keys.
        axes = [list(zip(*key, strict=True)) for key in self._counted]
        rows, columns = (_name_values(one[at] for one in axes) for at in (0, 1))
        for (row, column), distribution in zip(axes, self._counted.values(), strict=True):
            if distribution.is_complete and any(counts := distribution.counts):
                yield (rows[row], columns[column]), counts


def _has_rate(cell: HeatCell) -> bool:
    return cell.threshold is not None and cell.estimates[Rate.FIRST].rate is not None


def _name_values(values: Iterable[_Value]) -> Mapping[_Value, str]:
    """The names of values: their labels, with the digest where a label stands for several texts."""
    different = set(values)
    labels = [label for label, _ in different]
    names: dict[_Value, str] = {}
    for label, digest in different:
        name = "" if label is None else str(label)
        names[label, digest] = f"{name} ({digest})" if labels.count(label) > 1 and digest else name
    return names
