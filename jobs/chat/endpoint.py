"""Any OpenAI-compatible chat endpoint as a target: OpenRouter, vLLM, Ollama, llama.cpp, LiteLLM."""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from engine.kinds import (
    Check,
    Clock,
    JobError,
    Permanent,
    SecretReference,
    Transient,
    is_reference,
    resolve_secret,
)
from jobs.chat.limits import CallLimits, TokensPerMin
from jobs.chat.listing import lists_what_is_called, read_listing
from jobs.chat.parameter_mistakes import setting_for
from jobs.chat.prices import Prices
from jobs.chat.reading import read_reply
from jobs.chat.shaping import (
    ExtraBody,
    Headers,
    ParameterNames,
    Query,
    SystemRole,
    refuse_fields_with_settings,
    request_body,
    with_query_apart,
)
from jobs.chat.target import Generation, Question, Reply, digest, told_settings
from jobs.http import HttpClient, HttpLimits, Key, NetworkSettings, Sent, parse_base_url

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_REPLY_BYTES_MAX = 4 * 1024 * 1024


def read_base_url(text: str) -> str:
    """The base URL of an interface, also where the address of its call is written."""
    return str(parse_base_url(text)).removesuffix("/").removesuffix("/chat/completions")


class Endpoint(NetworkSettings, BaseModel):
    """Where a model is reached, and in which form it takes requests."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: Annotated[
        str,
        AfterValidator(read_base_url),
        Field(
            description="The address of an OpenAI-compatible interface, mostly up to its /v1.",
            examples=["https://openrouter.ai/api/v1", "http://127.0.0.1:11434/v1"],
        ),
    ]
    name: Annotated[
        Annotated[str, Field(pattern=_NAME)] | None,
        Field(
            description="Tells the endpoint from others in place of its address, so that a run goes on"
            " when the server has moved."
        ),
    ] = None
    api_key: Annotated[
        SecretReference | None, Field(description="Where the key is; sent as a bearer token.")
    ] = None
    headers: Annotated[
        Headers, Field(description="Further headers; their values may be references to keys.")
    ] = {}
    query: Annotated[
        Query,
        Field(
            description="Parameters behind the address; their values may be references to keys.",
            examples=[{"api-version": "2024-10-21"}],
        ),
    ] = {}
    parameter_names: Annotated[
        ParameterNames,
        Field(
            description="What the endpoint calls a parameter; null where it has no such parameter.",
            examples=[{"max_tokens": "max_completion_tokens", "seed": None}],
        ),
    ] = {}
    system_role: Annotated[
        SystemRole, Field(description="How a system prompt is sent: its role, or as the user's.")
    ] = SystemRole.SYSTEM
    extra_body: Annotated[
        ExtraBody,
        Field(
            description="Further fields of each request, sent as they are.",
            examples=[{"reasoning_effort": "low"}],
        ),
    ] = {}
    prices: Annotated[
        Prices,
        Field(
            description="What a million tokens cost, by a model's name or a pattern of names.",
            examples=[{"gpt-4.1-mini": {"input": 0.4, "output": 1.6}}],
        ),
    ] = {}
    rate_per_min: Annotated[
        Annotated[int, Field(ge=1)] | None,
        Field(description="Calls that start in any 60 s, over all processes and restarts."),
    ] = None
    tokens_per_min: Annotated[
        TokensPerMin | None, Field(description="Tokens that calls take in any 60 s.")
    ] = None
    max_in_flight: Annotated[
        int, Field(ge=1, le=1000, description="Calls under way at once, over all processes.")
    ] = 8
    timeout_s: Annotated[
        float, Field(gt=0, le=3600, description="How long one call may take, in seconds.")
    ] = 120.0

    @model_validator(mode="before")
    @classmethod
    def _query_apart(cls, written: Any) -> Any:
        return with_query_apart(written)

    @model_validator(mode="after")
    def _each_field_once(self) -> Self:
        refuse_fields_with_settings(self.extra_body, self.parameter_names)
        return self

    @property
    def address(self) -> str:
        """Who replies, in few words."""
        return self.name or self.base_url

    @property
    def credential(self) -> str:
        """The reference of the key that is charged, wherever it is sent; empty without one."""
        if self.api_key is not None:
            return self.api_key
        sent = (*self.headers.values(), *self.query.values())
        return next((value for value in sent if is_reference(value)), "")

    @property
    def shape(self) -> Mapping[str, Any]:
        """What of these settings decides replies, as JSON; what is not set is not there."""
        return self.model_dump(
            mode="json",
            include={"headers", "query", "parameter_names", "system_role", "extra_body"},
            exclude_defaults=True,
        )


class ChatTarget:
    """The models behind one endpoint, asked with one set of generation settings.

    `extra` goes into every request as it is; `secret_headers` are sent besides the endpoint's own.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        generation: Generation,
        *,
        extra: Mapping[str, Any] | None = None,
        secret_headers: Mapping[str, str] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._max_tokens = generation.max_tokens or 0
        self._secret_headers = dict(secret_headers or {})
        self._options = {**generation.as_json(), **(extra or {})}

    @property
    def identity(self) -> str:
        decides = {"options": self._options, **self.endpoint.shape}
        return f"{self.address}#{digest(decides)[:16]}"

    @property
    def address(self) -> str:
        return self.endpoint.address

    @property
    def settings(self) -> str:
        return told_settings({**self._options, **self.endpoint.shape})

    def limits(self, key: str = "") -> CallLimits:
        """What the endpoint allows its `key`: roles that share an endpoint and a key share it."""
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
            # Each question counts as a request, so CallLimits sends it again, within the limits.
            resends=False,
        ) as http:
            yield ChatClient(http, endpoint, self._options, self.limits(charged), clock)


class ChatClient:
    """Asks the models behind an endpoint, as ChatTarget.open makes it."""

    def __init__(
        self,
        http: HttpClient,
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
            raise self._advised(error) from None
        reply = read_reply(
            answer.body,
            where=answer.where,
            redact=self._http.redact,
            headers=answer.headers,
            now=self._clock.now(),
        )
        return replace(reply, redacted=tuple(sorted({*reply.redacted, *answer.redacted})))

    def _advised(self, error: Permanent) -> Permanent:
        """The error with the setting that helps, where the endpoint refuses the form of the request."""
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
        """The names of the models that calls may use, as far as the endpoint lists them: often none.

        Raises JobError when the endpoint cannot be used, Permanent when its base URL is not that of
        a chat interface. Costs nothing.
        """
        try:
            answer = await self._http.get("models")
        except JobError as error:
            if error.status not in (404, 405):
                raise
            await self._look_below()
            return frozenset()
        try:
            listed = read_listing(answer.json())
        except Transient as error:
            raise Permanent(
                f"{answer.where}: not the answer of a chat interface; is base_url right?",
                detail=error.detail,
            ) from None
        if listed is None or not lists_what_is_called(self._http.base_url.host):
            return frozenset()
        return listed

    async def _look_below(self) -> None:
        """Raise Permanent if the interface is at /v1 below the base URL, where it mostly is."""
        base = self._http.base_url
        try:
            answer = await self._http.get("v1/models")
            found = read_listing(answer.json())
        except JobError:
            return
        if found is not None:
            raise Permanent(
                f"{base.host}: the chat interface is at /v1: write"
                f" `base_url: {str(base).removesuffix('/')}/v1`"
            )

    async def check(self) -> Sequence[Check]:
        """One look at the list of models, which costs nothing; not every endpoint has one."""
        host = self._http.base_url.host
        try:
            listed = await self.models()
        except JobError as error:
            return (Check(name="target", ok=False, message=_told(error)),)
        told = f"it lists {len(listed):,} models" if listed else "it does not list its models"
        return (Check(name="target", ok=True, message=f"{host} is reached; {told}"),)


def _with_keys(values: Mapping[str, str], key: Callable[[str], Key]) -> dict[str, Sent]:
    return {name: key(value) if is_reference(value) else value for name, value in values.items()}


def _told(error: JobError) -> str:
    return f"{error.message}: {error.detail}" if error.detail else error.message
