"""Reading `matrix:` for one job kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.core.axes import Axis, AxisValue, GroupAxis, PromptAxis, Scalar
from engine.core.nearest import suggestion
from engine.documents.places import child_path
from engine.documents.validation import describe_non_number
from engine.kinds import JobKind
from engine.sweep.rules import AxisValues
from engine.sweep.scalars import scalar_value
from engine.sweep.schema import LimitsPart, RetryPart
from engine.sweep.values import ValueReader

REPEATS = "repeats"
REPEATS_MAX = 10_000
ALL_GROUPS = "all"
_KEYS_ELSEWHERE = {
    **dict.fromkeys(LimitsPart.model_fields, "limits"),
    **dict.fromkeys(RetryPart.model_fields, "retry"),
}
"""Keys that users sometimes write into the matrix, and the key that they belong in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """The axes of a sweep, in the order of the kind, with their own values.

    `pending` names the axes of `all` groups, which have no values until the service is asked.
    """

    axes: tuple[Axis, ...]
    own: AxisValues
    repeats: int
    pending: frozenset[str]


def read_axes(
    kind: JobKind,
    kinds: Sequence[JobKind],
    written: Mapping[str, Any],
    reader: ValueReader,
    *,
    group_names: Sequence[str] | None,
) -> Axes:
    """Read the axes of `kind`; `kinds` are all of its service, for messages about axes of others.

    `group_names` are the groups that can be named; None if only the open service knows them.
    """
    own: dict[str, tuple[AxisValue, ...]] = {}
    pending = set()
    axes = [_with_groups(axis, group_names) for axis in kind.axes]
    for axis in axes:
        path = f"matrix.{axis.name}"
        values = written.get(axis.name, list(axis.default))
        if axis.name not in written and not axis.default:
            if axis.required:
                reader.refuse(path, "is missing", is_of_key=True)
                own[axis.name] = ()
        elif isinstance(axis, GroupAxis) and values in (ALL_GROUPS, [ALL_GROUPS]):
            own[axis.name] = ()
            pending.add(axis.name)
        elif axis.name in written:
            own[axis.name] = reader.axis(axis, values, path)
        else:
            own[axis.name] = tuple(_default(axis, one) for one in axis.default)
    names = [*(axis.name for axis in axes), REPEATS]
    for name in written:
        if name not in names:
            message = _unknown(name, kind, kinds, names)
            reader.refuse(child_path("matrix", name), message, is_of_key=True)
    return Axes(
        axes=tuple(axis for axis in axes if axis.name in own),
        own=own,
        repeats=_repeats(written.get(REPEATS, 1), reader),
        pending=frozenset(pending),
    )


def _with_groups(axis: Axis, names: Sequence[str] | None) -> Axis:
    """The axis with its groups as choices, if they are known without asking a service."""
    if not isinstance(axis, GroupAxis) or names is None:
        return axis
    return replace(axis, choices=tuple(names))


def _default(axis: Axis, value: Scalar) -> AxisValue:
    if isinstance(axis, PromptAxis):
        return AxisValue(label=value, content=value)
    return scalar_value(axis, value)


def _repeats(written: Any, reader: ValueReader) -> int:
    path = f"matrix.{REPEATS}"
    if not isinstance(written, int) or isinstance(written, bool):
        reader.refuse(path, f"must be a whole number{describe_non_number(written)}")
    elif written < 1:
        reader.refuse(path, f"{written} is below 1")
    elif written > REPEATS_MAX:
        reader.refuse(path, f"{written} is above {REPEATS_MAX}")
    else:
        return written
    return 1


def _unknown(name: str, kind: JobKind, kinds: Sequence[JobKind], names: Sequence[str]) -> str:
    for other in kinds:
        if any(axis.name == name for axis in other.axes):
            if other.name == kind.name:
                return f"is an axis for target {other.target}, not for {kind.target}"
            return f"is an axis of {other.name}, not of {kind.name}"
    if (key := _KEYS_ELSEWHERE.get(name)) is not None:
        return f"unknown axis; {name} belongs in {key}"
    return f"unknown axis{suggestion(name, names)}"
