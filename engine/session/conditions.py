"""Conditions as users write them, by the axes of a run."""

from collections.abc import Mapping, Sequence

from engine.core.conditions import Conditions
from engine.core.errors import UsageError
from engine.core.inspection import is_like
from engine.core.nearest import nearest
from engine.store import LabelLike
from engine.sweep import SweepFacts

REPEAT = "repeat"
CASE = "case"
_THRESHOLD = "threshold"
"""A folded job has several, so the store cannot tell whether one is wanted."""


def read_conditions(
    facts: SweepFacts, run: str, where: Mapping[str, object] | None, *, with_cases: bool = False
) -> Conditions:
    """The conditions that patterns by axis stand for; a `case` is also one of an answer's, `with_cases`.

    Raises UsageError as `name_axes` does.
    """
    found = name_axes(facts, run, where or {}, (CASE,) if with_cases else ())
    is_axis = any(axis.field == CASE for axis in facts.axes)
    case = None if is_axis else found.pop(CASE, None)
    return Conditions(labels=found, case=case)


def name_axes(
    facts: SweepFacts, run: str, where: Mapping[str, object], others: Sequence[str] = ()
) -> dict[str, str]:
    """Patterns by the fields of the axes, from those by fields or by the axes' names in sweep files.

    Raises UsageError for a name that is neither, nor `repeat` or one of `others`, and for two of one axis.
    """
    by_name = {axis.axis.name: axis.field for axis in facts.axes}
    fields = list(dict.fromkeys((*(axis.field for axis in facts.axes), REPEAT, *others)))
    found: dict[str, str] = {}
    for name, pattern in where.items():
        field = name if name in fields else by_name.get(name)
        if field is None:
            near = nearest(name, [*fields, *by_name])
            meant = "" if near is None else f'; did you mean "{near}"?'
            raise UsageError(f"{run} has no axis {name!r}{meant}; it has: {', '.join(fields)}")
        if field in found:
            raise UsageError(f"{name!r} names the axis {field!r} a second time: give one pattern")
        found[field] = str(pattern)
    return found


def to_labels_like(facts: SweepFacts, patterns: Mapping[str, str]) -> list[LabelLike]:
    """The conditions that the store can check, roughly: what it reads has to be checked again."""
    names = facts.document_labels()
    return [
        LabelLike(
            name=name,
            pattern=pattern,
            documents=[
                content for content, label in names.get(name, {}).items() if is_like(label, pattern)
            ],
        )
        for name, pattern in patterns.items()
        if name not in (_THRESHOLD, facts.folded_field)
    ]
