"""The matrix of a sweep, and the jobs that answer its cells."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from engine.core.axes import Scalar
from engine.core.canonical import canonical, digest
from engine.core.combinations import (
    Block,
    Changed,
    Combination,
    Combinations,
    MatrixAxis,
    blocks,
)
from engine.core.money import CallSize
from engine.core.quota import Cost

__all__ = ["Block", "Fold", "JobCount", "JobRules", "JobSpec", "Matrix", "MatrixAxis"]

Fold: TypeAlias = Literal["exact", "always", "never"]


class JobRules(Protocol):
    """The part of a job kind that the expansion of a matrix needs."""

    def lane(self, labels: Mapping[str, Any]) -> str: ...

    def cost_class(self, labels: Mapping[str, Any]) -> str: ...

    def expected_tests(self, labels: Mapping[str, Any]) -> int | None: ...

    def requests(self, labels: Mapping[str, Any]) -> int: ...

    def calls(self, labels: Mapping[str, Any]) -> Mapping[str, int]: ...

    def call_sizes(self, parameters: Mapping[str, Any]) -> Sequence[CallSize]: ...

    def questions(self, labels: Mapping[str, Any]) -> int: ...

    def folds_exactly(self, labels: Mapping[str, Any]) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """One job of a sweep. Its mappings may be shared between jobs, so do not change them.

    `key` (32 bytes) identifies what is asked, by content; `family` does so without the threshold, and
    is None if the evaluation has none. `labels` is what rows show; `documents` has the digests of
    prompts and documents. `place` grows in the order of the file. `cells` are the thresholds that the
    job answers, ascending; the last one is its own.
    """

    key: bytes
    family: bytes | None
    lane: str
    cost_class: str
    labels: Mapping[str, Scalar]
    documents: Mapping[str, str]
    repeat: int
    place: int
    cells: tuple[float, ...]
    expected_tests: int | None


class JobCount(NamedTuple):
    """Jobs that differ only in their repeat, for planning.

    `expected_tests` and `calls` are per job. The tests are `learnt` if they come from earlier
    answers, not from the kind.
    """

    lane: str
    jobs: int
    cells: int
    requests: int
    expected_tests: int | None
    learnt: bool = False
    calls: Mapping[str, int] = MappingProxyType({})
    questions: int = 0
    """Questions for a model in this process, which are no requests."""
    most_tests: int | None = None
    """The most that each may cost; None if unknown."""


class _Job(NamedTuple):
    labels: Mapping[str, Any]
    fragment: bytes
    cells: tuple[float, ...]
    place: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Axes in the order of the kind, values in the order of the file, repeats counted from 1.

    Excluded blocks are removed from the product of the axes' own values; then included ones are
    added. A cell exists once, however often it is requested. An included block has all own values
    of each axis that it does not name.
    """

    axes: tuple[MatrixAxis, ...]
    repeats: int = 1
    folded_field: str | None = None
    excluded: tuple[Block, ...] = ()
    included: tuple[Block, ...] = ()

    @property
    def size(self) -> int:
        """The number of cells before exclusion; a cell that is requested twice counts twice."""
        return self.repeats * sum(
            prod(len(places) for places in block) for block in blocks(self.axes, self.included)
        )

    def is_empty(self) -> bool:
        """Whether no cell is left."""
        return next(self._combinations(with_keys=False).find(), None) is None

    def documents(self) -> dict[str, Any]:
        """The contents of large axes by digest."""
        return {
            digest(value.content): value.content
            for axis in self.axes
            if axis.is_large
            for value in axis.values
        }

    def samples(self) -> Iterator[dict[str, Any]]:
        """The labels of combinations that differ from the first one in one value, for each value."""
        first = {axis.field: axis.values[0].label for axis in self.axes}
        for axis in self.axes:
            for value in axis.values:
                yield {**first, axis.field: value.label}

    @property
    def highest_threshold(self) -> float | None:
        """The highest own threshold that is not excluded everywhere; None without thresholds."""
        for axis in self.axes:
            if axis.field == self.folded_field:
                gone = frozenset[int]().union(
                    *(block[axis.field] for block in self.excluded if set(block) == {axis.field})
                )
                kept = [value for place, value in enumerate(axis.values) if place not in gone]
                own = [
                    value
                    for place, value in enumerate(axis.values[: axis.own])
                    if place not in gone
                ]
                return max((float(value.label) for value in own or kept), default=None)
        return None

    def fingerprint(self) -> Any:
        """A JSON value that is equal for matrices with the same cells in the same order."""
        spelt = {
            axis.field: [axis.fragment(value).hex() for value in axis.values] for axis in self.axes
        }
        values = {
            axis.field: [
                [spelling, value.label, place < axis.own]
                for place, (spelling, value) in enumerate(
                    zip(spelt[axis.field], axis.values, strict=True)
                )
            ]
            for axis in self.axes
        }
        return [
            values,
            self.repeats,
            sorted(_spell(self.excluded, spelt), key=canonical),
            _spell(self.included, spelt),
        ]

    def jobs(
        self,
        rules: JobRules,
        *,
        fold: Fold,
        identity: Any,
        changed: Changed | None = None,
        repeats: int = 0,
    ) -> Iterator[JobSpec]:
        """Make the jobs one by one: all of the first repeat, in the order of the file, then the second.

        `identity` (a JSON value) is everything else that decides an answer. With `changed`, the first
        `repeats` yield only jobs with one of these values, in any order.
        """
        job_start = sha256(canonical(["job", identity])).digest()
        family_start = sha256(canonical(["family", identity])).digest()
        combinations = self._combinations(with_keys=True)
        for number in range(1, self.repeats + 1):
            suffix = number.to_bytes(4, "big")
            only = changed if number <= repeats else None
            for combination in combinations.find(only):
                family_base = family_start + combination.fragments
                job_base = job_start + combination.fragments
                for labels, fragment, cells, place in _jobs(
                    combination, self.folded_field, rules, fold
                ):
                    yield JobSpec(
                        key=sha256(job_base + fragment + suffix).digest(),
                        family=sha256(family_base + suffix).digest() if cells else None,
                        lane=rules.lane(labels),
                        cost_class=rules.cost_class(labels),
                        labels={**labels, "repeat": number},
                        documents=combination.documents,
                        repeat=number,
                        place=combination.place + place,
                        cells=cells,
                        expected_tests=rules.expected_tests(labels),
                    )

    def counts(
        self, rules: JobRules, *, fold: Fold, costs: Mapping[str, Cost] | None = None
    ) -> Iterator[JobCount]:
        """Count the jobs that `jobs` would make, without computing keys.

        `costs` are the costs of earlier answers by cost class, for kinds that cannot tell theirs.
        """
        repeats = self.repeats
        for combination in self._combinations(with_keys=False).find():
            for labels, _, cells, _ in _jobs(combination, self.folded_field, rules, fold):
                count = len(cells) or 1
                yield _count(rules, labels, cells=count, repeats=repeats, costs=costs)

    def count(
        self, rules: JobRules, spec: JobSpec, cells: int, *, costs: Mapping[str, Cost] | None = None
    ) -> JobCount:
        """Count one job with `cells` of its cells, as `counts` does, such as the cells of it that are not answered."""
        labels = {field: value for field, value in spec.labels.items() if field != "repeat"}
        return _count(rules, labels, cells=cells, repeats=1, costs=costs)

    def call_sizes(self, rules: JobRules, *, fold: Fold) -> Iterator[CallSize]:
        """The sizes of all jobs' calls; none if the kind knows none for the first job."""
        contents = {
            axis.field: {value.label: value.content for value in axis.values}
            for axis in self.axes
            if axis.is_large
        }
        for combination in self._combinations(with_keys=False).find():
            for labels, _, _, _ in _jobs(combination, self.folded_field, rules, fold):
                texts = {field: values[labels[field]] for field, values in contents.items()}
                sizes = rules.call_sizes({**labels, **texts})
                if not sizes:
                    return
                for _ in range(self.repeats):
                    yield from sizes

    def _combinations(self, *, with_keys: bool) -> Combinations:
        return Combinations(
            self.axes,
            folded_field=self.folded_field,
            excluded=self.excluded,
            included=self.included,
            with_keys=with_keys,
        )


def _count(
    rules: JobRules,
    labels: Mapping[str, Any],
    *,
    cells: int,
    repeats: int,
    costs: Mapping[str, Cost] | None,
) -> JobCount:
    expected = rules.expected_tests(labels)
    learnt = costs.get(rules.cost_class(labels)) if costs and expected is None else None
    return JobCount(
        rules.lane(labels),
        repeats,
        repeats * cells,
        repeats * rules.requests(labels),
        expected if learnt is None else learnt.tests,
        learnt is not None,
        rules.calls(labels),
        repeats * rules.questions(labels),
        learnt.most if learnt is not None and learnt.is_bounded else expected,
    )


def _jobs(
    combination: Combination, folded_field: str | None, rules: JobRules, fold: Fold
) -> Iterable[_Job]:
    """The jobs of a combination: one at the highest threshold if that answers all, else one for each."""
    labels, thresholds = combination.labels, combination.thresholds
    if thresholds is None:
        return (_Job(labels, b"", ()),)
    assert folded_field is not None, "there are thresholds"
    if fold != "never" and len(thresholds.each) > 1:
        value, fragment, _ = thresholds.highest
        at_highest = {**labels, folded_field: value}
        if fold == "always" or rules.folds_exactly(at_highest):
            return (_Job(at_highest, fragment, thresholds.ascending),)
    return [
        _Job({**labels, folded_field: value}, fragment, (value,), place)
        for value, fragment, place in thresholds.each
    ]


def _spell(chosen: Iterable[Block], spelt: Mapping[str, list[str]]) -> list[Any]:
    return [
        {field: sorted(spelt[field][place] for place in places) for field, places in block.items()}
        for block in chosen
    ]
