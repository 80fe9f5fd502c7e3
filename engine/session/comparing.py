"""Comparing two runs, and what models said in the cases that flipped."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from engine.core.comparisons import CaseChange, Comparison
from engine.core.findings import JudgedTest
from engine.core.rows import short_digest
from engine.kinds import JobKind
from engine.results.cells import Cell
from engine.results.comparison import compare
from engine.results.earlier import observe_earlier
from engine.results.matching import AxisValues, CellMatch, Matched, observed_values
from engine.results.observations import Observations
from engine.session.gating import find_thresholds

if TYPE_CHECKING:
    from engine.session.readings import RunReadings

EARLIER = "earlier answers"
"""What the other side is called where a run is compared with its answers before its sweep was edited."""


async def compare_runs(
    run: "RunReadings", before: "RunReadings", thresholds: Sequence[float]
) -> Comparison:
    """Compare a run with an earlier one; raises UsageError if their cells cannot be matched."""
    match = CellMatch.of(
        [AxisValues.of(axis) for axis in run.facts.axes],
        [AxisValues.of(axis) for axis in before.facts.axes],
        folded_field=run.facts.folded_field,
    )
    thresholds = find_thresholds(run.facts, thresholds)
    own, other = (await run.analysis()).seen, (await before.analysis()).seen
    matched = Matched.of(_at(own, thresholds), _at(other, thresholds), match)
    return compare(matched, before=before.name, after=run.name, is_edit=False)


async def compare_with_earlier(
    run: "RunReadings", cells: AsyncIterator[Cell], thresholds: Sequence[float]
) -> Comparison:
    """Compare a run with its answers to earlier versions of its sweep; `cells` has the past ones as well."""
    axes, folded = run.facts.axes, run.facts.folded_field
    thresholds = find_thresholds(run.facts, thresholds)
    own, other = (await run.analysis()).seen, await observe_earlier(cells, axes, folded)
    match = CellMatch.of(
        [AxisValues.of(axis) for axis in axes], observed_values(other, axes), folded_field=folded
    )
    matched = Matched.of(_at(own, thresholds), _at(other, thresholds), match)
    return compare(matched, before=EARLIER, after=run.name, is_edit=True)


def _at(seen: Observations, thresholds: Sequence[float]) -> Observations:
    """What was observed at some thresholds; at all of them for none."""
    if not thresholds:
        return seen
    return replace(seen, settings=[one for one in seen.settings if one.threshold in thresholds])


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A case of a run of which an answer is wanted that failed, or that passed."""

    labels: Mapping[str, Any]
    digests: Mapping[str, str | None]
    threshold: float | None
    case: str
    is_failing: bool

    @classmethod
    def after(cls, change: CaseChange) -> "Side":
        """The later run's side of a change."""
        return cls(
            labels=change.labels,
            digests=change.digests,
            threshold=change.threshold,
            case=change.case,
            is_failing=change.is_failing,
        )

    @classmethod
    def before(cls, change: CaseChange) -> "Side":
        """The earlier run's side of a change."""
        return cls(
            labels=change.labels_before,
            digests=change.digests_before,
            threshold=change.threshold,
            case=change.case,
            is_failing=not change.is_failing,
        )

    def is_in(self, cell: Cell) -> bool:
        """Whether a cell belongs to the setting."""
        return (
            cell.tests is not None
            and cell.threshold == self.threshold
            and all(cell.labels.get(name) == label for name, label in self.labels.items())
            and all(_digest(cell, name) == digest for name, digest in self.digests.items())
        )


def _digest(cell: Cell, name: str) -> str | None:
    content = cell.job.documents.get(name)
    return content and short_digest(content)


ReadAnswer = Callable[[int], Awaitable[bytes | None]]
"""Reads the answer of a job, given by its id."""


async def find_tests(
    sides: Sequence[Side],
    cells: AsyncIterator[Cell],
    read_answer: ReadAnswer,
    kind: JobKind,
) -> list[JudgedTest | None]:
    """For each side the first test that shows it, in the order of the repeats; None where there is none.

    The cells are read once, and only answers that may show one of the sides.
    """
    found: list[JudgedTest | None] = [None] * len(sides)
    wanted: dict[tuple[Any, ...], list[int]] = {}
    names = sorted({name for side in sides for name in side.labels})
    for number, side in enumerate(sides):
        key = (side.threshold, *(side.labels.get(name) for name in names))
        wanted.setdefault(key, []).append(number)
    async for cell in cells:
        numbers = wanted.get((cell.threshold, *(cell.labels.get(name) for name in names)), ())
        open_sides = [at for at in numbers if found[at] is None and sides[at].is_in(cell)]
        if not open_sides or (raw := await read_answer(cell.job.id)) is None:
            continue
        tests = list(_read_tests(kind, raw, cell))
        for at in open_sides:
            found[at] = _choose(tests, sides[at])
    return found


def _read_tests(kind: JobKind, raw: bytes, cell: Cell) -> list[JudgedTest]:
    """The first answers of a cell to its cases, judged at the cell's threshold."""
    labels = dict(cell.labels)
    if kind.folded_field is not None and cell.job.threshold is not None:
        labels[kind.folded_field] = cell.job.threshold
    tests = [one for one in kind.tests(raw, labels) if not one.layer]
    if cell.threshold is None:
        return tests
    return [
        one if one.score is None else replace(one, failed=one.score < cell.threshold)
        for one in tests
    ]


def _choose(tests: Sequence[JudgedTest], side: Side) -> JudgedTest | None:
    """The test of a case; where an axis has the cases, the answer has one test, whatever its name."""
    named = [one for one in tests if one.case == side.case] or (tests if len(tests) == 1 else [])
    return next((one for one in named if one.failed == side.is_failing), None)
