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
from pydantic import BaseModel, ConfigDict, Field

from engine.job import Clock, JobError, UsageError
from jobs.chat.reading import read_reply
from jobs.chat.target import Message, Reply, Role
from jobs.enkrypt.schema import EndpointConfiguration
from jobs.http import HttpClient, HttpLimits, parse_base_url, plain, redaction_told
from jobs.serve.addresses import AllowList, NotListed, port_of
from jobs.serve.closing import Closing
from jobs.serve.config import ServeConfig
from jobs.serve.guarded import known_key
from jobs.serve.ledger import Key
from jobs.serve.refusals import Refused, documented

logger = logging.getLogger(__name__)

QUERY = "What is the capital of France? Answer in one word."
"""The question that every model is asked."""

_REPLY_BYTES_MAX = 1024 * 1024
_AT_ONCE = 16
_AT_ONCE_PER_KEY = 4
_RETRY_AFTER_S = 5
_CHAT = "chat/completions"
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


class CustomHeader(BaseModel):
    """A header that is sent to the model besides its key."""

    key: str
    value: str


class TargetModelConfiguration(BaseModel):
    """How a model is reached, as the vendor's package tells it. Unknown fields are passed over."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True, protected_namespaces=())

    model_endpoint_url: Annotated[str, Field(min_length=1)]
    model_name: Annotated[str, Field(min_length=1)]
    model_api_key: str | None = None
    model_auth_type: Literal["apikey"] | None = None
    system_prompt: str | None = None
    custom_headers: list[CustomHeader] | None = None


class ModelHealthRequest(BaseModel):
    """The question of version 3."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    endpoint_configuration: EndpointConfiguration


class TargetModelHealthRequest(BaseModel):
    """The question as the vendor's package asks it."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    target_model_configuration: TargetModelConfiguration


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

    def __init__(self, config: ServeConfig, closing: Closing, clock: Clock) -> None:
        endpoints = [
            offer.endpoint.base_url
            for offer in config.models.values()
            if offer.endpoint is not None
        ]
        if config.openai is not None:
            endpoints.append(config.openai.base_url)
        self._allowed = AllowList(config.model_health.allow, endpoints)
        self._timeout_s = config.model_health.timeout_s
        self._closing = closing
        self._clock = clock
        self._under_way: Counter[str] = Counter()

    async def ask(self, asked: _Asked, key: Key) -> ModelHealthResponse:
        """What came of asking; raises RequestValidationError and Refused where nobody is asked."""
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
        except (NotListed, UsageError) as error:
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
            raise Refused(
                429,
                "as many models are being asked as may be at once",
                retry_after_s=_RETRY_AFTER_S,
            )
        with self._closing.working() as work:
            work.has_begun = True
            under_way[key] += 1
            try:
                yield
            finally:
                under_way[key] -= 1


def model_health_router(config: ServeConfig, closing: Closing, clock: Clock) -> APIRouter:
    """The router of both calls; raises ValueError for an entry of `model_health.allow` that is none."""
    router = APIRouter()
    asking = _Asking(config, closing, clock)
    refusals = documented(401, 422, 429, 503)

    @router.post("/redteam/v3/model-health", responses=refusals)
    async def model_health_v3(body: ModelHealthRequest, key: _Caller) -> ModelHealthResponse:
        return await asking.ask(_from_endpoint(body.endpoint_configuration), key)

    @router.post("/redteam/model-health", responses=refusals)
    async def model_health(body: TargetModelHealthRequest, key: _Caller) -> ModelHealthResponse:
        return await asking.ask(_from_target(body.target_model_configuration), key)

    return router


async def _caller(request: Request, apikey: Annotated[str, Header()]) -> Key:
    return await known_key(request, apikey, header="apikey")


_Caller = Annotated[Key, Depends(_caller)]


def _from_endpoint(asked: EndpointConfiguration) -> _Asked:
    where = ("endpoint_configuration", "model_config", "endpoint")
    model = asked.configuration
    endpoint = model.endpoint
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    port = "" if endpoint.port is None else f":{endpoint.port}"
    base_path = (endpoint.base_path or "").strip("/")
    auth = model.auth_data or {}
    name, secret = (
        str(auth.get("header_name") or "Authorization"),
        next(iter(model.apikeys or []), ""),
    )
    prefix = str(auth.get("header_prefix", "Bearer") or "")
    space = " " if prefix and auth.get("space_after_prefix", True) else ""
    return _Asked(
        url=_url(f"{endpoint.scheme}://{host}{port}/{base_path}", where),
        path=str((model.paths or {}).get("chat") or _CHAT).lstrip("/"),
        model=asked.model_name,
        system_prompt=model.system_prompt or "",
        headers=_headers({name: f"{prefix}{space}{secret}"} if secret else {}, where[:2]),
        secrets={name: secret} if secret else {},
        options=model.default_request_options or {},
        where=where,
    )


def _from_target(asked: TargetModelConfiguration) -> _Asked:
    where = ("target_model_configuration", "model_endpoint_url")
    secret = asked.model_api_key or ""
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    # What the caller writes out goes before what is made of the key.
    custom = {each.key.lower(): each.value for each in asked.custom_headers or []}
    return _Asked(
        # The address of the call is written as often as that of the interface.
        url=_url(asked.model_endpoint_url.rstrip("/").removesuffix(f"/{_CHAT}"), where),
        path=_CHAT,
        model=asked.model_name,
        system_prompt=asked.system_prompt or "",
        headers=_headers(headers | custom, where[:1]),
        secrets=({"model_api_key": secret} if secret else {}) | custom,
        options={},
        where=where,
    )


def _url(text: str, where: tuple[str, ...]) -> httpx.URL:
    try:
        return parse_base_url(text)
    except ValueError as error:
        raise _mistake(where, str(error)) from None


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
    told = f"{error.message}: {error.detail}" if error.detail else error.message
    return ModelHealthResponse(
        status="unhealthy",
        message=plain(f"{asked.model} at {_place(asked)} did not answer", client.redact),
        data=HealthData(query=QUERY, response=None),
        error=plain(told, client.redact),
    )


def _log_redacted(where: str, names: Collection[str]) -> None:
    if names:
        logger.warning("redacted", extra={"cause": redaction_told(where, names)})


def _place(asked: _Asked) -> str:
    return f"{asked.url.host}:{port_of(asked.url)}"


def _mistake(where: tuple[str, ...], message: str) -> RequestValidationError:
    return RequestValidationError(
        [{"loc": ("body", *where), "msg": message, "type": "value_error"}]
    )
