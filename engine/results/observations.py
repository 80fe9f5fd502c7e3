"""What was observed of a run: its settings with their tests by case, gathered in one pass over its cells."""

from collections.abc import (
    AsyncIterable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Self, TypeAlias

from engine.core.axes import ArgumentAxis, CaseAxis, GroupAxis, RecordAxis
from engine.core.conditions import Conditions
from engine.core.listed_tests import is_of_layers, read_rounds
from engine.core.matrix import MatrixAxis
from engine.core.model import count_failed
from engine.core.rows import short_digest
from engine.core.samples import CaseKey, CaseTally, Sample, Setting
from engine.core.states import State
from engine.results.cells import Cell, RowRules, cells_of, current_labels
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


_Identity: TypeAlias = tuple[tuple[Any, ...], tuple[str | None, ...]]
"""The labels of a setting and the digests of their contents, as rows have them."""
_IDENTITIES = 4_096


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
            key = tuple(setting.labels[at] for at in scope)
            if not named:
                return key, None
            return key, tuple((setting.labels[at], setting.digests[at]) for at in named)

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
            scope, case = keys(setting)
            if case is None:
                yield setting, [((*scope, name), tally) for name, tally in setting.cases]
            else:
                yield setting, [(case, setting.tally)] if setting.answers else []

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
    observer = Observer(axes, folded_field)
    async for cell in cells:
        observer.add_cell(cell)
    return observer.seen


async def observe_jobs(
    jobs: AsyncIterable[JobRow],
    rules: RowRules,
    axes: Sequence[MatrixAxis],
    wanted: Conditions | None = None,
) -> Observations:
    """Gather what was observed of a run from its jobs, as `observe` does; `wanted` selects cells."""
    observer = Observer(axes, rules.folded_field)
    if wanted is None or not wanted.labels:
        async for job in jobs:
            observer.add(job, rules)
        return observer.seen
    async for job in jobs:
        for cell in cells_of(job, rules):
            if wanted.select_labels(cell.labels):
                observer.add_cell(cell)
    return observer.seen


class Observer:
    """Gathers what is observed of a run; `seen` has it in the end.

    With `by`, only these axes and those that say what a case is tell settings apart: cells that differ in others
    are one. With `threshold`, only cells at that one are observed.
    """

    def __init__(
        self,
        axes: Sequence[MatrixAxis],
        folded_field: str | None,
        *,
        by: Collection[str] | None = None,
        threshold: float | None = None,
    ) -> None:
        case_fields = CaseFields.of(axes)
        kept = None if by is None else {*by, *case_fields.named, *case_fields.scope}
        self._fields = tuple(
            axis.field
            for axis in axes
            if axis.field != folded_field and (kept is None or axis.field in kept)
        )
        self._threshold = threshold
        self._settings: dict[tuple[_Identity, float | None], Setting] = {}
        self._identities: dict[int, _Identity] = {}
        self._axes = axes
        self._past = 0

    @property
    def seen(self) -> Observations:
        """What was observed."""
        return Observations(
            axes=self._fields,
            case_fields=CaseFields.of(self._axes),
            settings=list(self._settings.values()),
            past=self._past,
        )

    def add(self, job: JobRow, rules: RowRules) -> None:
        """Add the cells of a job."""
        if not self._add_rounds(job, rules):
            for cell in cells_of(job, rules):
                self.add_cell(cell)

    def add_cell(self, cell: Cell) -> None:
        """Add a cell."""
        if self._threshold is not None and cell.threshold != self._threshold:
            return
        if cell.is_asked is False:
            self._past += 1
            return
        job = cell.job
        if (identity := self._identities.get(job.id)) is None:
            # The cells of a job may come with those of others between them.
            if len(self._identities) > _IDENTITIES:
                self._identities.clear()
            identity = self._identities[job.id] = self._identify(cell.labels, job.documents)
        setting = self._find_setting(identity, cell.threshold)
        if cell.is_outdated or cell.tests is None:
            state = State.PENDING if cell.is_outdated else State(cell.state)
            setting.coverage.add(state, has_numbers=False)
            return
        setting.coverage.add(State(cell.state), has_numbers=True)
        setting.add(cell.tests)
        setting.add_values(job.values)

    def _add_rounds(self, job: JobRow, rules: RowRules) -> bool:
        """Add all cells of a job at once, if its answer is of the usual sort; returns whether it was.

        That is: of a threshold, with one test for each named case, and none without an answer. It gives what
        `add_cell` gives for each of its cells, in a third of the time.
        """
        if job.listing is None or job.scores is None or job.threshold is None:
            return False
        if job.is_asked is False or job.outdated or job.unanswered or rules.folded_field is None:
            return False
        found = read_rounds(job.listing)
        if found is None or len(found[1]) != (job.passed or 0) + (job.failed or 0):
            return False
        names, scores = found
        is_layered = is_of_layers(job.listing)
        identity = self._identify(current_labels(job, rules.names), job.documents)
        for threshold in job.cells:
            if self._threshold is not None and threshold != self._threshold:
                continue
            setting = self._find_setting(identity, threshold)
            setting.coverage.answered += 1
            setting.is_layered = setting.is_layered or is_layered
            setting.add_round(names, scores, threshold, count_failed(job.scores, threshold))
            if job.values:
                setting.add_values(job.values)
        return True

    def _identify(self, labels: Mapping[str, Any], documents: Mapping[str, str]) -> _Identity:
        """What tells the setting of a job from others, but for the threshold."""
        return (
            tuple([labels.get(name) for name in self._fields]),
            tuple([_short(documents.get(name)) for name in self._fields]),
        )

    def _find_setting(self, identity: _Identity, threshold: float | None) -> Setting:
        key = (identity, threshold)
        if (setting := self._settings.get(key)) is None:
            labels, digests = identity
            setting = self._settings[key] = Setting(
                labels=labels, digests=digests, threshold=threshold
            )
        return setting


@lru_cache(65_536)
def _short(content: str | None) -> str | None:
    return None if content is None else short_digest(content)
