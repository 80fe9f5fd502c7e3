"""Checks replies against a JSON Schema, with the package jsonschema if it is installed."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, TypeAlias

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

    if far := _remote_reference(schema):
        return f"{far} is in another document: write what it stands for into $defs"
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
    found = best_match(validator_for(schema)(schema).iter_errors(value))
    return None if found is None else f"{found.json_path}: {_shorten(found.message)}"


def _remote_reference(schema: Schema) -> str | None:
    """The first reference that leads out of the schema, which would be fetched."""
    rest: list[Any] = [schema]
    while rest:
        match rest.pop():
            case Mapping() as part:
                for key, value in part.items():
                    if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                        if not value.startswith("#"):
                            return value
                    else:
                        rest.append(value)
            case list() as parts:
                rest += parts
    return None


def _shorten(text: str) -> str:
    return text if len(text) <= _MESSAGE_MAX else f"{text[: _MESSAGE_MAX - 1]}…"
