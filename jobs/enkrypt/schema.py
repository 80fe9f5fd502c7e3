"""Endpoint configurations (ModelCustomRequestObject) and the answer to the model-health question.

A configuration is checked and then sent as it was written: fields that are not known here survive.
Its keys are references until the moment of sending.
"""

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from engine.kinds import SecretReference, resolve_secret, rule_broken

LABEL = "name"
"""A field that only Nightsweep reads: the name that rows show instead of model_name."""

SECRET_FIELDS = frozenset(
    {
        "access_token",
        "api_key",
        "api_keys",
        "apikey",
        "apikeys",
        "authorization",
        "client_secret",
        "model_api_key",
        "model_bearer_token",
        "password",
        "secret",
        "token",
    }
)

_REFERENCE: TypeAdapter[str] = TypeAdapter(SecretReference)
_DEEPEST = 20


def _whole(value: Any) -> Any:
    # Web forms and other languages write 20 as 20.0 or "20".
    try:
        number = float(value) if isinstance(value, str | float) else None
    except ValueError:
        return value
    return int(number) if number is not None and number.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]


def _address(text: str) -> str:
    # The vendor's package writes an empty string for a URL that is not set.
    if text:
        address = urlsplit(text)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise PydanticCustomError("url", "write a whole http or https URL")
        if address.username is not None or address.password is not None:
            raise PydanticCustomError("url", "holds a user or a password; write a key reference")
    return text


def _without_case(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _as_text(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else json.dumps(value)


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class Endpoint(_Part):
    """Where the model answers."""

    scheme: Literal["http", "https"]
    host: Annotated[str, Field(min_length=1)]
    port: Annotated[Whole, Field(ge=1, le=65535)] | None = None
    base_path: str | None = None


class ModelConfiguration(_Part):
    """How the model is reached: at an `endpoint` in parts, or at an `endpoint_url`.

    The vendor's package writes the second form, and one `apikey` in place of several.
    """

    endpoint: Endpoint | None = None
    endpoint_url: Annotated[str, AfterValidator(_address)] | None = None
    model_provider: str | None = None
    hosting_type: str | None = None
    input_modalities: list[str] | None = None
    output_modalities: list[str] | None = None
    model_source: str | None = None
    rate_per_min: Annotated[Whole, Field(ge=1)] | None = None
    system_prompt: str | None = None
    paths: dict[str, Any] | None = None
    auth_data: dict[str, Any] | None = None
    apikeys: list[str] | None = None
    apikey: str | None = None
    metadata: dict[str, Any] | None = None
    default_request_options: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        if self.endpoint is None and not self.endpoint_url:
            raise PydanticCustomError(
                "endpoint_missing",
                "write `endpoint` (scheme, host, port, base_path) or `endpoint_url`",
            )
        return self


class EndpointConfiguration(_Part):
    """The whole configuration. pydantic reserves the name `model_config`, hence the alias."""

    configuration: ModelConfiguration = Field(alias="model_config")
    model_name: Annotated[str, Field(min_length=1)]
    testing_for: str | None = None
    certifications: list[str] | None = None


class HealthAnswer(BaseModel):
    """Whether a model is healthy, as `status` says in any spelling and whatever `error` holds.

    Unknown fields are kept.
    """

    model_config = ConfigDict(extra="allow")

    status: Annotated[Literal["healthy", "unhealthy"], BeforeValidator(_without_case)]
    message: Annotated[str | None, BeforeValidator(_as_text)] = None
    data: Any = None
    error: Any = None


HEALTH_ANSWER = TypeAdapter(HealthAnswer)


def endpoint_schema() -> Mapping[str, Any]:
    """The JSON Schema of an endpoint configuration."""
    made = EndpointConfiguration.model_json_schema()
    label = {"type": "string", "description": "What rows show in place of model_name; not sent."}
    return {**made, "properties": {LABEL: label, **made["properties"]}}


def read_endpoint(document: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The label and the content of an endpoint configuration.

    The label is its `name` if it has one (which is not sent), else its `model_name`. Raises
    ValueError with every mistake and its path; a literal key is one, and is not repeated.
    """
    content = {name: value for name, value in document.items() if name != LABEL}
    try:
        configuration = EndpointConfiguration.model_validate(content)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        texts = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems]
        raise ValueError("; ".join(texts)) from None
    label = document.get(LABEL, configuration.model_name)
    if not isinstance(label, str) or not label.strip():
        raise ValueError(f"{LABEL}: write a text that is not empty, or leave it out")
    with_secrets(content, checked_reference)
    return label, content


def with_secrets(
    content: Mapping[str, Any], resolve: Callable[[str], str] = resolve_secret
) -> dict[str, Any]:
    """A copy in which `resolve` has replaced each key: the values of fields named like one."""
    return {name: _resolve(name, value, resolve, name, 0) for name, value in content.items()}


def _resolve(name: str, value: Any, resolve: Callable[[str], str], path: str, depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError(f"{path}: nested too deeply")
    if isinstance(value, Mapping):
        if set(value) == {"key", "value"} and isinstance(value["key"], str):
            # A header, as the vendor's package lists them.
            header = value["key"]
            written = _resolve(header, value["value"], resolve, f"{path}.value", depth + 1)
            return {"key": header, "value": written}
        return {
            key: _resolve(str(key), each, resolve, f"{path}.{key}", depth + 1)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [
            _resolve(name, each, resolve, f"{path}[{index}]", depth + 1)
            for index, each in enumerate(value)
        ]
    if isinstance(value, str) and _is_secret(name):
        try:
            return resolve(value)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return value


def _is_secret(name: str) -> bool:
    return name.lower().replace("-", "_").removeprefix("x_") in SECRET_FIELDS


def checked_reference(text: str) -> str:
    """Return the text if it is a reference to a key; raises ValueError, without quoting it, if not."""
    try:
        return _REFERENCE.validate_python(text)
    except ValidationError as error:
        [problem] = error.errors(include_url=False, include_context=False, include_input=False)
    raise ValueError(rule_broken(problem))
