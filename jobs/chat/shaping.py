"""Requests in the format of an endpoint: names of parameters, the system role, further fields.

OpenAI-compatible endpoints differ in what they reject: `max_tokens`, a `seed`, a temperature of 0, the
role `system`. These settings affect replies, so they are part of a target's identity.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias, get_args
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pydantic import AfterValidator, BeforeValidator, JsonValue

from engine.kinds import checked_reference, is_reference
from jobs.chat.target import Question, Role

_SECRET_NAME = re.compile(
    r"auth|key|token|secret|cookie|password|credential|signature|\A(?:sig|code)\Z", re.IGNORECASE
)
_SECRET_VALUE = re.compile(r"(?:bearer|basic|token) |sk-|eyJ", re.IGNORECASE)
_SECRET_FIELD = re.compile(
    r"(?:x-)?api[-_]?keys?|authorization|password|secret|access[-_]token", re.IGNORECASE
)
_PARAMETER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_CONVERSATION = frozenset({"model", "messages"})

Parameter: TypeAlias = Literal["max_tokens", "seed", "temperature"]
"""A field of a request that Nightsweep fills in."""
PARAMETERS: tuple[Parameter, ...] = get_args(Parameter)


class SystemRole(StrEnum):
    """How a system prompt is sent.

    `user` puts it before the first user message, separated by a blank line, because models without a system
    role need user and assistant to alternate. `none` omits it.
    """

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    NONE = "none"


def check_takes_instructions(system_role: SystemRole) -> None:
    """Raise ValueError if the endpoint of a judge or an attacker would not send it its instructions."""
    if system_role is SystemRole.NONE:
        raise ValueError(
            "system_role: none would leave out what the model has to do; for a model without a"
            " system role write system_role: user"
        )


def refuse_literal_keys(values: Mapping[str, str]) -> Mapping[str, str]:
    """Raise ValueError for a literal key among headers or query parameters; return them otherwise.

    A value is taken for a key if its name or its form is that of one. The error names the header and never
    the value; it is also raised for a malformed reference.
    """
    for name, value in values.items():
        if is_reference(value):
            checked_reference(value)
        elif _SECRET_NAME.search(name) or _SECRET_VALUE.match(value):
            # Without the value, which may be the key.
            raise ValueError(
                f"{name} looks like a key, which is never written into a sweep file: write"
                " `env:NAME`, `file:PATH` or `dotenv:FILE#NAME` as its value"
            )
    return values


def _check_names(names: Mapping[Parameter, str | None]) -> Mapping[Parameter, str | None]:
    sent = [name for name in names.values() if name is not None]
    for name in sent:
        if not _PARAMETER_NAME.fullmatch(name) or name in _CONVERSATION:
            raise ValueError(f"{name!r:.80} is not a name that a parameter can have")
    taken = [*sent, *(name for name in PARAMETERS if name not in names)]
    if len(set(taken)) < len(taken):
        raise ValueError("two parameters have the same name; give each its own")
    return names


def _check_fields(fields: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    if ours := sorted(_CONVERSATION.intersection(fields)):
        raise ValueError(f"{ours[0]} comes from the sweep's matrix and cannot be set here")
    if fields.get("n") not in (None, 1):
        raise ValueError("n: only one reply of each call is read; use `repeats` in the matrix")
    for path, value in _texts(fields, ""):
        field = path.rpartition(".")[2].partition("[")[0]
        if _SECRET_FIELD.fullmatch(field) or _SECRET_VALUE.match(value):
            raise ValueError(
                f"{path} looks like a key, which is never written into a sweep file: send it in"
                " `headers`, as a reference"
            )
    return fields


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every text inside a JSON value, with its path; without recursion, so any depth is possible."""
    rest: list[tuple[str, Any]] = [(path, value)]
    while rest:
        path, value = rest.pop()
        match value:
            case str():
                yield path, value
            case Mapping():
                rest += [(f"{path}.{key}".lstrip("."), each) for key, each in value.items()]
            case list():
                rest += [(f"{path}[{place}]", each) for place, each in enumerate(value)]


def _numbers_to_text(values: Any) -> Any:
    # `api-version: 2` is a number in YAML.
    if not isinstance(values, Mapping):
        return values
    return {
        name: str(value) if type(value) in (int, float) else value for name, value in values.items()
    }


Headers = Annotated[Mapping[str, str], AfterValidator(refuse_literal_keys)]
Query = Annotated[
    Mapping[str, str],
    BeforeValidator(_numbers_to_text, json_schema_input_type=Mapping[str, str | int | float]),
    AfterValidator(refuse_literal_keys),
]
"""Query parameters of every call."""
ParameterNames = Annotated[Mapping[Parameter, str | None], AfterValidator(_check_names)]
"""The endpoint's name of a parameter, or None if it has no such parameter."""
ExtraBody = Annotated[Mapping[str, JsonValue], AfterValidator(_check_fields)]
"""Further fields of every request, sent unchanged; each replaces a field of the same name."""


def move_query(written: Any) -> Any:
    """An endpoint's settings with the query of `base_url` moved into `query`.

    Users copy addresses with their query, as Azure shows them. Raises ValueError for a name in both.
    """
    if not isinstance(written, Mapping) or not isinstance(written.get("base_url"), str):
        return written
    try:
        address = urlsplit(written["base_url"].strip())
        found = parse_qsl(address.query, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        return written  # without a query, or not an address: base_url says what is wrong
    query = written.get("query") or {}
    if not isinstance(query, Mapping):
        return written
    names = [*(name for name, _ in found), *query]
    if len(set(names)) < len(names):
        raise ValueError("the query of base_url and `query` have a name in common; write it once")
    bare = urlunsplit(address._replace(query=""))
    return {**written, "base_url": bare, "query": {**query, **dict(found)}}


def check_extra_fields(fields: Iterable[str], names: Mapping[Parameter, Any]) -> None:
    """Raise ValueError for a field of `extra_body` that has its own setting, saying where to write it.

    `names` are the parameter names of the endpoint, which those fields are compared with.
    """
    sent = {names.get(parameter, parameter) for parameter in PARAMETERS}
    for field in fields:
        if field in PARAMETERS:
            raise ValueError(
                f"extra_body.{field} has its own setting: write {field} next to the endpoint, or"
                f" parameter_names: {{{field}: null}} in it to send none"
            )
        if field == "max_completion_tokens" or field in sent:
            raise ValueError(
                f"extra_body.{field} has its own setting: write the value of max_tokens, seed or"
                " temperature next to the endpoint, and its name into parameter_names, such as"
                " {max_tokens: max_completion_tokens}"
            )


def request_body(
    question: Question,
    options: Mapping[str, Any],
    *,
    names: Mapping[Parameter, str | None],
    system_role: SystemRole,
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    """The body of one call, in the endpoint's names and with its role for system messages.

    `options` are the generation settings, which the question's own replace; a parameter whose name is None
    is not sent. `extra` replaces fields of all others.
    """
    # Some endpoints stream unless `stream` is false.
    fields = {
        "stream": False,
        **options,
        **question.as_json(),
        "messages": _messages(question, system_role),
    }
    sent: dict[str, str | None] = {name: names.get(name, name) for name in PARAMETERS}
    named = ((sent.get(name, name), value) for name, value in fields.items())
    return {**{name: value for name, value in named if name is not None}, **extra}


def _messages(question: Question, system_role: SystemRole) -> list[dict[str, str]]:
    messages = [message.as_json() for message in question.messages]
    if system_role is SystemRole.SYSTEM or question.messages[0].role is not Role.SYSTEM:
        return messages
    system, *others = messages
    match system_role:
        case SystemRole.DEVELOPER:
            return [{**system, "role": SystemRole.DEVELOPER.value}, *others]
        case SystemRole.USER:
            first, *rest = others
            return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]
    return others
