"""Any OpenAI-compatible chat endpoint as a target: OpenRouter, vLLM, Ollama, llama.cpp, LiteLLM."""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from engine.kinds import (
    Check,
    Clock,
    JobError,
    Permanent,
    SecretReference,
    Transient,
    describe_error,
    is_reference,
    resolve_secret,
)
from jobs.chat.limits import CallLimits, TokensPerMin
from jobs.chat.listing import lists_callable_names, read_listing
from jobs.chat.parameter_mistakes import setting_for
from jobs.chat.prices import Prices
from jobs.chat.reading import read_reply
from jobs.chat.shaping import (
    ExtraBody,
    Headers,
    ParameterNames,
    Query,
    SystemRole,
    check_extra_fields,
    move_query,
    request_body,
)
from jobs.chat.target import Generation, Question, Reply, describe_settings, digest
from jobs.http import HttpLimits, Key, NetworkSettings, Sent, parse_base_url

if TYPE_CHECKING:
    from jobs.http import HttpClient

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_REPLY_BYTES_MAX = 4 * 1024 * 1024


def read_base_url(text: str) -> str:
    """Parse a base URL, which may be written with the path of the chat call; returned without it and a final slash.

    Raises ValueError, saying what to write, if it is malformed.
    """
    return str(parse_base_url(text)).removesuffix("/").removesuffix("/chat/completions")


BaseUrl: TypeAlias = Annotated[
    str,
    AfterValidator(read_base_url),
    Field(
        description="The base URL of an OpenAI-compatible API, usually ending in /v1.",
        examples=["https://openrouter.ai/api/v1", "http://127.0.0.1:11434/v1"],
    ),
]


class EndpointSettings(NetworkSettings, BaseModel):
    """The settings of an endpoint, which may be absent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: BaseUrl | None = None
    name: Annotated[
        Annotated[str, Field(pattern=_NAME)] | None,
        Field(
            description="Identifies the endpoint instead of its address, so that a run continues when the"
            " server has moved."
        ),
    ] = None
    api_key: Annotated[
        SecretReference | None,
        Field(description="A reference to the key, which is sent as a bearer token."),
    ] = None
    headers: Annotated[
        Headers, Field(description="Further headers; their values may be references to keys.")
    ] = {}
    query: Annotated[
        Query,
        Field(
            description="Query parameters of each request; their values may be references to keys.",
            examples=[{"api-version": "2024-10-21"}],
        ),
    ] = {}
    parameter_names: Annotated[
        ParameterNames,
        Field(
            description="The endpoint's name of a parameter, or null if it has no such parameter.",
            examples=[{"max_tokens": "max_completion_tokens", "seed": None}],
        ),
    ] = {}
    system_role: Annotated[
        SystemRole,
        Field(
            description="The role of a system prompt; `user` puts it into the first user message."
        ),
    ] = SystemRole.SYSTEM
    extra_body: Annotated[
        ExtraBody,
        Field(
            description="Further fields of each request, sent unchanged.",
            examples=[{"reasoning_effort": "low"}],
        ),
    ] = {}
    prices: Annotated[
        Prices,
        Field(
            description="The price of a million tokens, by a model's name or a pattern of names.",
            examples=[{"gpt-4.1-mini": {"input": 0.4, "output": 1.6}}],
        ),
    ] = {}
    rate_per_min: Annotated[
        Annotated[int, Field(ge=1)] | None,
        Field(
            description="The most calls that may start in any 60 s, across processes and restarts."
        ),
    ] = None
    tokens_per_min: Annotated[
        TokensPerMin | None, Field(description="The most tokens that calls may take in any 60 s.")
    ] = None
    max_in_flight: Annotated[
        int, Field(ge=1, le=1000, description="The most calls at once, across processes.")
    ] = 8
    timeout_s: Annotated[
        float, Field(gt=0, le=3600, description="The time limit of one call, in seconds.")
    ] = 120.0

    @model_validator(mode="before")
    @classmethod
    def _move_query(cls, written: Any) -> Any:
        return move_query(written)

    @model_validator(mode="after")
    def _check_extra_body(self) -> Self:
        check_extra_fields(self.extra_body, self.parameter_names)
        return self

    @property
    def credential(self) -> str:
        """The reference of the key that is charged, in whichever setting it is; empty without a key."""
        if self.api_key is not None:
            return self.api_key
        sent = (*self.headers.values(), *self.query.values())
        return next((value for value in sent if is_reference(value)), "")

    @property
    def shape(self) -> Mapping[str, Any]:
        """The settings that affect replies, as JSON, without those that are not set."""
        return self.model_dump(
            mode="json",
            include={"headers", "query", "parameter_names", "system_role", "extra_body"},
            exclude_defaults=True,
        )


class Endpoint(EndpointSettings):
    """Where a model is reached, and the format of its requests."""

    base_url: BaseUrl

    @property
    def address(self) -> str:
        """The endpoint in few words: its name or its base URL."""
        return self.name or self.base_url


class ChatTarget:
    """The models of one endpoint, called with one set of generation settings.

    `extra` is added to every request unchanged; `secret_headers` are sent in addition to the endpoint's own.
    A limit of tokens reserves `assumed_tokens` for a reply whose length nothing limits.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        generation: Generation,
        *,
        extra: Mapping[str, Any] | None = None,
        secret_headers: Mapping[str, str] | None = None,
        assumed_tokens: int = 0,
    ) -> None:
        self.endpoint = endpoint
        assumed = min(assumed_tokens, endpoint.tokens_per_min or assumed_tokens)
        self._max_tokens = generation.max_tokens or assumed
        self._secret_headers = dict(secret_headers or {})
        self._options = {**generation.as_json(), **(extra or {})}

    @property
    def identity(self) -> str:
        settings = {"options": self._options, **self.endpoint.shape}
        return f"{self.address}#{digest(settings)[:16]}"

    @property
    def address(self) -> str:
        return self.endpoint.address

    @property
    def settings(self) -> str:
        return describe_settings({**self._options, **self.endpoint.shape})

    def limits(self, key: str = "") -> CallLimits:
        """The limits of the endpoint for a key, shared by all roles with the same endpoint and key.

        `key` is the key itself, of which the limits' name has only a hash; empty for an endpoint without
        one.
        """
        return CallLimits(
            self.endpoint.base_url,
            key=key,
            key_name=self.endpoint.credential,
            rate_per_min=self.endpoint.rate_per_min,
            tokens_per_min=self.endpoint.tokens_per_min,
            max_tokens=self._max_tokens,
            max_in_flight=self.endpoint.max_in_flight,
        )

    @asynccontextmanager
    async def open(self, clock: Clock, folder: Path = Path()) -> AsyncIterator["ChatClient"]:
        from jobs.http import HttpClient  # slow to import, and not always needed

        endpoint = self.endpoint
        key = partial(Key, read=partial(resolve_secret, folder=folder))
        headers = {**self._secret_headers, **_with_keys(endpoint.headers, key)}
        if endpoint.api_key is not None:
            headers["authorization"] = key(endpoint.api_key, prefix="Bearer ")
        charged = resolve_secret(endpoint.credential, folder) if endpoint.credential else ""
        async with HttpClient(
            endpoint.base_url,
            clock=clock,
            headers=headers,
            query=_with_keys(endpoint.query, key),
            secrets=self._secret_headers,
            network=endpoint.network(folder),
            limits=HttpLimits(deadline_s=endpoint.timeout_s, max_body_bytes=_REPLY_BYTES_MAX),
            # Each sending of a question counts as a request, so CallLimits repeats it, within the limits.
            resends=False,
        ) as http:
            yield ChatClient(http, endpoint, self._options, self.limits(charged), clock)


class ChatClient:
    """An open ChatTarget, which calls the models of its endpoint and checks its list of models.

    It does not apply `limits`: each call is made through them (`CallLimits.reply`). Keys are removed from
    replies and errors.
    """

    def __init__(
        self,
        http: "HttpClient",
        endpoint: Endpoint,
        options: Mapping[str, Any],
        limits: CallLimits,
        clock: Clock,
    ) -> None:
        self.endpoint = endpoint
        self.limits = limits
        self._http = http
        self._options = options
        self._clock = clock

    async def reply(self, question: Question) -> Reply:
        body = request_body(
            question,
            self._options,
            names=self.endpoint.parameter_names,
            system_role=self.endpoint.system_role,
            extra=self.endpoint.extra_body,
        )
        try:
            answer = await self._http.post("chat/completions", json.dumps(body).encode())
        except Permanent as error:
            raise self._with_advice(error) from None
        reply = read_reply(
            answer.body,
            where=answer.where,
            redact=self._http.redact,
            headers=answer.headers,
            now=self._clock.now(),
        )
        return replace(reply, redacted=tuple(sorted({*reply.redacted, *answer.redacted})))

    def _with_advice(self, error: Permanent) -> Permanent:
        """The error, with the setting that helps if the endpoint rejects the format of the request."""
        setting = setting_for(
            error.status,
            error.detail,
            names=self.endpoint.parameter_names,
            system_role=self.endpoint.system_role,
            extra=self.endpoint.extra_body,
            wants_api_version="/openai/deployments/" in self.endpoint.base_url
            and "api-version" not in self.endpoint.query,
        )
        if setting is None or error.reason is not None:
            return error
        return Permanent(f"{error.message}; {setting}", detail=error.detail, status=error.status)

    async def models(self) -> frozenset[str]:
        """The names of the endpoint's models; empty if it does not list them. Costs nothing.

        Raises JobError if the endpoint cannot be used, and Permanent if the base URL is not that of a chat
        API.
        """
        try:
            answer = await self._http.get("models")
        except JobError as error:
            if error.status not in (404, 405):
                raise
            await self._check_v1()
            return frozenset()
        try:
            listed = read_listing(answer.json())
        except Transient as error:
            raise Permanent(
                f"{answer.where}: this is not the answer of a chat API; check base_url",
                detail=error.detail,
            ) from None
        if listed is None or not lists_callable_names(self._http.base_url.host):
            return frozenset()
        return listed

    async def _check_v1(self) -> None:
        """Raise Permanent if the API is at /v1 below the base URL, as it usually is."""
        base = self._http.base_url
        try:
            answer = await self._http.get("v1/models")
            found = read_listing(answer.json())
        except JobError:
            return
        if found is not None:
            raise Permanent(
                f"{base.host}: the chat API is at /v1; set"
                f" `base_url: {str(base).removesuffix('/')}/v1`"
            )

    async def check(self) -> Sequence[Check]:
        """Whether the endpoint can be reached, by its list of models; costs nothing."""
        host = self._http.base_url.host
        try:
            listed = await self.models()
        except JobError as error:
            return (Check(name="target", ok=False, message=describe_error(error)),)
        listing = f"it lists {len(listed):,} models" if listed else "it does not list its models"
        return (Check(name="target", ok=True, message=f"{host} is reached; {listing}"),)


def _with_keys(values: Mapping[str, str], key: Callable[[str], Key]) -> dict[str, Sent]:
    return {name: key(value) if is_reference(value) else value for name, value in values.items()}
