"""What a function returned as an answer: its bytes, and its fields as columns of the results."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from math import isfinite
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from engine.core.rows import Row
from engine.core.values import Value, check_values
from engine.kinds import Answer, Measurement, Permanent

VALUE = "value"
"""The column of what is returned without a name, such as a number."""
_KEPT_MAX = 100_000
"""The characters of a value that is no JSON value which are kept with the attempt."""


def to_answer(returned: Any, axes: tuple[str, ...]) -> Answer:
    """Convert what a function returned to an answer; `axes` are the names of the columns of its arguments.

    Raises Permanent, which names the field, for what cannot be kept; the error then has what can be shown of
    it as `unread`.
    """
    measured = Measurement(passed=0, failed=0)
    if isinstance(returned, Measurement):
        measured, returned = returned, dict(returned.values)
    try:
        whole = {name: _to_json(name, value) for name, value in _fields_of(returned).items()}
        values = check_values(
            {name: _to_value(value) for name, value in whole.items()}, Row.column_names(axes)
        )
    except ValueError as error:
        raise Permanent(
            f"what it returned cannot be kept: {error}",
            unread=repr(returned)[:_KEPT_MAX].encode("utf-8", "replace"),
        ) from None
    raw = json.dumps(whole, ensure_ascii=False).encode("utf-8", "replace")
    return Answer(raw=raw, measurement=replace(measured, values=values))


def _fields_of(returned: Any) -> Mapping[str, Any]:
    """The fields of what was returned, by name; a value without fields is one named VALUE."""
    match returned:
        case None:
            return {}
        case BaseModel():
            return dict(returned)
        case Mapping():
            return {str(name): value for name, value in returned.items()}
        case _ if is_dataclass(returned) and not isinstance(returned, type):
            return {field.name: getattr(returned, field.name) for field in fields(returned)}
        case _:
            return {VALUE: returned}


def _to_json(name: str, value: Any) -> Any:
    """The JSON value of a field; raises ValueError, with the field's name, if there is none."""
    if isinstance(value, str | int | float | None):
        is_unknown = isinstance(value, float) and not isfinite(value)
        return None if is_unknown else value
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return _to_json(name, value.item())
    try:
        return to_jsonable_python(value, inf_nan_mode="null")
    except PydanticSerializationError:
        what = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        raise ValueError(
            f"{name} is a {what}, which is no JSON value: return numbers, texts, lists and mappings"
        ) from None


def _to_value(value: Any) -> Value | None:
    """A JSON value as the value of a column: lists and mappings as JSON text."""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    known: Value | None = value
    return known
