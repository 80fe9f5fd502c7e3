"""Reading `include` and `exclude`, and resolving them to parts of a matrix."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any, TypeAlias

from engine.core.axes import (
    Axis,
    AxisValue,
    CaseAxis,
    DocumentAxis,
    IntegerAxis,
    NumberAxis,
    PromptAxis,
    Scalar,
)
from engine.core.canonical import canonical
from engine.core.errors import Problem
from engine.core.matrix import Matrix, MatrixAxis
from engine.core.nearest import suggestion
from engine.core.policy import Limits
from engine.documents.malformed import Malformed
from engine.documents.places import child_path
from engine.kinds import JobKind
from engine.sweep.scalars import scalar_value
from engine.sweep.values import ValueReader

CELLS_MAX = 10_000_000
RULES_MAX = 10_000
COMPARISONS_MAX = 5_000_000
_ADVICE_MAX = 100

AxisValues: TypeAlias = Mapping[str, tuple[AxisValue, ...]]
"""The values of axes by the axes' plural names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The sweep's `include` and `exclude`, parsed; `excluded` has names, patterns of names, and numbers."""

    included: tuple[AxisValues, ...] = ()
    excluded: tuple[Mapping[str, tuple[Scalar, ...]], ...] = ()


def read_rules(
    include: Sequence[Mapping[str, Any]],
    exclude: Sequence[Mapping[str, Any]],
    axes: Sequence[Axis],
    own: AxisValues,
    reader: ValueReader,
) -> Rules:
    """Parse the two lists, with all checks that do not need the matrix."""
    by_name = {axis.name: axis for axis in axes}
    named = {name: {value.label: value for value in values} for name, values in own.items()}
    included: list[AxisValues] = []
    excluded: list[Mapping[str, tuple[Scalar, ...]]] = []
    for place, rule in enumerate(_within_limit(include, "include", reader)):
        path = f"include[{place}]"
        included.append(
            {
                name: _read_included(
                    by_name[name], items, named.get(name, {}), f"{path}.{name}", reader
                )
                for name, items in _items(rule, by_name, path, reader)
            }
        )
    for place, rule in enumerate(_within_limit(exclude, "exclude", reader)):
        path = f"exclude[{place}]"
        excluded.append(
            {
                name: _read_patterns(by_name[name], items, f"{path}.{name}", reader)
                for name, items in _items(rule, by_name, path, reader)
            }
        )
    return Rules(included=tuple(included), excluded=tuple(excluded))


@dataclass(slots=True)
class Resolved:
    """A matrix to which the rules were applied, with their problems and warnings."""

    matrix: Matrix
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    comparisons: int = 0
    """Comparisons of patterns with names so far."""


def warnings_of(kind: JobKind, found: Resolved, limits: Limits) -> tuple[Problem, ...]:
    """Warnings about a sweep's rules and limits, and those of its kind about labels.

    They name what is valid but has no effect, such as a limit whose pattern matches no model.
    """
    labels = {
        axis.axis.name: tuple(value.label for value in axis.values) for axis in found.matrix.axes
    }
    return (
        *found.warnings,
        *_idle_limits(kind, found, limits),
        *(Problem("", message) for message in kind.warnings(labels)),
    )


def _idle_limits(kind: JobKind, found: Resolved, limits: Limits) -> Iterator[Problem]:
    """Limits whose pattern matches no model of the sweep, so that they limit nothing."""
    models = [axis.values for axis in found.matrix.axes if axis.axis.field == "model"]
    if kind.lane_field != "model" or not models:
        return
    names = [str(value.label) for value in models[0]]
    if len(names) * len(limits.models) > COMPARISONS_MAX:
        return
    for pattern, _ in limits.models:
        if pattern not in names and not any(fnmatchcase(name, pattern) for name in names):
            yield Problem(
                child_path("limits.models", pattern),
                f"matches no model and limits nothing{suggestion(pattern, names)}",
            )


def resolve(
    axes: Sequence[Axis],
    own: AxisValues,
    rules: Rules,
    *,
    repeats: int,
    folded_field: str | None,
    unresolved: frozenset[str] = frozenset(),
) -> Resolved:
    """Make the matrix from the axes' own values and the rules.

    `unresolved` names axes whose values are unknown, so that names in rules are not checked.
    """
    tables = {axis.name: _Table(axis, own[axis.name]) for axis in axes}
    found = Resolved(Matrix(axes=()))
    included = []
    for place, rule in enumerate(rules.included):
        block: dict[str, frozenset[int]] = {}
        for name, values in rule.items():
            places, problems = tables[name].add(values, f"include[{place}].{name}")
            block[tables[name].axis.field] = places
            found.problems += problems
        included.append(block)
    excluded = []
    for place, patterns in enumerate(rules.excluded):
        block = {}
        for name, chosen in patterns.items():
            path = f"exclude[{place}].{name}"
            block[tables[name].axis.field] = tables[name].find_matching(
                chosen, path, found, checked=name not in unresolved
            )
        excluded.append(block)
    matrix = Matrix(
        axes=tuple(table.matrix_axis() for table in tables.values()),
        repeats=repeats,
        folded_field=folded_field if any(a.field == folded_field for a in axes) else None,
        excluded=tuple(block for block in excluded if all(block.values())),
        included=tuple(included),
    )
    if matrix.size > CELLS_MAX:
        size = f"{matrix.size:,} cells, more than {CELLS_MAX:,}"
        found.problems.append(Problem("matrix", f"has {size}: make several sweeps of it"))
    found.matrix = matrix
    return found


class _Table:
    """The values of one axis: its own, then those that `include` adds."""

    def __init__(self, axis: Axis, own: tuple[AxisValue, ...]) -> None:
        self.axis = axis
        self._values = list(own)
        self._own = len(own)
        self._by_label = {value.label: place for place, value in enumerate(own)}
        self._by_content = {canonical(value.content): place for place, value in enumerate(own)}

    def matrix_axis(self) -> MatrixAxis:
        return MatrixAxis(axis=self.axis, values=tuple(self._values), own=self._own)

    def add(self, values: Iterable[AxisValue], path: str) -> tuple[frozenset[int], list[Problem]]:
        """Add included values that the axis does not have yet; returns the numbers of all of them."""
        places: set[int] = set()
        problems: list[Problem] = []
        for value in values:
            place = self._by_content.get(canonical(value.content))
            named = self._by_label.get(value.label)
            if place is None and named is None:
                place = len(self._values)
                self._values.append(value)
                self._by_label[value.label] = place
                self._by_content[canonical(value.content)] = place
            elif place is None or place != named:
                what = "another text" if place is None else "another name"
                problems.append(
                    Problem(path, f"{self.axis.field} {value.label} is in the sweep with {what}")
                )
                continue
            places.add(place)
        return frozenset(places), problems

    def find_matching(
        self, chosen: Iterable[Scalar], path: str, found: Resolved, *, checked: bool
    ) -> frozenset[int]:
        """The numbers of the matrix' own values that names and patterns match."""
        places: set[int] = set()
        for one in chosen:
            exact = self._by_label.get(one)
            if exact is not None and exact < self._own:
                places.add(exact)
            elif isinstance(one, str) and _is_pattern(one):
                found.comparisons += self._own
                if found.comparisons > COMPARISONS_MAX:
                    problem = "has more patterns than can be compared with so many values"
                    found.problems.append(Problem(path.partition("[")[0], problem))
                    return frozenset()
                fits = {
                    place
                    for place, value in enumerate(self._values[: self._own])
                    if fnmatchcase(str(value.label), one)
                }
                if not fits and checked:
                    found.warnings.append(Problem(path, f"{one} matches none of {self.axis.name}"))
                places |= fits
            elif checked:
                known = (str(value.label) for value in islice(self._values, self._own))
                advice = suggestion(str(one), known) if len(found.problems) < _ADVICE_MAX else ""
                found.problems.append(Problem(path, f"{one} is none of {self.axis.name}{advice}"))
        return frozenset(places)


def _within_limit(
    rules: Sequence[Mapping[str, Any]], path: str, reader: ValueReader
) -> Sequence[Mapping[str, Any]]:
    if len(rules) <= RULES_MAX:
        return rules
    reader.refuse(path, f"has more than {RULES_MAX:,} entries")
    return ()


def _items(
    rule: Mapping[str, Any], axes: Mapping[str, Axis], path: str, reader: ValueReader
) -> Iterable[tuple[str, list[tuple[str, Any]]]]:
    """The axes of a rule, each with its items and their paths."""
    if not rule:
        reader.refuse(path, "names no axis")
    for name, written in rule.items():
        if name not in axes:
            message = f"unknown axis{suggestion(name, axes)}"
            reader.refuse(child_path(path, name), message, is_of_key=True)
        elif written == [] or written is None:
            reader.refuse(f"{path}.{name}", "is empty: give it a value, or leave it out")
        elif isinstance(written, list):
            yield name, [(f"{path}.{name}[{at}]", item) for at, item in enumerate(written)]
        else:
            yield name, [(f"{path}.{name}", written)]


def _read_included(
    axis: Axis,
    items: Iterable[tuple[str, Any]],
    by_label: Mapping[Scalar, AxisValue],
    path: str,
    reader: ValueReader,
) -> tuple[AxisValue, ...]:
    located = []
    for where, item in items:
        is_named = isinstance(axis, PromptAxis | DocumentAxis | CaseAxis)
        if not is_named or not isinstance(item, str):
            located += reader.item(axis, item, where)
        elif item in by_label:
            located.append((where, by_label[item]))
        else:
            names = (str(name) for name in by_label)
            reader.refuse(where, f"{item} is none of matrix.{axis.name}{suggestion(item, names)}")
    return reader.check_distinct(axis, located)


def _read_patterns(
    axis: Axis, items: Iterable[tuple[str, Any]], path: str, reader: ValueReader
) -> tuple[Scalar, ...]:
    found: list[Scalar] = []
    for where, item in items:
        if isinstance(axis, NumberAxis | IntegerAxis):
            try:
                label = scalar_value(axis, item).label
            except Malformed as error:
                reader.refuse(where, str(error))
                continue
            found.append(label)
        elif isinstance(item, str) and item:
            found.append(item)
        else:
            reader.refuse(where, f"must be the name of a {axis.field}, or a pattern of names")
    return tuple(found)


def _is_pattern(text: str) -> bool:
    return any(character in text for character in "*?[")
