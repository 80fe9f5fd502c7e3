"""The combinations of a matrix: the points of all axes but the folded one, each with its thresholds.

Walked lazily, as parallel products over what is needed of each value. Which rules concern a point is
kept in bit masks, so that rules cost one `and` per axis however many there are.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from hashlib import sha256
from itertools import product, repeat
from operator import and_, itemgetter
from typing import Any, NamedTuple, TypeAlias

from engine.core.axes import Axis, AxisValue, DocumentAxis, PromptAxis
from engine.core.canonical import canonical, digest

Block: TypeAlias = Mapping[str, frozenset[int]]
"""Part of a matrix: the places of some values on some axes, which are named by their field."""

Changed: TypeAlias = Mapping[str, frozenset[int]]
"""The numbers of some values on some axes, by their fields: any of them."""

PLACE_BITS = 60
"""Of a combination's place."""
# Combinations that the same rules concern have the same thresholds; this many sets are remembered.
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixAxis:
    """One axis with its values: the first `own` are the matrix' own, the rest only included."""

    axis: Axis
    values: tuple[AxisValue, ...]
    own: int
    ranks: tuple[int, ...] | None = None
    """What stands for each value in the places of jobs, in the order of the file; None: its number on the axis."""
    rank_bits: int | None = None
    """For the highest rank that there may be; None: as the number of values needs them."""

    @property
    def field(self) -> str:
        """The name of one value, in parameters and rows."""
        return self.axis.field

    @property
    def is_large(self) -> bool:
        """Whether its contents are too large to be repeated in every job."""
        return isinstance(self.axis, PromptAxis | DocumentAxis)

    def fragment(self, value: AxisValue) -> bytes:
        """32 bytes that stand for a value, by content, in the keys of its jobs."""
        return sha256(canonical([self.field, value.content])).digest()


class Threshold(NamedTuple):
    """One value of the folded axis, and its part in a key."""

    value: float
    fragment: bytes
    place: int
    """Where the axis has it."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds of a combination, in the order of the file."""

    each: tuple[Threshold, ...]
    highest: Threshold
    ascending: tuple[float, ...]


class Combination(NamedTuple):
    """One point of all axes but the folded one; `labels` holds None in the place of that.

    `place` grows in the order of the file. It is made of the places of the values on their axes, with room: of
    a value that is added at the end of an axis no other combination gets another place.
    """

    place: int
    labels: Mapping[str, Any]
    fragments: bytes
    documents: Mapping[str, str]
    thresholds: Thresholds | None
    """None where the evaluation has no folded axis."""


class _Column(NamedTuple):
    """What is needed of the values of one axis, by their places."""

    labels: Sequence[Any]
    fragments: Sequence[bytes]
    digests: Sequence[str]
    excluded: Sequence[int]
    """Bit n: the n-th excluded block has this value, or does not name the axis."""
    covered: Sequence[int]
    """Bit 0: it is one of the matrix' own. Bit n: the n-th included block covers it."""


# Stands in the place of the folded axis: no part of a key, and no say in the masks.
_FOLDED = _Column([None], [b""], [""], [-1], [-1])

_Cells: TypeAlias = Callable[[int, int], tuple[bool, Thresholds | None]]


def blocks(axes: Sequence[MatrixAxis], included: Iterable[Block]) -> list[list[Sequence[int]]]:
    """For the matrix proper, then for each included block: the places it covers on each axis."""
    return [
        [sorted(block[axis.field]) if axis.field in block else range(axis.own) for axis in axes]
        for block in ({}, *included)
    ]


def combinations(
    axes: Sequence[MatrixAxis],
    *,
    folded_field: str | None,
    excluded: Sequence[Block],
    included: Sequence[Block],
    with_keys: bool,
    changed: Changed | None = None,
) -> Iterator[Combination]:
    """Every combination with at least one cell, once: in the first block that covers it.

    Without keys, `fragments` and `documents` are empty. With `changed`, those alone that have at least one
    of these values, by their axes' fields.
    """
    covering = blocks(axes, included)
    columns = [_column(axis, excluded, included, with_keys=with_keys) for axis in axes]
    fields = [axis.field for axis in axes]
    cells: _Cells = _whole
    if folded_field in fields:
        at = fields.index(folded_field)
        cells = _folding(columns[at], axes[at].own)
        columns[at] = _FOLDED
        for places in covering:
            places[at] = range(1) if places[at] else ()
    orders, above = _orders(axes, covering, folded_field)
    large = [at for at, axis in enumerate(axes) if axis.is_large] if with_keys else []
    parts = (
        (number, part)
        for number, whole in enumerate(covering)
        for part in ([whole] if changed is None else _with_one_of(fields, whole, changed))
    )
    for number, places in parts:
        earlier = (1 << number) - 1
        for labels, order, fragments, documents, exclusions, covers in zip(
            _points([column.labels for column in columns], places),
            map(sum, _points(orders, places)) if with_keys else repeat(0),
            _fragments(fields, columns, places) if with_keys else repeat(b""),
            _documents(fields, columns, places, large) if large else repeat({}),
            _masks([column.excluded for column in columns], places) if excluded else repeat(0),
            _masks([column.covered for column in columns], places) if included else repeat(1),
            strict=False,  # the first one ends it
        ):
            if covers & earlier:
                continue
            found, thresholds = cells(exclusions, covers)
            if found:
                yield Combination(
                    (number << above) + order,
                    dict(zip(fields, labels, strict=True)),
                    fragments,
                    documents,
                    thresholds,
                )


def _with_one_of(
    fields: Sequence[str], places: Sequence[Sequence[int]], changed: Changed
) -> Iterator[list[Sequence[int]]]:
    """The part of a product that has at least one of the changed values, as products that do not overlap."""
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

    The lowest bits are for the folded axis, whose values are beside each other.
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
    """The bits of a place below the rank of each axis' value, by field, and those below the block's number."""
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
    """Bits for at least twice as many, which few changes of the number change."""
    return -(-(count.bit_length() + 1) // 4) * 4


def _column(
    axis: MatrixAxis, excluded: Sequence[Block], included: Sequence[Block], *, with_keys: bool
) -> _Column:
    count = len(axis.values)
    exclusions = [_blocks_without(axis.field, excluded)] * count
    _mark(exclusions, axis.field, excluded)
    # The matrix proper is the block before the included ones.
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
    """The bits of the blocks that say nothing of an axis."""
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
    """The fragments of each point, joined in the order of the fields' names.

    A kind may change the order of its axes in a later version: keys do not depend on it.
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
    """A combination without a folded axis is one cell: excluding it leaves nothing."""
    return bool(covers & 1 and not exclusions) or covers > 1, None


def _folding(column: _Column, own: int) -> _Cells:
    """What tells the thresholds of a combination from the rules that concern its other values."""
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
