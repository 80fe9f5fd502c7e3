"""The order of a matrix's values over several edits, and the jobs that an edit adds and removes.

A job's place is composed of the ranks of its values. A value keeps its rank while it stays in the sweep
in the same order; added values get ranks between those of their neighbours. So an edit moves no other
job, and what it adds and removes follows from the two layouts, independent of the number of jobs.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Self

from engine.core.canonical import canonical
from engine.core.combinations import (
    PLACE_BITS,
    Block,
    Changed,
    MatrixAxis,
    bits_with_room,
    rank_shifts,
)
from engine.core.matrix import Matrix

_MOST_LEFT = 10_000
"""Values in one statement; if more are removed or changed, all jobs are compared."""
_SPACINGS = (32, 16, 8, 4, 2)
"""Distances between the ranks of a new matrix; the widest that fits is used."""


@dataclass(frozen=True, slots=True)
class _Value:
    label: Any
    is_own: bool
    rank: int


@dataclass(frozen=True, slots=True)
class _Axis:
    values: Mapping[str, _Value]
    """By the value's digest in job keys, in the order of the file."""
    bits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A matrix as a store keeps it, with the jobs that were made from it."""

    axes: Mapping[str, _Axis]
    repeats: int
    excluded: Sequence[Mapping[str, Sequence[str]]]
    included: Sequence[Mapping[str, Sequence[str]]]
    rules: Any
    """Everything else that decides which jobs the matrix has, as a JSON value."""

    def dump(self) -> dict[str, Any]:
        """Convert to a JSON value."""
        return {
            "axes": {
                field: [
                    axis.bits,
                    [[name, one.label, one.is_own, one.rank] for name, one in axis.values.items()],
                ]
                for field, axis in self.axes.items()
            },
            "repeats": self.repeats,
            "excluded": self.excluded,
            "included": self.included,
            "rules": self.rules,
        }

    @classmethod
    def restore(cls, dump: Mapping[str, Any]) -> Self:
        """Restore a layout from what `dump` returned, after it was stored as JSON."""
        axes = {
            field: _Axis({name: _Value(*one) for name, *one in values}, bits)
            for field, (bits, values) in dump["axes"].items()
        }
        return cls(**{**dump, "axes": axes})


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """The differences between a matrix and its predecessor."""

    changed: Changed
    """The numbers of new or changed values, by their axes' fields."""
    repeats: int
    """Repeats that existed before; every job of later ones is new."""
    left: Sequence[tuple[int, int, frozenset[int]]]
    """Removed or changed values: the lowest bit, the number of bits and the ranks in a job's place."""
    repeats_left: int | None
    """The last repeat that is still requested, if there were more; else None."""


def assign_ranks(matrix: Matrix, before: Layout | None, *, is_new: bool) -> Matrix:
    """Give the values of a matrix their ranks of `before`, and new values ranks in between.

    If there is no room between two ranks, all values get new ones. `is_new` says that there are no
    jobs yet whose places would change.
    """
    if before is not None and set(before.axes) == {axis.field for axis in matrix.axes}:
        kept = [
            _keep_ranks(axis, before.axes[axis.field], matrix.folded_field) for axis in matrix.axes
        ]
        if (found := _fit(matrix, kept)) is not None:
            return found
    if before is not None or is_new:
        for spacing in _SPACINGS:
            spaced = [_space_out(axis, spacing, matrix.folded_field) for axis in matrix.axes]
            if (found := _fit(matrix, spaced)) is not None:
                return found
    return matrix


def layout_of(matrix: Matrix, rules: Any) -> Layout | None:
    """The layout of a matrix; None if places have too few bits to identify its values."""
    names = {
        axis.field: [axis.fragment(value).hex() for value in axis.values] for axis in matrix.axes
    }
    if any(len(set(of_axis)) < len(of_axis) for of_axis in names.values()):
        return None
    axes = {}
    for axis in matrix.axes:
        count = len(axis.values)
        described = zip(names[axis.field], axis.values, axis.ranks or range(count), strict=True)
        values = {
            name: _Value(value.label, number < axis.own, rank)
            for number, (name, value, rank) in enumerate(described)
        }
        axes[axis.field] = _Axis(values, axis.rank_bits or bits_with_room(count))
    if sum(axis.bits for axis in axes.values()) + _block_bits(matrix) > PLACE_BITS:
        return None
    return Layout(
        axes=axes,
        repeats=matrix.repeats,
        excluded=_by_names(matrix.excluded, names),
        included=_by_names(matrix.included, names),
        rules=rules,
    )


def edit_of(matrix: Matrix, before: Layout, now: Layout) -> Edit | None:
    """What is new, changed and removed in `now`, the layout of `matrix`; None if that is not decidable.

    It is not decidable if rules or thresholds differ for values of both, because these decide which
    jobs fold and which are excluded.
    """
    if not _is_alike(before, now, matrix.folded_field):
        return None
    shifts, _ = rank_shifts(
        matrix.axes, blocks=len(matrix.included) + 1, folded_field=matrix.folded_field
    )
    changed, left = {}, []
    for field, axis in now.axes.items():
        old = before.axes[field]
        otherwise = {name for name, one in axis.values.items() if old.values.get(name) != one}
        if otherwise:
            changed[field] = frozenset(
                number for number, name in enumerate(axis.values) if name in otherwise
            )
        ranks = frozenset(
            one.rank for name, one in old.values.items() if axis.values.get(name) != one
        )
        if ranks:
            left.append((shifts[field], axis.bits, ranks))
    if sum(len(ranks) for _, _, ranks in left) > _MOST_LEFT:
        return None
    return Edit(
        changed=changed,
        repeats=min(before.repeats, now.repeats),
        left=left,
        repeats_left=now.repeats if now.repeats < before.repeats else None,
    )


def _is_alike(before: Layout, now: Layout, folded_field: str | None) -> bool:
    """Whether the values that two layouts share make the same jobs in the same places."""
    if list(before.axes) != list(now.axes) or before.rules != now.rules:
        return False
    if folded_field is not None and before.axes.get(folded_field) != now.axes.get(folded_field):
        return False
    for field, axis in now.axes.items():
        old = before.axes[field]
        if old.bits != axis.bits or any(
            one.is_own is not axis.values[name].is_own
            for name, one in old.values.items()
            if name in axis.values
        ):
            return False
    kept = {field: before.axes[field].values.keys() & now.axes[field].values for field in now.axes}
    return _restrict_excluded(before, kept) == _restrict_excluded(now, kept) and _restrict_included(
        before, kept
    ) == (_restrict_included(now, kept))


def _restrict_excluded(layout: Layout, kept: Mapping[str, Set[str]]) -> list[bytes]:
    """The excluded blocks, restricted to kept values, in an order that does not depend on the file."""
    found = [_restrict(block, kept) for block in layout.excluded]
    return sorted(canonical(block) for block in found if block is not None)


def _restrict_included(layout: Layout, kept: Mapping[str, Set[str]]) -> list[object]:
    """The included blocks, restricted to kept values; their order counts, and empty ones at the end do not."""
    found: list[object] = [_restrict(block, kept) for block in layout.included]
    while found and found[-1] is None:
        found.pop()
    return found


def _restrict(
    block: Mapping[str, Sequence[str]], kept: Mapping[str, Set[str]]
) -> dict[str, list[str]] | None:
    found = {
        field: [name for name in names if name in kept[field]] for field, names in block.items()
    }
    return found if all(found.values()) else None


def _by_names(
    blocks: Sequence[Block], names: Mapping[str, Sequence[str]]
) -> list[dict[str, list[str]]]:
    return [
        {field: sorted(names[field][place] for place in places) for field, places in block.items()}
        for block in blocks
    ]


def _block_bits(matrix: Matrix) -> int:
    return bits_with_room(len(matrix.included) + 1)


def _fit(matrix: Matrix, axes: Sequence[MatrixAxis | None]) -> Matrix | None:
    """The matrix with these axes; None if one lacks room or their ranks need more bits than a place has."""
    found = [axis for axis in axes if axis is not None]
    bits = sum(axis.rank_bits or bits_with_room(len(axis.values)) for axis in found)
    if len(found) < len(axes) or bits + _block_bits(matrix) > PLACE_BITS:
        return None
    return replace(matrix, axes=tuple(found))


def _space_out(axis: MatrixAxis, spacing: int, folded_field: str | None) -> MatrixAxis:
    """The axis with ranks that leave room before, between and after its values."""
    if axis.field == folded_field:
        return axis
    count = len(axis.values)
    bits = (count * spacing).bit_length() + 2
    first = 1 << (bits - 2)
    ranks = range(first, first + count * spacing, spacing)
    return replace(axis, ranks=tuple(ranks), rank_bits=bits)


def _keep_ranks(axis: MatrixAxis, before: _Axis, folded_field: str | None) -> MatrixAxis | None:
    """The axis with its old ranks, as far as the order allows; None if there is no room for new ones."""
    if axis.field == folded_field:
        return axis
    names = [axis.fragment(value).hex() for value in axis.values]
    known = [before.values[name].rank if name in before.values else None for name in names]
    ranks = _fill_gaps(_longest_ascending(known), 1 << before.bits)
    return None if ranks is None else replace(axis, ranks=tuple(ranks), rank_bits=before.bits)


def _longest_ascending(ranks: Sequence[int | None]) -> list[int | None]:
    """The ranks of a longest ascending subsequence, with None in place of all others."""
    lowest: list[int] = []  # For each length, the lowest last rank of a subsequence ...
    lasts: list[int] = []  # ... and its index.
    previous: list[int | None] = []
    for number, rank in enumerate(ranks):
        previous.append(None)
        if rank is None:
            continue
        length = bisect_left(lowest, rank)
        previous[number] = lasts[length - 1] if length else None
        lowest[length : length + 1] = [rank]
        lasts[length : length + 1] = [number]
    found: list[int | None] = [None] * len(ranks)
    number_of_last = lasts[-1] if lasts else None
    while number_of_last is not None:
        found[number_of_last] = ranks[number_of_last]
        number_of_last = previous[number_of_last]
    return found


def _fill_gaps(ranks: Sequence[int | None], end: int) -> list[int] | None:
    """Replace each None by a rank, so that all ascend and stay below `end`; None if there is no room."""
    found: list[int] = []
    missing = 0
    for rank in (*ranks, end):
        if rank is None:
            missing += 1
            continue
        after = found[-1] if found else -1
        room = rank - after - 1
        if room < missing:
            return None
        if missing and rank == end:
            # At the ends of an axis, use at most half of the room.
            step = max(1, min(_SPACINGS[0], room // (2 * missing)))
            found += [after + step * (number + 1) for number in range(missing)]
        elif missing and not found:
            step = max(1, min(_SPACINGS[0], room // (2 * missing)))
            found += [rank - step * (missing - number) for number in range(missing)]
        else:
            found += [
                after + (room + 1) * (number + 1) // (missing + 1) for number in range(missing)
            ]
        found.append(rank)
        missing = 0
    return found[:-1]
