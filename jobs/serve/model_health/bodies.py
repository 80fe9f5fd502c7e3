"""Bodies of the model health calls: the requests of both versions and of both clients, and the response."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from jobs.enkrypt.schema import EndpointConfiguration, ModelConfiguration


def _require_absent(value: Any) -> Any:
    if value:
        raise ValueError("is not supported by this service; leave it out")
    return value


class CustomHeader(BaseModel):
    """A header to send to the model in addition to its key."""

    key: str
    value: str


class Customization(BaseModel):
    """Changes to the request that is sent to the model, in version 3 and in the legacy client."""

    custom_headers: Annotated[
        list[CustomHeader] | None, Field(description="Sent to the model in addition to its key.")
    ] = None
    custom_payload: Annotated[
        dict[str, Any] | None,
        Field(description="Fields to add to the request, such as `temperature`."),
    ] = None
    custom_curl_command: Annotated[
        str | None,
        AfterValidator(_require_absent),
        Field(description="Not supported: leave it out."),
    ] = None


class TargetModelConfiguration(Customization):
    """How a model is reached, in the legacy client of `enkryptai-sdk`. Unknown fields are ignored."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True, protected_namespaces=())

    model_endpoint_url: Annotated[
        str, Field(min_length=1, description="With or without `/chat/completions`.")
    ]
    model_name: Annotated[str, Field(min_length=1)]
    model_api_key: str | None = None
    model_auth_type: Literal["apikey"] | None = None
    system_prompt: str | None = None


class ModelDetails(Customization, ModelConfiguration):
    """How a model is reached, in version 3: by an `endpoint` in parts, or by an `endpoint_url`."""

    # Any text: the service checks it itself, with messages for its callers.
    endpoint_url: str | None = None


class ModelEndpoint(EndpointConfiguration):
    """A model and how it is reached, in version 3."""

    configuration: ModelDetails = Field(alias="model_config")


class Target(BaseModel):
    """A model and how it is reached, in the calls under `/rt`. Unknown fields are ignored."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True, protected_namespaces=())

    endpoint: Annotated[
        str, Field(min_length=1, description="With or without `/chat/completions`.")
    ]
    model_name: Annotated[str, Field(min_length=1)]
    api_key: str | None = None
    system_prompt: str | None = None
    connect_via_relay: Annotated[
        bool | None,
        AfterValidator(_require_absent),
        Field(description="Not supported: leave it out."),
    ] = None


class ModelHealthRequest(BaseModel):
    """A request of version 3."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    endpoint_configuration: ModelEndpoint


class TargetModelHealthRequest(BaseModel):
    """A request of `RedTeamLegacyClient` in `enkryptai-sdk`."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    target_model_configuration: TargetModelConfiguration


class RtModelHealthRequest(BaseModel):
    """A request of `RedTeamClient` in `enkryptai-sdk`."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    target: Target


class HealthResponse(BaseModel):
    """The service is running."""

    status: Literal["healthy"]


class HealthData(BaseModel):
    """The question to the model and its reply; null if it did not reply."""

    query: str
    response: str | None


class ModelHealthResponse(BaseModel):
    """Whether a model answers; `error` is empty if it does."""

    status: Literal["healthy", "unhealthy"]
    message: str
    data: HealthData
    error: str
