"""Checks replies against a JSON Schema, with the package jsonschema if it is installed."""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any, TypeAlias
from urllib.parse import unquote

from jobs.chat.scorers.matching import json_in

_MESSAGE_MAX = 300
Schema: TypeAlias = Mapping[str, Any]

MISSING = "needs the extra json-schema: run `pip install 'nightsweep[json-schema]'`"


def find_mistake(schema: Schema) -> str | None:
    """What is wrong with a schema, or that the package is missing; None if replies can be checked."""
    if find_spec("jsonschema") is None:
        return MISSING
    from jsonschema import SchemaError  # slow to import, and not always needed
    from jsonschema.validators import validator_for

    for reference in _references(schema):
        if not reference.startswith("#"):
            return f"{reference} is in another document: write what it stands for into $defs"
        if not _leads_somewhere(schema, reference):
            return f"{reference} leads nowhere"
    try:
        validator_for(schema).check_schema(dict(schema))
    except SchemaError as error:
        return f"is no JSON Schema: {_shorten(error.message)} at {error.json_path}"
    return None


def describe_violation(schema: Schema, reply: str) -> str | None:
    """Why a reply is not what the schema describes; None if it is. The schema has no mistake."""
    from jsonschema.exceptions import best_match  # slow to import, and not always needed
    from jsonschema.validators import validator_for

    try:
        value = json_in(reply)
    except ValueError as error:
        return f"not JSON: {_shorten(str(error))}"
    try:
        found = best_match(validator_for(schema)(schema).iter_errors(value))
    except RecursionError:
        return "nested too deeply"
    return None if found is None else f"{found.json_path}: {_shorten(found.message)}"


def _references(schema: Schema) -> Iterator[str]:
    """Every reference in a schema."""
    rest: list[Any] = [schema]
    while rest:
        match rest.pop():
            case Mapping() as part:
                for key, value in part.items():
                    if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                        yield value
                    else:
                        rest.append(value)
            case list() as parts:
                rest += parts


def _leads_somewhere(schema: Schema, reference: str) -> bool:
    """Whether a reference within a schema points to a part of it; names of anchors are not looked up."""
    if not reference.startswith("#/"):
        return True
    found: Any = schema
    for step in unquote(reference).removeprefix("#/").split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        match found:
            case Mapping() if key in found:
                found = found[key]
            case list() if key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            case _:
                return False
    return True


def _shorten(text: str) -> str:
    return text if len(text) <= _MESSAGE_MAX else f"{text[: _MESSAGE_MAX - 1]}…"
