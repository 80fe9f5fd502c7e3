"""pydantic's findings as problems of a sweep: named as in the file, without the values it held."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from engine.core.errors import Problem
from engine.core.nearest import suggestion

_Model = TypeVar("_Model", bound=BaseModel)

_WORDS = {
    "missing": "is missing",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "mapping_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "is below"),
    "greater_than": ("gt", "is not above"),
    "less_than_equal": ("le", "is above"),
    "less_than": ("lt", "is not below"),
}


def validated(
    model: type[_Model],
    written: Mapping[str, Any],
    path: str,
    problems: list[Problem],
    *,
    beside: Sequence[str] = (),
) -> _Model | None:
    """The model that the plain values make, or None with the problems reported.

    `beside` are keys that are allowed in the same place and read by somebody else.
    """
    try:
        # As JSON: strict where it matters, yet a list may become a tuple and text a path.
        return model.model_validate_json(json.dumps(written))
    except ValidationError as error:
        problems += problems_of(error, model, path, written, beside=beside)
        return None


def problems_of(
    error: ValidationError,
    model: type[BaseModel] | None,
    path: str,
    written: object,
    *,
    beside: Sequence[str] = (),
) -> Iterator[Problem]:
    """One problem for each finding in what is `written`; no value is repeated but numbers out of bounds."""
    for found in error.errors(include_url=False):
        where = path
        for part in _parts(found["loc"], written):
            where += f"[{part}]" if isinstance(part, int) else f".{part}" if where else str(part)
        yield Problem(where, _message(found, model, beside))


def _parts(loc: Sequence[int | str], written: Any) -> Iterator[int | str]:
    """The parts of a location that the reader knows: not which of several models was meant."""
    for last, part in enumerate(loc, start=1 - len(loc)):
        inside = isinstance(written, Mapping) and part in written
        if inside or isinstance(part, int):
            written = written[part] if inside or isinstance(written, list) else None
            yield part
        elif isinstance(written, Mapping) and last == 0:
            yield part


def _message(found: ErrorDetails, model: type[BaseModel] | None, beside: Sequence[str]) -> str:
    kind = found["type"]
    context = found.get("ctx", {})
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return f"{found['input']} {words} {context[bound]:g}"
    if kind == "extra_forbidden":
        *outside, key = found["loc"]
        siblings = _fields(model, outside) if model is not None else []
        if not outside:
            siblings += beside
        return f"unknown key{suggestion(str(key), siblings)}"
    if kind in ("literal_error", "enum"):
        return f"must be {context['expected']}"
    if kind == "value_error":
        return str(context["error"])
    return _WORDS.get(kind, found["msg"])


def _fields(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """The keys that are allowed where a location points to."""
    models = [model]
    for part in loc:
        annotations = [
            found.model_fields[part].annotation for found in models if part in found.model_fields
        ]
        # A part that is no field is a place in a list or a key in a mapping: same models.
        if annotations:
            models = [inner for annotation in annotations for inner in _models(annotation)]
    return [field.alias or name for found in models for name, field in found.model_fields.items()]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
