"""What a function returned as an answer: its bytes, and its fields as columns of the results."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from math import isfinite
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from engine.core.rows import Row
from engine.core.values import Value, check_values
from engine.functions.numpy_values import without_numpy
from engine.kinds import Answer, JudgedTest, Measurement, Permanent

VALUE = "value"
"""The column of what is returned without a name, such as a number."""
_KEPT_MAX = 100_000
"""The characters of a value that is no JSON value which are kept with the attempt."""


def to_answer(returned: Any, columns: Iterable[str]) -> Answer:
    """Convert what a function returned to an answer; `columns` are those of its arguments and its version.

    Raises Permanent, which names the field, for what cannot be kept; the error then has what can be shown of
    it as `unread`.
    """
    measured = Measurement(passed=0, failed=0)
    counts: dict[str, int] = {}
    if isinstance(returned, Measurement):
        measured, returned = returned, dict(returned.values)
        # No value has one of these names: they are columns of every row.
        counts = {"passed": measured.passed, "failed": measured.failed}
    try:
        whole = {name: _to_json(name, value) for name, value in _fields_of(returned).items()}
        values = check_values(
            {name: _to_value(value) for name, value in whole.items()},
            Row.column_names(tuple(columns)),
        )
    except ValueError as error:
        raise Permanent(
            f"what it returned cannot be kept: {error}",
            unread=_show(returned),
        ) from None
    raw = json.dumps(counts | whole, ensure_ascii=False).encode("utf-8", "replace")
    return Answer(raw=raw, measurement=replace(measured, values=values))


def read_test(raw: bytes, case: str | None) -> Iterator[JudgedTest]:
    """The test of a stored answer, with what was returned as its `values`; none if it counts none, or several.

    Of several, the answer does not say which failed.
    """
    try:
        document = json.loads(raw)
    except ValueError:
        return
    if not isinstance(document, dict):
        return
    counts = (document.pop("passed", 0), document.pop("failed", 0))
    if counts not in ((1, 0), (0, 1)):
        return
    values = {name: _to_value(value) for name, value in document.items()}
    yield JudgedTest(
        failed=counts == (0, 1),
        case=case,
        values={name: value for name, value in values.items() if value is not None},
    )


def _show(returned: Any) -> bytes:
    """What can be shown of a value that cannot be kept, without failing."""
    try:
        shown = repr(returned)
    except Exception as error:
        shown = f"<{type(returned).__qualname__}, whose repr raises {type(error).__name__}>"
    return shown[:_KEPT_MAX].encode("utf-8", "replace")


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
    try:
        value = without_numpy(value)
        if isinstance(value, str | int | float | None):
            is_unknown = isinstance(value, float) and not isfinite(value)
            return None if is_unknown else value
        return to_jsonable_python(value, inf_nan_mode="null", fallback=_refuse)
    except RecursionError:
        raise ValueError(f"{name} is nested too deeply, or holds itself") from None
    except (PydanticSerializationError, ValueError) as error:
        raise ValueError(f"{name} is no JSON value: {error}") from None


def _refuse(value: Any) -> Any:
    """Convert what pydantic does not know, inside the value of a field; raises ValueError for what is no JSON value."""
    converted = without_numpy(value)
    if converted is not value:
        return converted
    what = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    raise ValueError(f"{what} cannot be kept: return numbers, texts, lists and mappings")


def _to_value(value: Any) -> Value | None:
    """A JSON value as the value of a column: lists and mappings as JSON text."""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    known: Value | None = value
    return known
