"""Where the values of a matrix stand among each other, edit after edit, and which jobs an edit concerns.

A job's place is made of the ranks of its values. A value keeps its rank for as long as it is in the sweep and in its
turn: those that are added get ranks between those of their neighbours. So an edit moves no other job, and what it
adds and removes follows from the two layouts alone, however many jobs there are.
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
"""Values that one statement takes; where more are removed or changed, all jobs are compared."""
_SPACINGS = (32, 16, 8, 4, 2)
"""How far apart the values of a new matrix may stand; the widest that fits."""


@dataclass(frozen=True, slots=True)
class _Value:
    label: Any
    is_own: bool
    rank: int


@dataclass(frozen=True, slots=True)
class _Axis:
    values: Mapping[str, _Value]
    """By what stands for them in keys, in the order of the file."""
    bits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A matrix as a store keeps it beside the jobs that were made of it."""

    axes: Mapping[str, _Axis]
    repeats: int
    excluded: Sequence[Mapping[str, Sequence[str]]]
    included: Sequence[Mapping[str, Sequence[str]]]
    rules: Any
    """Whatever else decides which jobs the matrix makes, a JSON value."""

    def dump(self) -> dict[str, Any]:
        """It as a JSON value."""
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
        """What was dumped."""
        axes = {
            field: _Axis({name: _Value(*one) for name, *one in values}, bits)
            for field, (bits, values) in dump["axes"].items()
        }
        return cls(**{**dump, "axes": axes})


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What a matrix asks for otherwise than the one before it."""

    changed: Changed
    """The numbers of values that are new or otherwise, by their axes' fields."""
    repeats: int
    """Those that were there before; of later ones all is new."""
    left: Sequence[tuple[int, int, frozenset[int]]]
    """Values that are removed or otherwise: the lowest bit, the number of bits and the ranks in a job's place."""
    repeats_left: int | None
    """The last repeat that is still asked for, where there were more."""


def assign_ranks(matrix: Matrix, before: Layout | None, *, is_new: bool) -> Matrix:
    """A matrix whose values have the ranks that they had before, and others between them.

    `is_new`: there are no jobs yet, whose places would change with the ranks. Where there is no room for a
    value between two others, all have new ranks.
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
    """What a store keeps of a matrix; None where places are too narrow to tell values by them."""
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
    """What is new, changed and removed in `now`, that of `matrix`; None where that may be anything.

    It is anything where rules or thresholds differ for values that both have: they decide what folds,
    and what is excluded.
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
    """Whether all that two layouts have in common makes the same jobs in the same places."""
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
    return _excluded_blocks(before, kept) == _excluded_blocks(now, kept) and _included_blocks(
        before, kept
    ) == (_included_blocks(now, kept))


def _excluded_blocks(layout: Layout, kept: Mapping[str, Set[str]]) -> list[bytes]:
    """The excluded blocks as far as they concern kept values, in whichever order."""
    found = [_restrict(block, kept) for block in layout.excluded]
    return sorted(canonical(block) for block in found if block is not None)


def _included_blocks(layout: Layout, kept: Mapping[str, Set[str]]) -> list[object]:
    """The same of included blocks, whose numbers count; those that concern none do not where they are the last."""
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
    """The matrix with these axes, unless one lacks room or their ranks are too wide for a place."""
    found = [axis for axis in axes if axis is not None]
    bits = sum(axis.rank_bits or bits_with_room(len(axis.values)) for axis in found)
    if len(found) < len(axes) or bits + _block_bits(matrix) > PLACE_BITS:
        return None
    return replace(matrix, axes=tuple(found))


def _space_out(axis: MatrixAxis, spacing: int, folded_field: str | None) -> MatrixAxis:
    """An axis whose ranks leave room before, between and behind its values."""
    if axis.field == folded_field:
        return axis
    count = len(axis.values)
    bits = (count * spacing).bit_length() + 2
    first = 1 << (bits - 2)
    ranks = range(first, first + count * spacing, spacing)
    return replace(axis, ranks=tuple(ranks), rank_bits=bits)


def _keep_ranks(axis: MatrixAxis, before: _Axis, folded_field: str | None) -> MatrixAxis | None:
    """An axis whose values have the ranks that they had, as far as their order allows; None without room."""
    if axis.field == folded_field:
        return axis
    names = [axis.fragment(value).hex() for value in axis.values]
    known = [before.values[name].rank if name in before.values else None for name in names]
    ranks = _fill_gaps(_longest_ascending(known), 1 << before.bits)
    return None if ranks is None else replace(axis, ranks=tuple(ranks), rank_bits=before.bits)


def _longest_ascending(ranks: Sequence[int | None]) -> list[int | None]:
    """The longest ascending choice of ranks in their places, None in those of the others."""
    lowest: list[int] = []  # Of all ascending choices of a length, the lowest last rank ...
    lasts: list[int] = []  # ... and where it stands.
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
    """Ranks with others in place of None, ascending and below `end`; None where there is no room."""
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
            # At both ends of an axis half of the room at most is used up, and no more than is needed.
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
