"""Which cell of one run is which cell of another: axes are matched by content, then by name."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeAlias

from engine.core.axes import CaseAxis, GroupAxis, RecordAxis, Scalar
from engine.core.canonical import digest
from engine.core.case_tallies import CaseKey, CaseTally
from engine.core.errors import UsageError
from engine.core.listing import join_first
from engine.core.matrix import MatrixAxis
from engine.core.rows import short_digest
from engine.core.samples import Setting
from engine.results.observations import Observations

ValueId: TypeAlias = Any
"""What identifies a value of an axis: its digest as rows have it, or its label on axes without digests."""
CellKey: TypeAlias = tuple[Any, ...]
_GROUP = "group"


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisValues:
    """The values of an axis in one run: their labels by what identifies them."""

    field: str
    labels: Mapping[ValueId, Scalar]
    is_large: bool = False
    """Whether its values are identified by digests."""
    has_cases: bool = False
    """Whether its values say which cases are asked, so that different ones have nothing to compare."""

    @classmethod
    def of(cls, axis: MatrixAxis) -> Self:
        """The values that a sweep has on an axis, with those of its included blocks."""
        return cls(
            field=axis.field,
            labels={
                short_digest(digest(value.content)) if axis.is_large else value.label: value.label
                for value in axis.values
            },
            is_large=axis.is_large,
            has_cases=axis.field == _GROUP
            or isinstance(axis.axis, CaseAxis | GroupAxis | RecordAxis),
        )


def observed_values(seen: Observations, axes: Sequence[MatrixAxis]) -> list[AxisValues]:
    """The values that were observed on the axes of a sweep, which it may not have any more."""
    found = []
    for axis in axes:
        if axis.field not in seen.axes:
            continue
        at = seen.axes.index(axis.field)
        known = AxisValues.of(axis)
        labels: dict[ValueId, Any] = {
            one.digests[at] if known.is_large else one.labels[at]: one.labels[at]
            for one in seen.settings
        }
        found.append(replace(known, labels=labels))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedValue:
    """A value of an axis whose counterpart in the other run is a different one."""

    field: str
    own: Scalar
    other: Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class CellMatch:
    """The keys of cells, which are equal for cells of two runs that ask the same."""

    fields: tuple[str, ...]
    large: frozenset[str]
    """The fields whose values are identified by digests."""
    counterparts: Mapping[str, Mapping[ValueId, ValueId]]
    """For each axis of both, the identity in the own run by that in the other."""
    changes: tuple[ChangedValue, ...] = ()
    ignored: tuple[str, ...] = ()
    """Axes that only one of the runs has, with one value."""

    @classmethod
    def of(
        cls,
        own: Sequence[AxisValues],
        other: Sequence[AxisValues],
        *,
        folded_field: str | None,
    ) -> Self:
        """Match the axes of two runs but for that of the threshold, which is never matched with another.

        Values with the same content are the same, whatever their names. Of the others those with the same name
        are matched, and on an axis with one value in each run these two: they are what is compared. Raises
        UsageError if only one run has an axis, and several values on it.
        """
        own = [axis for axis in own if axis.field != folded_field]
        others = {axis.field: axis for axis in other if axis.field != folded_field}
        fields, counterparts, changes = [], {}, []
        for axis in own:
            if (match := others.pop(axis.field, None)) is None:
                _check_single(axis, "the other run")
                continue
            fields.append(axis.field)
            pairs = _pair(axis, match)
            counterparts[axis.field] = {theirs: ours for ours, theirs in pairs}
            changes += [
                ChangedValue(field=axis.field, own=axis.labels[ours], other=match.labels[theirs])
                for ours, theirs in pairs
                if ours != theirs
            ]
        for axis in others.values():
            _check_single(axis, "this run")
        both = set(fields)
        ignored = tuple(one.field for one in (*own, *others.values()) if one.field not in both)
        return cls(
            fields=tuple(fields),
            large=frozenset(axis.field for axis in own if axis.is_large),
            counterparts=counterparts,
            changes=tuple(changes),
            ignored=ignored,
        )

    def own_key(self, seen: Observations, setting: Setting) -> CellKey:
        """The key of a setting of the own run."""
        return (*(self._identify(seen, setting, name) for name in self.fields), setting.threshold)

    def other_key(self, seen: Observations, setting: Setting) -> CellKey:
        """The key of a setting of the other run; equal to none of the own run if it has no counterpart."""
        parts = []
        for name in self.fields:
            theirs = self._identify(seen, setting, name)
            parts.append(self.counterparts[name].get(theirs, ("only there", theirs)))
        return (*parts, setting.threshold)

    def _identify(self, seen: Observations, setting: Setting, name: str) -> ValueId:
        at = seen.axes.index(name)
        return setting.digests[at] if name in self.large else setting.labels[at]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedCase:
    """A case that both runs have asked in the same setting, with its tests in each."""

    key: CaseKey
    own: CaseTally
    other: CaseTally


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """Two runs with their settings matched."""

    own: Observations
    other: Observations
    match: CellMatch
    pairs: tuple[tuple[Setting, Setting], ...]
    """The settings that both runs ask for, in the order of the own run."""
    only_own: tuple[Setting, ...]
    only_other: tuple[Setting, ...]

    @classmethod
    def of(cls, own: Observations, other: Observations, match: CellMatch) -> Self:
        """Match the settings of two runs."""
        theirs = {match.other_key(other, one): one for one in other.settings}
        pairs, only_own = [], []
        for one in own.settings:
            found = theirs.pop(match.own_key(own, one), None)
            if found is None:
                only_own.append(one)
            else:
                pairs.append((one, found))
        return cls(
            own=own,
            other=other,
            match=match,
            pairs=tuple(pairs),
            only_own=tuple(only_own),
            only_other=tuple(theirs.values()),
        )

    def answered(self) -> Iterator[tuple[Setting, Setting]]:
        """The pairs of settings of which both have an answer."""
        return ((one, other) for one, other in self.pairs if one.answers and other.answers)

    def shared_cases(self, one: Setting, other: Setting) -> Iterator[SharedCase]:
        """The cases that both settings of a pair have asked; none where the answers do not name them."""
        theirs = dict(self.other.tallies(other))
        # Where an axis has the cases, a setting has one: the same, though perhaps under another name.
        is_named = bool(self.own.case_fields.named)
        by_name = {None if is_named else key[-1]: tally for key, tally in theirs.items()}
        for key, tally in self.own.tallies(one):
            found = by_name.get(None if is_named else key[-1])
            if found is not None:
                yield SharedCase(key=key, own=tally, other=found)


def _check_single(axis: AxisValues, lacking: str) -> None:
    if len(axis.labels) > 1:
        raise UsageError(
            f"the runs cannot be compared: {lacking} has no axis {axis.field!r}, and the other has"
            f" {len(axis.labels):,} values on it ({join_first(list(map(str, axis.labels.values())))})"
        )


def _pair(own: AxisValues, other: AxisValues) -> list[tuple[ValueId, ValueId]]:
    pairs = [(one, one) for one in own.labels if one in other.labels]
    if own.has_cases:
        return pairs
    ours = _without(own.labels, (one for one, _ in pairs))
    theirs = _without(other.labels, (one for one, _ in pairs))
    by_label = {label: one for one, label in theirs.items()}
    named = [(one, by_label[label]) for one, label in ours.items() if label in by_label]
    if ours and not named and len(own.labels) == len(other.labels) == 1:
        named = list(zip(ours, theirs, strict=True))
    return pairs + named


def _without(labels: Mapping[ValueId, Scalar], taken: Iterable[ValueId]) -> dict[ValueId, Scalar]:
    gone: Collection[ValueId] = set(taken)
    return {one: label for one, label in labels.items() if one not in gone}
