"""What was observed of a run: its settings with their tests by case, gathered in one pass over its cells."""

from bisect import bisect_right
from collections.abc import AsyncIterable, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import add
from typing import Self

from engine.core.axes import ArgumentAxis, CaseAxis, GroupAxis, RecordAxis
from engine.core.case_tallies import CaseKey, CaseTally, Rounds
from engine.core.conditions import Conditions
from engine.core.listed_tests import Round, read_round
from engine.core.matrix import MatrixAxis
from engine.core.samples import Sample, Setting
from engine.core.states import State
from engine.results.cells import Cell, RowRules, cells_of
from engine.results.identities import Identifier, Identity
from engine.store import JobRow


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFields:
    """Which axes of a sweep say what a case is.

    Functions and chat sweeps have their cases on axes, `named`; without an axis of cases, each combination
    of arguments is one. Other kinds name cases in their answers, and those names are unique within the axes of
    `scope`: their groups.
    """

    named: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()

    @classmethod
    def of(cls, axes: Sequence[MatrixAxis]) -> Self:
        """The fields of the axes of a sweep."""
        return cls(
            named=_fields(axes, CaseAxis, RecordAxis) or _fields(axes, ArgumentAxis),
            scope=_fields(axes, GroupAxis),
        )


def _fields(axes: Sequence[MatrixAxis], *kinds: type) -> tuple[str, ...]:
    return tuple(axis.field for axis in axes if isinstance(axis.axis, kinds))


def case_name(key: CaseKey) -> str:
    """The name of a case: that of the answers, or its label on the axes that have the cases."""
    last = key[-1]
    if isinstance(last, str):
        return last
    return ", ".join(str(part[0]) for part in key if isinstance(part, tuple))


@dataclass(kw_only=True)
class Observations:
    """The settings of a run in the order of its sweep, each with all of its repeats.

    Memory grows with their number, by some 300 bytes and 16 for each case.
    """

    axes: tuple[str, ...]
    """The fields of the axes but the threshold's, in the order of `Setting.labels`."""
    case_fields: CaseFields
    settings: list[Setting] = field(default_factory=list)
    past: int = 0
    """Cells that the sweep no longer asks for; nothing else counts them."""

    @property
    def thresholds(self) -> list[float | None]:
        """The thresholds of the settings, ascending; None alone if the evaluation has none."""
        found = {one.threshold for one in self.settings}
        return sorted(found, key=lambda one: -1.0 if one is None else one)

    def label(self, setting: Setting, axis: str) -> object:
        """The label of a setting on an axis."""
        return setting.labels[self.axes.index(axis)]

    def keys(self, by: Collection[str] = ()) -> Callable[[Setting], tuple[CaseKey, CaseKey | None]]:
        """A function that returns the scope and the case of a setting, as `Sample.add` takes them.

        Axes in `by` are compared, so they are not part of a case.
        """
        scope = [self.axes.index(name) for name in self.case_fields.scope]
        named = [self.axes.index(name) for name in self.case_fields.named if name not in by]

        def find(setting: Setting) -> tuple[CaseKey, CaseKey | None]:
            labels = setting.labels
            key = tuple([labels[at] for at in scope])
            if not named:
                return key, None
            return key, tuple([(labels[at], setting.digests[at]) for at in named])

        return find

    def tallies(self, setting: Setting) -> list[tuple[CaseKey, CaseTally]]:
        """The tests of a setting by case; none of answers that do not name their cases."""
        [(_, found)] = self.each_tallies([setting])
        return found

    def each_tallies(
        self, settings: Iterable[Setting], by: Collection[str] = ()
    ) -> Iterator[tuple[Setting, list[tuple[CaseKey, CaseTally]]]]:
        """Yield each setting with its tests by case, as in `tallies`; `by` is as for `keys`."""
        keys = self.keys(by)
        for setting in settings:
            yield setting, list(setting.tallies(*keys(setting)))

    def sample(self, settings: Collection[Setting], by: Collection[str] = ()) -> Sample:
        """The tests of these settings, by case; axes in `by` are not part of a case."""
        keys, found = self.keys(by), Sample()
        for setting in settings:
            found.add(setting, *keys(setting))
        return found

    def at(self, threshold: float | None) -> list[Setting]:
        """The settings at a threshold."""
        return [one for one in self.settings if one.threshold == threshold]


async def observe(
    cells: AsyncIterable[Cell], axes: Sequence[MatrixAxis], folded_field: str | None
) -> Observations:
    """Gather what was observed of a run from its cells.

    `axes` are those of its sweep, and `folded_field` is that of the threshold. Cells that the sweep no longer
    asks for are only counted, and outdated ones count as still to come.
    """
    observer = Observer(axes, RowRules(folded_field=folded_field))
    async for cell in cells:
        observer.add_cell(cell)
    return observer.observations()


async def observe_jobs(
    jobs: AsyncIterable[JobRow],
    rules: RowRules,
    axes: Sequence[MatrixAxis],
    wanted: Conditions | None = None,
) -> Observations:
    """Gather what was observed of a run from its jobs, as `observe` does; `wanted` selects cells."""
    observer = Observer(axes, rules)
    if wanted is None or not wanted.labels:
        async for job in jobs:
            observer.add(job, read_round_of(job, rules))
        return observer.observations()
    async for job in jobs:
        for cell in cells_of(job, rules):
            if wanted.select_labels(cell.labels):
                observer.add_cell(cell)
    return observer.observations()


def read_round_of(job: JobRow, rules: RowRules) -> Round | None:
    """The answer of a job if its cells can be told from it at once, which takes a tenth of the time; None if not.

    That is: an answer that counts at a threshold, with one test for each named case, and none unanswered.
    """
    if job.listing is None or job.scores is None or job.threshold is None:
        return None
    if job.is_asked is False or job.outdated or job.unanswered or rules.folded_field is None:
        return None
    found = read_round(job.listing)
    if found is None or len(found.scores) != (job.passed or 0) + (job.failed or 0):
        return None
    return found


class Observer:
    """Gathers what is observed of a run; `observations` returns it in the end.

    With `by`, only these axes and those that say what a case is tell settings apart: cells that differ in others
    are one. With `threshold`, only cells at that one are observed.
    """

    def __init__(
        self,
        axes: Sequence[MatrixAxis],
        rules: RowRules,
        *,
        by: Collection[str] | None = None,
        threshold: float | None = None,
    ) -> None:
        self._axes = axes
        self._rules = rules
        case_fields = CaseFields.of(axes)
        kept = None if by is None else {*by, *case_fields.named, *case_fields.scope}
        self._fields = tuple(
            axis.field
            for axis in axes
            if axis.field != rules.folded_field and (kept is None or axis.field in kept)
        )
        self._identifier = Identifier(self._fields, rules.names)
        self._threshold = threshold
        # The thresholds to observe of jobs with such cells: a run has few different ones.
        self._thresholds: dict[tuple[float, ...], tuple[float, ...]] = {}
        self._points: dict[Identity, _Point] = {}
        self._past = 0

    def observations(self) -> Observations:
        """What was observed; nothing can be added after that."""
        found = Observations(
            axes=self._fields,
            case_fields=CaseFields.of(self._axes),
            settings=[],
            past=self._past,
        )
        for identity in list(self._points):
            # Each is let go once it is settled: there may be a hundred thousand.
            point = self._points.pop(identity)
            point.settle()
            found.settings += point.settings.values()
        return found

    def add(self, job: JobRow, answer: Round | None) -> None:
        """Add the cells of a job, with its answer if `read_round_of` can read it; else the cells are read one by one."""
        if answer is None:
            for cell in cells_of(job, self._rules):
                self.add_cell(cell)
            return
        if (thresholds := self._thresholds.get(job.cells)) is None:
            wanted = job.cells if self._threshold is None else {self._threshold} & {*job.cells}
            thresholds = self._thresholds[job.cells] = tuple(sorted({*wanted}))
        if thresholds:
            point = self._find_point(self._identifier.find(job))
            point.add_round(answer, thresholds)
            if job.values:
                for threshold in thresholds:
                    point.at(threshold).add_values(job.values)

    def add_cell(self, cell: Cell) -> None:
        """Add a cell."""
        if self._threshold is not None and cell.threshold != self._threshold:
            return
        if cell.is_asked is False:
            self._past += 1
            return
        job = cell.job
        point = self._find_point(self._identifier.of_cell(cell.labels, job.documents))
        setting = point.at(cell.threshold)
        if cell.is_outdated or cell.tests is None:
            state = State.PENDING if cell.is_outdated else State(cell.state)
            setting.coverage.add(state, has_numbers=False)
            return
        setting.coverage.add(State(cell.state), has_numbers=True)
        setting.add(cell.tests)
        setting.add_values(job.values)

    def _find_point(self, identity: Identity) -> "_Point":
        if (point := self._points.get(identity)) is None:
            point = self._points[identity] = _Point(identity)
        return point


class _Point:
    """What is observed of a point of the matrix: its settings by threshold.

    Answers that ask the same cases once each are counted together before they are added to the settings: each of
    their scores for all thresholds at once.
    """

    __slots__ = (
        "_count",
        "_failed",
        "_identity",
        "_is_layered",
        "_names",
        "_thresholds",
        "settings",
    )

    def __init__(self, identity: Identity) -> None:
        self.settings: dict[float | None, Setting] = {}
        self._identity = identity
        self._names: tuple[str, ...] = ()
        self._thresholds: tuple[float, ...] = ()
        self._count = 0
        # For each case and threshold, the answers that failed there, but not at the threshold below.
        self._failed: list[int] = []
        self._is_layered = False

    def at(self, threshold: float | None) -> Setting:
        """The setting at a threshold."""
        if (setting := self.settings.get(threshold)) is None:
            labels, digests = self._identity
            setting = Setting(labels=labels, digests=digests, threshold=threshold)
            self.settings[threshold] = setting
        return setting

    def add_round(self, answer: Round, thresholds: tuple[float, ...]) -> None:
        """Add an answer with one test for each case; `thresholds` ascend."""
        names, scores, is_layered = answer
        width = len(thresholds)
        if names is not self._names or thresholds is not self._thresholds:
            self.settle()
            self._names, self._thresholds = names, thresholds
            self._failed = [0] * (len(names) * width)
        self._count += 1
        if is_layered:
            self._is_layered = True
        failed, first = self._failed, 0
        for score in scores:
            passed_at = bisect_right(thresholds, score)
            if passed_at < width:
                failed[first + passed_at] += 1
            first += width

    def settle(self) -> None:
        """Add the answers that were counted together to the settings."""
        if not self._count:
            return
        width = len(self._thresholds)
        failed: Sequence[int] = ()
        for at, threshold in enumerate(self._thresholds):
            failed_here = self._failed[at::width]
            failed = list(map(add, failed, failed_here)) if at else failed_here
            setting = self.at(threshold)
            setting.coverage.answered += self._count
            setting.is_layered = setting.is_layered or self._is_layered
            setting.add_rounds(Rounds(self._names, self._count, failed))
        self._count, self._is_layered = 0, False
