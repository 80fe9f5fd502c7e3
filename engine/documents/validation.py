"""pydantic's errors as problems of a file: with its own names, and without the values in it."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from engine.core.errors import Problem
from engine.core.nearest import nearest, suggestion
from engine.documents.hints import is_tight_mapping
from engine.documents.places import child_path

_Model = TypeVar("_Model", bound=BaseModel)

# The end of the message describes the type of the value that was given, never the value.
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
    other_keys: Sequence[str] = (),
) -> _Model | None:
    """Build a model from plain values; returns None, with `problems` extended, if they are wrong.

    `path` is where the values are in the file. `other_keys` are keys that other code reads from
    the same mapping: they are suggested for misspelt ones.
    """
    try:
        # From JSON: strict validation of Python objects would refuse a list for a tuple.
        return model.model_validate_json(json.dumps(written), strict=True)
    except ValidationError as error:
        problems += problems_of(error, model, path, written, other_keys=other_keys)
        return None


def not_a_mapping(written: object, needs: str) -> Problem:
    """The problem of a document that is empty or not a mapping; `needs` lists the keys that it must have, as text."""
    what = "is empty" if written is None else "must be a mapping"
    return Problem("", f"{what}; it needs {needs}")


def problems_of(
    error: ValidationError,
    model: type[BaseModel] | None,
    path: str,
    written: object,
    *,
    other_keys: Sequence[str] = (),
) -> Iterator[Problem]:
    """One problem for each error of pydantic in the `written` values, with its path in the file below `path`.

    Messages use the file's own words and quote only numbers out of bounds, never a text, which may be a
    secret. `model` adds bounds and the known keys to them, and `other_keys` are suggested for misspelt ones
    as well.
    """
    mistakes = error.errors(include_url=False)
    broken = {one["loc"][:depth] for one in mistakes for depth in range(len(one["loc"]))}
    for found in mistakes:
        # A list that is too short because its items are invalid is not a mistake of its own.
        if found["type"] == "too_short" and found["loc"] in broken:
            continue
        where, within = path, written
        for part in _parts(found["loc"], written):
            where = f"{where}[{part}]" if isinstance(part, int) else child_path(where, part)
            within = _inside(within, part)
        is_of_key = found["type"] in ("extra_forbidden", "missing")
        message = _message(found, model, other_keys)
        yield Problem(where, message, is_of_key=is_of_key, at=_meant(message, within, where))


def _inside(written: object, part: int | str) -> object:
    if isinstance(written, Mapping) or (isinstance(written, list) and isinstance(part, int)):
        try:
            return written[part]  # type: ignore[index]
        except (LookupError, TypeError):
            return None
    return None


def _meant(message: str, within: object, path: str) -> str | None:
    """The path of the key that a message about a whole mapping begins with, if it does."""
    first = message.partition(" ")[0]
    if isinstance(within, Mapping) and first in within:
        return child_path(path, first)
    return None


def rule_broken(found: ErrorDetails) -> str:
    """pydantic's message for an error, without its prefix to messages of our own validators."""
    return found["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")


def _parts(loc: Sequence[int | str], written: Any) -> Iterator[int | str]:
    """The keys and indexes of a location, without pydantic's names for members of unions."""
    for last, part in enumerate(loc, start=1 - len(loc)):
        inside = isinstance(written, Mapping) and part in written
        if inside or isinstance(part, int):
            written = written[part] if inside or isinstance(written, list) else None
            yield part
        elif isinstance(written, Mapping) and last == 0 and part != written.get("kind"):
            # A missing key. The `kind` of a mapping is named where it decides the member of a union.
            yield part


def _message(found: ErrorDetails, model: type[BaseModel] | None, other_keys: Sequence[str]) -> str:
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
            return _unknown_key(found["loc"], model, other_keys)
        case "literal_error" | "enum":
            return _not_a_choice(context["expected"], given)
        case "value_error" | "assertion_error":
            return str(context["error"])
    return _size(kind, context) or f"cannot be used: {found['msg'][:1].lower()}{found['msg'][1:]}"


def _size(kind: str, context: Mapping[str, Any]) -> str | None:
    """The message for a text, list or mapping that is too short, too long or malformed; else None."""
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
    loc: Sequence[int | str], model: type[BaseModel] | None, other_keys: Sequence[str]
) -> str:
    *outside, key = loc
    siblings = _fields(model, outside) if model is not None else []
    if not outside:
        siblings += other_keys
    below = {} if model is None else _fields_below(model, outside)
    if key in below and nearest(str(key), siblings) is None:
        return f"unknown key; it belongs in {below[str(key)]}: {{{key}: ...}}"
    return unknown_key(str(key), siblings)


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The message for an unknown key, with the nearest of the `known` ones if one is near.

    A key such as `name:value` with a known name lacks a space, and the message says that.
    """
    known = list(known)
    name, colon, _ = key.partition(":")
    if colon and name in known:
        return f"unknown key; write a space after the colon: {name}: ..."
    return f"unknown key{suggestion(key, known)}"


def _not_a_choice(expected: str, given: object) -> str:
    """The message for a value that is not among the choices, with the nearest choice."""
    known = _CHOICE.findall(expected)
    near = nearest(given, known) if isinstance(given, str) else None
    wanted = expected if len(known) != 1 else known[0]
    end = "" if isinstance(given, str) else describe_given(given)
    return f"must be {wanted}{end}" + (f'; did you mean "{near}"?' if near else "")


def _describe_given(kind: str, given: object) -> str:
    """The end of a message about a value of the wrong type: its type, with advice."""
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
    """The end of a message about a value that should be a number: its type, with advice.

    A number in quotes is recognised; texts are never quoted.
    """
    if isinstance(given, str) and _NUMBER.fullmatch(given):
        return ", not text: leave out the quotes"
    return describe_given(given)


def describe_given(given: object) -> str:
    """The end of a message about a value of the wrong type: the type; of numbers and booleans, the value.

    Texts are never quoted, because they may be secrets. Empty for a value of any other type.
    """
    match given:
        case None:
            return ", but is empty"
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
    """The keys that are allowed one level below a location, each with the key that it belongs in."""
    found: dict[str, str] = {}
    for outer in _at(model, loc):
        for name, field in outer.model_fields.items():
            for inner in _models(field.annotation):
                for key in inner.model_fields:
                    found.setdefault(key, field.alias or name)
    return found


def _fields(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """The keys that are allowed at a location."""
    return [
        field.alias or name
        for found in _at(model, loc)
        for name, field in found.model_fields.items()
    ]


def _at(model: type[BaseModel], loc: Sequence[int | str]) -> list[type[BaseModel]]:
    """The models that are possible at a location."""
    models = [model]
    for part in loc:
        annotations = [
            found.model_fields[part].annotation for found in models if part in found.model_fields
        ]
        # An index of a list, or a key of a mapping of models, leads to the same models.
        if annotations:
            models = [inner for annotation in annotations for inner in _models(annotation)]
    return models


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
