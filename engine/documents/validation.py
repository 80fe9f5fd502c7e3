"""pydantic's errors as problems of a sweep: named as in the file, without the values it held."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from engine.core.errors import Problem
from engine.core.nearest import nearest, suggestion
from engine.documents.hints import is_tight_mapping

_Model = TypeVar("_Model", bound=BaseModel)

# What is expected, and whether what was there is said: what it is, never what it says.
_EXPECTED = {
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "dict_type": "must be a mapping",
    "mapping_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "none_required": "must be null",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "is below"),
    "greater_than": ("gt", "is not above"),
    "less_than_equal": ("le", "is above"),
    "less_than": ("lt", "is not below"),
}
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?")
_CHOICE = re.compile(r"'([^']*)'")


def validate(
    model: type[_Model],
    written: Mapping[str, Any],
    path: str,
    problems: list[Problem],
    *,
    beside: Sequence[str] = (),
) -> _Model | None:
    """The model that the plain values make, or None with the problems reported.

    `beside` are keys that other code reads from the same place.
    """
    try:
        # As JSON: strict, yet a list may become a tuple and text a path.
        return model.model_validate_json(json.dumps(written), strict=True)
    except ValidationError as error:
        problems += problems_of(error, model, path, written, beside=beside)
        return None


def not_a_mapping(written: object, needs: str) -> Problem:
    """What is wrong with a document that is no mapping; `needs` lists the keys that it has to have."""
    what = "is empty" if written is None else "must be a mapping"
    return Problem("", f"{what}; it needs {needs}")


def problems_of(
    error: ValidationError,
    model: type[BaseModel] | None,
    path: str,
    written: object,
    *,
    beside: Sequence[str] = (),
) -> Iterator[Problem]:
    """One problem for each error in what is `written`; no value is repeated but numbers out of bounds."""
    mistakes = error.errors(include_url=False)
    broken = {one["loc"][:depth] for one in mistakes for depth in range(len(one["loc"]))}
    for found in mistakes:
        # What is too short only because its parts are wrong is not a mistake of its own.
        if found["type"] == "too_short" and found["loc"] in broken:
            continue
        where, within = path, written
        for part in _parts(found["loc"], written):
            where += f"[{part}]" if isinstance(part, int) else f".{part}" if where else str(part)
            within = _inside(within, part)
        is_of_key = found["type"] in ("extra_forbidden", "missing")
        message = _message(found, model, beside)
        yield Problem(where, message, is_of_key=is_of_key, at=_meant(message, within, where))


def _inside(written: object, part: int | str) -> object:
    if isinstance(written, Mapping) or (isinstance(written, list) and isinstance(part, int)):
        try:
            return written[part]  # type: ignore[index]
        except (LookupError, TypeError):
            return None
    return None


def _meant(message: str, within: object, path: str) -> str | None:
    """The path of the key that a message about a whole mapping begins with: that is where to look."""
    first = message.partition(" ")[0]
    if isinstance(within, Mapping) and first in within:
        return f"{path}.{first}" if path else first
    return None


def rule_broken(found: ErrorDetails) -> str:
    """What pydantic says of a mistake, without the name of its error before our own words."""
    return found["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")


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
    given = found.get("input")
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return f"{given} {words} {context[bound]:g}"
    if kind in _EXPECTED:
        return _EXPECTED[kind] + _describe_given(kind, given)
    match kind:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return _unknown_key(found["loc"], model, beside)
        case "literal_error" | "enum":
            return _not_a_choice(context["expected"], given)
        case "value_error" | "assertion_error":
            return str(context["error"])
    return _size(kind, context) or f"cannot be used: {found['msg'][:1].lower()}{found['msg'][1:]}"


def _size(kind: str, context: Mapping[str, Any]) -> str | None:
    """What is said of a text, list or mapping that is too short, too long or of another form."""
    match kind:
        case "string_too_short" | "too_short":
            least = context["min_length"]
            what = "characters" if kind.startswith("string") else "entries"
            return "is empty" if least == 1 else f"has fewer than {least:,} {what}"
        case "string_too_long" | "too_long":
            what = "characters" if kind.startswith("string") else "entries"
            return f"has more than {context['max_length']:,} {what}"
        case "string_pattern_mismatch":
            return f"must be text of the form {context['pattern'].strip('^$')}"
    return None


def _unknown_key(
    loc: Sequence[int | str], model: type[BaseModel] | None, beside: Sequence[str]
) -> str:
    *outside, key = loc
    siblings = _fields(model, outside) if model is not None else []
    if not outside:
        siblings += beside
    below = {} if model is None else _fields_below(model, outside)
    if key in below and nearest(str(key), siblings) is None:
        return f"unknown key; it belongs in {below[str(key)]}: {{{key}: ...}}"
    return unknown_key(str(key), siblings)


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The message for an unknown key, with the nearest known one."""
    known = list(known)
    name, colon, _ = key.partition(":")
    if colon and name in known:
        return f"unknown key; write a space after the colon: {name}: ..."
    return f"unknown key{suggestion(key, known)}"


def _not_a_choice(expected: str, given: object) -> str:
    """What is allowed, in words, with the nearest of it."""
    known = _CHOICE.findall(expected)
    near = nearest(given, known) if isinstance(given, str) else None
    wanted = expected if len(known) != 1 else known[0]
    told = "" if isinstance(given, str) else describe_given(given)
    return f"must be {wanted}{told}" + (f'; did you mean "{near}"?' if near else "")


def _describe_given(kind: str, given: object) -> str:
    """What was there in place of what is expected, and what may help."""
    if kind.startswith(("int", "float")):
        return describe_non_number(given)
    if isinstance(given, str) and "mapping" in _EXPECTED[kind] and is_tight_mapping(given):
        return ", not text: a space is missing after the colon"
    if isinstance(given, str) and kind.startswith("bool") and given.casefold() in _YES_AND_NO:
        meant = str(given.casefold() in ("yes", "on")).lower()
        return f", not {given}: write {meant}"
    return describe_given(given)


_YES_AND_NO = ("yes", "no", "on", "off")


def describe_non_number(given: object) -> str:
    """What was there in place of a number, as the end of a message."""
    if isinstance(given, str) and _NUMBER.fullmatch(given):
        return ", not text: leave out the quotes"
    return describe_given(given)


def describe_given(given: object) -> str:
    """What was there in place of what is expected, as the end of a message: what it is, if it is text."""
    match given:
        case None:
            return ", and nothing is there"
        case bool():
            return f", not {str(given).lower()}"
        case int() | float():
            return f", not {given}"
        case str():
            return ", not text"
        case Mapping():
            return ", not a mapping"
        case list() | tuple():
            return ", not a list"
        case _:
            return ""


def _fields_below(model: type[BaseModel], loc: Sequence[int | str]) -> dict[str, str]:
    """The keys that are allowed one level below a location, each with the key that they belong in."""
    found: dict[str, str] = {}
    for outer in _at(model, loc):
        for name, field in outer.model_fields.items():
            for inner in _models(field.annotation):
                for key in inner.model_fields:
                    found.setdefault(key, field.alias or name)
    return found


def _fields(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """The keys that are allowed where a location points to."""
    return [
        field.alias or name
        for found in _at(model, loc)
        for name, field in found.model_fields.items()
    ]


def _at(model: type[BaseModel], loc: Sequence[int | str]) -> list[type[BaseModel]]:
    """The models that may stand where a location points to."""
    models = [model]
    for part in loc:
        annotations = [
            found.model_fields[part].annotation for found in models if part in found.model_fields
        ]
        # A part that is no field is a place in a list or a key in a mapping: same models.
        if annotations:
            models = [inner for annotation in annotations for inner in _models(annotation)]
    return models


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
