"""The combinations of a matrix: the points of all axes except the folded one, with their thresholds.

They are generated lazily, as parallel products over what is needed of each value. Bit masks show which
rules apply to a point, so the number of rules does not matter: they cost one `and` per axis.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from hashlib import sha256
from itertools import product, repeat
from operator import and_, itemgetter
from typing import Any, NamedTuple, TypeAlias

from engine.core.axes import LARGE, Axis, AxisValue
from engine.core.canonical import canonical, digest

Block: TypeAlias = Mapping[str, frozenset[int]]
"""A part of a matrix: the numbers of some values on some axes, by the axes' fields."""

Changed: TypeAlias = Mapping[str, frozenset[int]]
"""The numbers of some values on some axes, by the axes' fields; a point has at least one of them."""

PLACE_BITS = 60
"""The bits of a combination's place."""
# Combinations with the same rules have the same thresholds; this many sets are cached.
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixAxis:
    """One axis with its values: the first `own` belong to the matrix, the others only to included blocks."""

    axis: Axis
    values: tuple[AxisValue, ...]
    own: int
    ranks: tuple[int, ...] | None = None
    """The rank of each value in the places of jobs, in file order; None for the value's number."""
    rank_bits: int | None = None
    """The bits for the highest possible rank; None for as many as the number of values needs."""

    @property
    def field(self) -> str:
        """The name of one value, in parameters and rows."""
        return self.axis.field

    @property
    def is_large(self) -> bool:
        """Whether its contents are too large to be stored with every job."""
        return isinstance(self.axis, LARGE)

    def fragment(self, value: AxisValue) -> bytes:
        """The digest of a value's content (32 bytes) for the keys of its jobs; its label does not matter."""
        return sha256(canonical([self.field, value.content])).digest()


class Threshold(NamedTuple):
    """One value of the folded axis, and its digest for keys."""

    value: float
    fragment: bytes
    place: int
    """Its number on the axis."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds of a combination, in the order of the file."""

    each: tuple[Threshold, ...]
    highest: Threshold
    ascending: tuple[float, ...]


class Combination(NamedTuple):
    """One point of all axes except the folded one, for which `labels` has None.

    `place` grows in the order of the file. It is composed of the values' ranks, with room at the end
    of each axis: a value added there changes no other combination's place.
    """

    place: int
    labels: Mapping[str, Any]
    fragments: bytes
    documents: Mapping[str, str]
    thresholds: Thresholds | None
    """None if the evaluation has no folded axis."""


class _Column(NamedTuple):
    """What is needed of an axis' values, by their numbers."""

    labels: Sequence[Any]
    fragments: Sequence[bytes]
    digests: Sequence[str]
    excluded: Sequence[int]
    """Bit n is set if the n-th excluded block has this value or does not name the axis."""
    covered: Sequence[int]
    """Bit 0 is set for the matrix' own values, and bit n if the n-th included block covers the value."""


# Replaces the folded axis, which has no part in keys and masks.
_FOLDED = _Column([None], [b""], [""], [-1], [-1])

_Cells: TypeAlias = Callable[[int, int], tuple[bool, Thresholds | None]]


def blocks(axes: Sequence[MatrixAxis], included: Iterable[Block]) -> list[list[Sequence[int]]]:
    """For the matrix itself, then for each included block: the values that it covers on each axis."""
    return [
        [sorted(block[axis.field]) if axis.field in block else range(axis.own) for axis in axes]
        for block in ({}, *included)
    ]


class Combinations:
    """The combinations of a matrix, which may be gone through any number of times.

    Without `with_keys`, their `fragments` and `documents` are empty.
    """

    def __init__(
        self,
        axes: Sequence[MatrixAxis],
        *,
        folded_field: str | None,
        excluded: Sequence[Block],
        included: Sequence[Block],
        with_keys: bool,
    ) -> None:
        self._excluded, self._included, self._with_keys = excluded, included, with_keys
        self._fields = [axis.field for axis in axes]
        self._covering = blocks(axes, included)
        self._columns = [_column(axis, excluded, included, with_keys=with_keys) for axis in axes]
        self._cells: _Cells = _whole
        if folded_field in self._fields:
            at = self._fields.index(folded_field)
            self._cells = _folding(self._columns[at], axes[at].own)
            self._columns[at] = _FOLDED
            for places in self._covering:
                places[at] = range(1) if places[at] else ()
        self._orders, self._above = _orders(axes, self._covering, folded_field)
        self._large = [at for at, axis in enumerate(axes) if axis.is_large] if with_keys else []

    def find(self, changed: Changed | None = None) -> Iterator[Combination]:
        """Yield each combination with at least one cell once, in the first block that covers it.

        With `changed`, only combinations with at least one of these values are yielded.
        """
        for number, whole in enumerate(self._covering):
            parts = [whole] if changed is None else _with_one_of(self._fields, whole, changed)
            for places in parts:
                yield from self._in_block(number, places)

    def _in_block(self, number: int, places: Sequence[Sequence[int]]) -> Iterator[Combination]:
        fields, columns, cells = self._fields, self._columns, self._cells
        with_keys, excluded, included = self._with_keys, self._excluded, self._included
        earlier, above = (1 << number) - 1, number << self._above
        for labels, order, fragments, documents, exclusions, covers in zip(
            _points([column.labels for column in columns], places),
            map(sum, _points(self._orders, places)) if with_keys else repeat(0),
            _fragments(fields, columns, places) if with_keys else repeat(b""),
            _documents(fields, columns, places, self._large) if self._large else repeat({}),
            _masks([column.excluded for column in columns], places) if excluded else repeat(0),
            _masks([column.covered for column in columns], places) if included else repeat(1),
            strict=False,  # repeat() is infinite
        ):
            if covers & earlier:
                continue
            found, thresholds = cells(exclusions, covers)
            if found:
                yield Combination(
                    above + order,
                    dict(zip(fields, labels, strict=True)),
                    fragments,
                    documents,
                    thresholds,
                )


def _with_one_of(
    fields: Sequence[str], places: Sequence[Sequence[int]], changed: Changed
) -> Iterator[list[Sequence[int]]]:
    """Split the points with at least one changed value into products that do not overlap."""
    unchanged = [
        [place for place in chosen if place not in changed.get(field, ())]
        for field, chosen in zip(fields, places, strict=True)
    ]
    for at, field in enumerate(fields):
        if field in changed:
            first_changed = [place for place in places[at] if place in changed[field]]
            yield [*unchanged[:at], first_changed, *places[at + 1 :]]


def _orders(
    axes: Sequence[MatrixAxis], covering: Sequence[object], folded_field: str | None
) -> tuple[list[Sequence[int]], int]:
    """What each value of each axis adds to a combination's place, and the bits below the block's number.

    The folded axis has the lowest bits, so its values are adjacent.
    """
    shifts, above = rank_shifts(axes, blocks=len(covering), folded_field=folded_field)
    orders: list[Sequence[int]] = [
        [0]
        if axis.field == folded_field
        else [rank << shifts[axis.field] for rank in axis.ranks or range(len(axis.values))]
        for axis in axes
    ]
    return orders, above


def rank_shifts(
    axes: Sequence[MatrixAxis], *, blocks: int, folded_field: str | None
) -> tuple[dict[str, int], int]:
    """The number of bits below each axis' rank in a place, by field, and below the block's number."""
    widths = [axis.rank_bits or bits_with_room(len(axis.values)) for axis in axes]
    if sum(widths) + bits_with_room(blocks) > PLACE_BITS:
        widths = [(len(axis.values) - 1).bit_length() for axis in axes]
    below = sum(
        width for width, axis in zip(widths, axes, strict=True) if axis.field == folded_field
    )
    shifts = {}
    for width, axis in reversed(list(zip(widths, axes, strict=True))):
        if axis.field != folded_field:
            shifts[axis.field] = below
            below += width
    return shifts, below


def bits_with_room(count: int) -> int:
    """Bits for at least twice as many values, so that small changes of `count` do not change it."""
    return -(-(count.bit_length() + 1) // 4) * 4


def _column(
    axis: MatrixAxis, excluded: Sequence[Block], included: Sequence[Block], *, with_keys: bool
) -> _Column:
    count = len(axis.values)
    exclusions = [_blocks_without(axis.field, excluded)] * count
    _mark(exclusions, axis.field, excluded)
    # The matrix itself is the block before the included ones.
    covering: list[Block] = [{}, *included]
    covers = [_blocks_without(axis.field, covering)] * axis.own + [0] * (count - axis.own)
    _mark(covers, axis.field, covering)
    return _Column(
        [value.label for value in axis.values],
        [axis.fragment(value) if with_keys else b"" for value in axis.values],
        [digest(value.content) if with_keys and axis.is_large else "" for value in axis.values],
        exclusions,
        covers,
    )


def _blocks_without(field: str, marked: Sequence[Block]) -> int:
    """The bits of the blocks that do not name an axis."""
    return sum(1 << bit for bit, block in enumerate(marked) if field not in block)


def _mark(masks: list[int], field: str, marked: Sequence[Block]) -> None:
    for bit, block in enumerate(marked):
        for place in block.get(field, ()):
            masks[place] |= 1 << bit


def _points(pools: Sequence[Sequence[Any]], places: Sequence[Sequence[int]]) -> Iterator[Any]:
    return product(
        *([pool[place] for place in chosen] for pool, chosen in zip(pools, places, strict=True))
    )


def _fragments(
    fields: Sequence[str], columns: Sequence[_Column], places: Sequence[Sequence[int]]
) -> Iterator[bytes]:
    """The fragments of each point, joined in the alphabetical order of the fields.

    So keys do not depend on the order of a kind's axes, which may change in a later version.
    """
    points = _points([column.fragments for column in columns], places)
    order = sorted(range(len(fields)), key=fields.__getitem__)
    if order == list(range(len(fields))):
        return map(b"".join, points)
    return map(b"".join, map(itemgetter(*order), points))


def _documents(
    fields: Sequence[str],
    columns: Sequence[_Column],
    places: Sequence[Sequence[int]],
    large: Sequence[int],
) -> Iterator[Mapping[str, str]]:
    for digests in _points([column.digests for column in columns], places):
        yield {fields[at]: digests[at] for at in large}


def _masks(pools: Sequence[Sequence[int]], places: Sequence[Sequence[int]]) -> Iterator[int]:
    for masks in _points(pools, places):
        yield reduce(and_, masks, -1)


def _whole(exclusions: int, covers: int) -> tuple[bool, None]:
    """Whether a combination without a folded axis, which is a single cell, is not excluded."""
    return bool(covers & 1 and not exclusions) or covers > 1, None


def _folding(column: _Column, own: int) -> _Cells:
    """Make the function that selects a combination's thresholds by the rules that apply to it."""
    every = [
        Threshold(float(label), fragment, place)
        for place, (label, fragment) in enumerate(zip(column.labels, column.fragments, strict=True))
    ]

    @lru_cache(maxsize=_REMEMBERED)
    def cells(exclusions: int, covers: int) -> tuple[bool, Thresholds | None]:
        each = tuple(
            threshold
            for place, threshold in enumerate(every)
            if (covers & 1 and place < own and not exclusions & column.excluded[place])
            or covers & column.covered[place] & ~1
        )
        if not each:
            return False, None
        ascending = tuple(sorted(threshold.value for threshold in each))
        return True, Thresholds(each, max(each), ascending)

    return cells
