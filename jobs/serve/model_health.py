"""Model health as Enkrypt AI offers it: ask a model a plain question, and tell what came of it."""

import json
import logging
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import httpx
from fastapi import APIRouter, Depends, Header, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from engine.kinds import Clock, JobError, UsageError
from engine.serving.errors import ApiError
from engine.serving.shutdown import Shutdown
from jobs.chat.reading import read_reply
from jobs.chat.target import Message, Reply, Role
from jobs.enkrypt.schema import EndpointConfiguration, ModelConfiguration
from jobs.http import HttpClient, HttpLimits, parse_base_url, plain, redaction_told
from jobs.serve.addresses import AllowList, NotAllowed, port_of
from jobs.serve.api_errors import error_responses
from jobs.serve.auth import AuthenticatedRoute, require_key
from jobs.serve.config import ServeConfig
from jobs.serve.ledger import Key
from jobs.serve.openapi import Tag

logger = logging.getLogger(__name__)

QUERY = "What is the capital of France? Answer in one word."
"""The question that every model is asked."""

_OF_MODEL: Mapping[str, Any] = {
    "tags": [Tag.MODEL_HEALTH],
    "description": f"Ask the model {QUERY!r} and tell whether it answers. Only addresses that whoever"
    " runs the service has listed are asked.",
}
_OF_SERVICE: Mapping[str, Any] = {
    "tags": [Tag.HEALTH],
    "description": "Whether the service is there. Needs no key.",
}
_REPLY_BYTES_MAX = 1024 * 1024
_AT_ONCE = 16
_AT_ONCE_PER_KEY = 4
_RETRY_AFTER_S = 5
_CHAT = "chat/completions"
_PLACEHOLDER = re.compile(r"\{\{?\s*\$?[A-Za-z_][\w.]*\s*\}|\$\{\w+\}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
# What belongs to the connection or is said by our client: sent twice it would confuse the other side.
_OURS = frozenset({"accept", "accept-encoding", "content-type", "user-agent"})
_CONNECTION = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def _absent(value: Any) -> Any:
    if value:
        raise ValueError("is not supported by this service; leave it out")
    return value


class CustomHeader(BaseModel):
    """A header that is sent to the model besides its key."""

    key: str
    value: str


class _Custom(BaseModel):
    """What changes the request to the model, in both of the older calls."""

    custom_headers: Annotated[
        list[CustomHeader] | None, Field(description="Sent to the model besides its key.")
    ] = None
    custom_payload: Annotated[
        dict[str, Any] | None,
        Field(description="Fields that are added to the request, such as `temperature`."),
    ] = None
    custom_curl_command: Annotated[
        str | None, AfterValidator(_absent), Field(description="Not supported: leave it out.")
    ] = None


class TargetModelConfiguration(_Custom):
    """How a model is reached, as `enkryptai-sdk` tells it. Unknown fields are passed over."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True, protected_namespaces=())

    model_endpoint_url: Annotated[
        str, Field(min_length=1, description="With or without `/chat/completions`.")
    ]
    model_name: Annotated[str, Field(min_length=1)]
    model_api_key: str | None = None
    model_auth_type: Literal["apikey"] | None = None
    system_prompt: str | None = None


class ModelDetails(_Custom, ModelConfiguration):
    """How a model is reached, in version 3: at an `endpoint` in parts, or at an `endpoint_url`."""

    # Checked as an address of this service's, in words for its callers.
    endpoint_url: str | None = None


class ModelEndpoint(EndpointConfiguration):
    """A model and how it is reached, in version 3."""

    configuration: ModelDetails = Field(alias="model_config")


class Target(BaseModel):
    """A model and how it is reached, in the calls under `/rt`. Unknown fields are passed over."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True, protected_namespaces=())

    endpoint: Annotated[
        str, Field(min_length=1, description="With or without `/chat/completions`.")
    ]
    model_name: Annotated[str, Field(min_length=1)]
    api_key: str | None = None
    system_prompt: str | None = None
    connect_via_relay: Annotated[
        bool | None, AfterValidator(_absent), Field(description="Not supported: leave it out.")
    ] = None


class ModelHealthRequest(BaseModel):
    """The question of version 3."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    endpoint_configuration: ModelEndpoint


class TargetModelHealthRequest(BaseModel):
    """The question as `RedTeamLegacyClient` of `enkryptai-sdk` asks it."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    target_model_configuration: TargetModelConfiguration


class RtModelHealthRequest(BaseModel):
    """The question as `RedTeamClient` of `enkryptai-sdk` asks it."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    target: Target


class HealthResponse(BaseModel):
    """The service is there."""

    status: Literal["healthy"]


class HealthData(BaseModel):
    """What the model was asked and what it said; null where it said nothing."""

    query: str
    response: str | None


class ModelHealthResponse(BaseModel):
    """Whether a model answers; `error` is empty if it does."""

    status: Literal["healthy", "unhealthy"]
    message: str
    data: HealthData
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One model to ask. `where` is the place in the request that says its address."""

    url: httpx.URL
    path: str
    model: str
    system_prompt: str
    headers: Mapping[str, str]
    secrets: Mapping[str, str]
    options: Mapping[str, Any]
    where: tuple[str, ...]

    def body(self) -> bytes:
        messages = [Message(Role.USER, QUERY)]
        if self.system_prompt:
            messages.insert(0, Message(Role.SYSTEM, self.system_prompt))
        asked = {"model": self.model, "messages": [each.as_json() for each in messages]}
        try:
            return json.dumps({**self.options, **asked, "stream": False}, allow_nan=False).encode()
        except (ValueError, RecursionError):
            raise _mistake(self.where[:1], "cannot be sent on: a number or its nesting") from None


class _Asking:
    """Asks models, so many at once, and at most some of them for one key."""

    def __init__(self, config: ServeConfig, shutdown: Shutdown, clock: Clock) -> None:
        endpoints = [
            offer.endpoint.base_url
            for offer in config.models.values()
            if offer.endpoint is not None
        ]
        if config.openai is not None:
            endpoints.append(config.openai.base_url)
        self._allowed = AllowList(config.model_health.allow, endpoints)
        self._timeout_s = config.model_health.timeout_s
        self._shutdown = shutdown
        self._clock = clock
        self._under_way: Counter[str] = Counter()

    async def ask(self, asked: _Asked, key: Key) -> ModelHealthResponse:
        """What came of asking; raises RequestValidationError and ApiError where nobody is asked."""
        try:
            resolver = self._allowed.resolver(_below(asked))
            client = HttpClient(
                str(asked.url),
                clock=self._clock,
                headers=asked.headers,
                secrets=asked.secrets,
                limits=HttpLimits(deadline_s=self._timeout_s, max_body_bytes=_REPLY_BYTES_MAX),
                resolver=resolver,
            )
        except (NotAllowed, UsageError) as error:
            raise _mistake(asked.where, str(error)) from None
        body = asked.body()
        with self._one_more(key.name):
            async with client:
                try:
                    answer = await client.post(asked.path, body)
                    reply = read_reply(
                        answer.body,
                        where=answer.where,
                        redact=client.redact,
                        headers=answer.headers,
                        now=self._clock.now(),
                    )
                    _log_redacted(answer.where, answer.redacted.union(reply.redacted))
                except JobError as error:
                    return _unhealthy(asked, client, error)
        return _healthy(asked, client, reply)

    @contextmanager
    def _one_more(self, key: str) -> Iterator[None]:
        under_way = self._under_way
        if under_way.total() >= _AT_ONCE or under_way[key] >= _AT_ONCE_PER_KEY:
            raise ApiError(
                429,
                "as many models are being asked as may be at once",
                retry_after_s=_RETRY_AFTER_S,
            )
        with self._shutdown.working() as work:
            work.has_begun = True
            under_way[key] += 1
            try:
                yield
            finally:
                under_way[key] -= 1


class _AuthenticatedRoute(AuthenticatedRoute):
    key_header = "apikey"


def model_health_router(config: ServeConfig, shutdown: Shutdown, clock: Clock) -> APIRouter:
    """The router of these calls; raises ValueError for an entry of `model_health.allow` that is none."""
    router = APIRouter(route_class=_AuthenticatedRoute)
    asking = _Asking(config, shutdown, clock)
    refusals = error_responses(401, 422, 429, 503)

    @router.get("/redteam/health", summary="Health of the service (legacy client)", **_OF_SERVICE)
    @router.get("/rt/health", summary="Health of the service", **_OF_SERVICE)
    async def health() -> HealthResponse:
        return HealthResponse(status="healthy")

    @router.post(
        "/redteam/v3/model-health",
        responses=refusals,
        summary="Health of a model, version 3",
        **_OF_MODEL,
    )
    async def model_health_v3(body: ModelHealthRequest, key: _Caller) -> ModelHealthResponse:
        return await asking.ask(_from_endpoint(body.endpoint_configuration), key)

    @router.post(
        "/redteam/model-health",
        responses=refusals,
        summary="Health of a model (legacy client)",
        **_OF_MODEL,
    )
    async def model_health(body: TargetModelHealthRequest, key: _Caller) -> ModelHealthResponse:
        return await asking.ask(_from_target(body.target_model_configuration), key)

    @router.post("/rt/model-health", responses=refusals, summary="Health of a model", **_OF_MODEL)
    async def rt_model_health(body: RtModelHealthRequest, key: _Caller) -> ModelHealthResponse:
        return await asking.ask(_from_rt(body.target), key)

    return router


async def _caller(
    request: Request, apikey: Annotated[str, Header(description="A key of this service.")]
) -> Key:
    return await require_key(request, apikey, header="apikey")


_Caller = Annotated[Key, Depends(_caller)]


def _from_endpoint(asked: ModelEndpoint) -> _Asked:
    model = asked.configuration
    url, path, where = _place_of(model)
    auth = model.auth_data or {}
    name, secret = (
        str(auth.get("header_name") or "Authorization"),
        next(iter(model.apikeys or []), model.apikey or ""),
    )
    prefix = str(auth.get("header_prefix", "Bearer") or "")
    space = " " if prefix and auth.get("space_after_prefix", True) else ""
    return _Asked(
        url=url,
        path=path,
        model=asked.model_name,
        system_prompt=model.system_prompt or "",
        headers=_headers(
            ({name.lower(): f"{prefix}{space}{secret}"} if secret else {}) | _custom(model),
            where[:2],
        ),
        secrets=({name: secret} if secret else {}) | _custom(model),
        options={
            **(model.default_request_options or {}),
            **_payload(model, asked.model_name, (*where[:2], "custom_payload")),
        },
        where=where,
    )


def _place_of(model: ModelDetails) -> tuple[httpx.URL, str, tuple[str, ...]]:
    """The base URL and the path of a model's calls, and where the request says so."""
    within = ("endpoint_configuration", "model_config")
    path = str((model.paths or {}).get("chat") or _CHAT).lstrip("/")
    if model.endpoint_url:
        where = (*within, "endpoint_url")
        base = _base(model.endpoint_url)
        is_whole = base != model.endpoint_url.rstrip("/")
        return _url(base, where), _CHAT if is_whole else path, where
    where, endpoint = (*within, "endpoint"), model.endpoint
    assert endpoint is not None, "a configuration has one of both"
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    port = "" if endpoint.port is None else f":{endpoint.port}"
    base_path = (endpoint.base_path or "").strip("/")
    return _url(f"{endpoint.scheme}://{host}{port}/{base_path}", where), path, where


def _from_target(asked: TargetModelConfiguration) -> _Asked:
    where = ("target_model_configuration", "model_endpoint_url")
    secret = asked.model_api_key or ""
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    custom = _custom(asked)
    return _Asked(
        url=_url(_base(asked.model_endpoint_url), where),
        path=_CHAT,
        model=asked.model_name,
        system_prompt=asked.system_prompt or "",
        headers=_headers(headers | custom, where[:1]),
        secrets=({"model_api_key": secret} if secret else {}) | custom,
        options=_payload(asked, asked.model_name, (*where[:1], "custom_payload")),
        where=where,
    )


def _from_rt(asked: Target) -> _Asked:
    secret = asked.api_key or ""
    where = ("target", "endpoint")
    return _Asked(
        url=_url(_base(asked.endpoint), where),
        path=_CHAT,
        model=asked.model_name,
        system_prompt=asked.system_prompt or "",
        headers={"authorization": f"Bearer {secret}"} if secret else {},
        secrets={"api_key": secret} if secret else {},
        options={},
        where=where,
    )


def _base(url: str) -> str:
    """The base URL; the address of the call is written as often as that of the interface."""
    return url.rstrip("/").removesuffix(f"/{_CHAT}")


def _custom(asked: _Custom) -> dict[str, str]:
    """The headers that the caller writes out: they go before what is made of the key."""
    return {each.key.lower(): each.value for each in asked.custom_headers or []}


def _payload(asked: _Custom, model: str, where: tuple[str, ...]) -> Mapping[str, Any]:
    """The fields that the caller adds to the request; raises RequestValidationError for ours."""
    payload = asked.custom_payload or {}
    ours = {"model": model, "stream": False}
    for name, value in payload.items():
        if name == "messages" or (name in ours and value != ours[name]):
            raise _mistake((*where, name), "this service fills it in itself; leave it out")
        if isinstance(value, str) and _PLACEHOLDER.search(value):
            raise _mistake((*where, name), "holds a placeholder, which nobody fills in here")
    return payload


def _url(text: str, where: tuple[str, ...]) -> httpx.URL:
    try:
        return parse_base_url(text)
    except ValueError as error:
        raise _mistake(where, _without_advice(str(error))) from None


def _below(asked: _Asked) -> httpx.URL:
    try:
        return asked.url.copy_with(path=f"{asked.url.path.rstrip('/')}/{asked.path}")
    except (httpx.InvalidURL, ValueError):
        raise _mistake(asked.where, "names a path that no URL can have") from None


def _headers(headers: Mapping[str, str], where: tuple[str, ...]) -> dict[str, str]:
    for name in headers:
        if not _TOKEN.match(name) or name.lower() in _CONNECTION:
            raise _mistake(where, "names a header that cannot be sent to a model")
    return {name: value for name, value in headers.items() if name.lower() not in _OURS}


def _healthy(asked: _Asked, client: HttpClient, reply: Reply) -> ModelHealthResponse:
    return ModelHealthResponse(
        status="healthy",
        message=plain(f"{asked.model} at {_place(asked)} answered", client.redact),
        data=HealthData(query=QUERY, response=reply.text),
        error="",
    )


def _unhealthy(asked: _Asked, client: HttpClient, error: JobError) -> ModelHealthResponse:
    message = _without_advice(error.message)
    told = f"{message}: {error.detail}" if error.detail else message
    return ModelHealthResponse(
        status="unhealthy",
        message=plain(f"{asked.model} at {_place(asked)} did not answer", client.redact),
        data=HealthData(query=QUERY, response=None),
        error=plain(told, client.redact),
    )


def _without_advice(message: str) -> str:
    """What happened, without what follows a semicolon: that is for the author of a sweep."""
    return message.partition("; ")[0]


def _log_redacted(where: str, names: Collection[str]) -> None:
    if names:
        logger.warning("redacted", extra={"cause": redaction_told(where, names)})


def _place(asked: _Asked) -> str:
    return f"{asked.url.host}:{port_of(asked.url)}"


def _mistake(where: tuple[str, ...], message: str) -> RequestValidationError:
    return RequestValidationError(
        [{"loc": ("body", *where), "msg": message, "type": "value_error"}]
    )
