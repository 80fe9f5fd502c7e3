"""Text and numbers as values of an axis, within the limits of the axis."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from engine.core.axes import Axis, AxisValue, GroupAxis, IntegerAxis, NumberAxis, TextAxis
from engine.core.labels import control_characters, is_blank
from engine.core.nearest import nearest, suggestion
from engine.documents.malformed import Malformed
from engine.documents.validation import describe_non_number

VALUES_MAX = 100_000
LABEL_MAX = 300
RANGE = ("from", "to", "step")


def scalar_value(axis: Axis, item: Any) -> AxisValue:
    """Read a value of a text, group, number or integer axis; raises Malformed for a wrong one."""
    match axis:
        case NumberAxis() | IntegerAxis():
            number = _number(axis, item)
            return AxisValue(label=number, content=number)
        case _:
            text = label(item)
            if isinstance(axis, TextAxis | GroupAxis) and axis.choices and text not in axis.choices:
                raise Malformed(f"there is no {axis.field} {text}{_advice(axis, text)}")
            return AxisValue(label=text, content=text)


def _advice(axis: TextAxis | GroupAxis, text: str) -> str:
    """The end of a message about a wrong value: the nearest one, or the axis' own advice."""
    if isinstance(axis, TextAxis) and axis.otherwise and nearest(text, axis.choices) is None:
        return f"; {axis.otherwise}"
    return suggestion(text, axis.choices)


def label(item: Any) -> str:
    """Return a name that rows, patterns and terminals can show, unchanged.

    Raises Malformed if it is not text, is blank, begins or ends with white space, is longer than LABEL_MAX
    characters, or contains control characters.
    """
    if not isinstance(item, str):
        what = ", but is empty" if item is None else ": write it in quotes"
        raise Malformed(f"must be text{what}")
    if is_blank(item):
        raise Malformed("must not be empty")
    if item != item.strip():
        raise Malformed("has white space at its beginning or end")
    if len(item) > LABEL_MAX:
        raise Malformed(f"is longer than {LABEL_MAX} characters")
    if found := control_characters(item):
        raise Malformed(f"contains control characters ({found})")
    return item


def numbers_between(written: Mapping[str, Any]) -> Iterator[int | float]:
    """Yield the numbers of {from, to, step}, exact in decimal, with `to` if a step reaches it.

    The three values must satisfy `is_number`. Raises Malformed for an impossible or too long range.
    """
    first, last, step = (Decimal(repr(written[key])) for key in RANGE)
    if step <= 0:
        raise Malformed("step must be above 0")
    if first > last:
        raise Malformed("from is above to")
    if (last - first) / step >= VALUES_MAX:
        raise Malformed(f"has more than {VALUES_MAX:,} values")
    is_whole = all(isinstance(written[key], int) for key in RANGE)
    count = int((last - first) / step) + 1
    return (
        int(number) if is_whole else float(number)
        for number in (first + place * step for place in range(count))
    )


def _number(axis: NumberAxis | IntegerAxis, item: Any) -> int | float:
    if not is_number(item):
        raise Malformed(f"must be a number{describe_non_number(item)}")
    if isinstance(axis, IntegerAxis) and not isinstance(item, int):
        raise Malformed(f"must be a whole number{describe_non_number(item)}")
    if item < axis.minimum:
        raise Malformed(f"{item} is below {axis.minimum:g}")
    if item > axis.maximum:
        raise Malformed(f"{item} is above {axis.maximum:g}")
    if isinstance(axis, IntegerAxis):
        if item % axis.multiple_of:
            raise Malformed(f"{item} is not a multiple of {axis.multiple_of}")
        return int(item)
    return float(item) + 0.0  # -0.0 becomes 0.0


def is_number(item: Any) -> bool:
    """Whether a value is a number, which true and false are not."""
    return isinstance(item, int | float) and not isinstance(item, bool)
