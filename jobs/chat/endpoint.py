"""Any OpenAI-compatible chat endpoint as a target: OpenRouter, vLLM, Ollama, llama.cpp, LiteLLM."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from engine.job import (
    Clock,
    Finding,
    JobError,
    Permanent,
    QuotaExceeded,
    SecretReference,
    checked_reference,
    resolve_secret,
)
from jobs.chat.limits import CallLimits, TokensPerMin
from jobs.chat.reading import is_moderated, read_reply
from jobs.chat.target import Generation, Question, Reply, digest
from jobs.http import HttpClient, HttpLimits, Unanswered, parse_base_url

_REPLY_BYTES_MAX = 4 * 1024 * 1024
_SECRET_HEADER = re.compile(r"auth|key|token|secret|cookie|password", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"(?:bearer|basic|token) |sk-|eyJ", re.IGNORECASE)
_REFERENCE = re.compile(r"(?:env|file):.+")


def _base_url(text: str) -> str:
    # People copy the address of the call as often as that of the interface.
    return str(parse_base_url(text)).removesuffix("/").removesuffix("/chat/completions")


def _headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        if _REFERENCE.fullmatch(value):
            checked_reference(value)
        elif _SECRET_HEADER.search(name) or _SECRET_VALUE.match(value):
            # The value is never repeated: it may be the key.
            raise ValueError(
                f"{name} looks like a key, which is never written into a sweep file: write"
                " `env:NAME` or `file:PATH` as its value"
            )
    return headers


class Endpoint(BaseModel):
    """Where a target is reached. Header values may be `env:NAME` or `file:PATH` too.

    `rate_per_min` bounds the requests that start in any minute, over all runs on the store, and
    `tokens_per_min` the tokens that they take; `max_in_flight` those that are under way at once;
    `timeout_s` each of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: Annotated[str, AfterValidator(_base_url)]
    api_key: SecretReference | None = None
    headers: Annotated[Mapping[str, str], AfterValidator(_headers)] = Field(default_factory=dict)
    rate_per_min: Annotated[int, Field(ge=1)] | None = None
    tokens_per_min: TokensPerMin | None = None
    max_in_flight: Annotated[int, Field(ge=1, le=1000)] = 8
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 120.0


class ChatTarget:
    """The models behind one endpoint, asked with one set of generation settings.

    `extra` goes into every request as it is; `headers` are sent besides the endpoint's own.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        generation: Generation,
        clock: Clock,
        *,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.limits = CallLimits(
            f"target:{endpoint.base_url}:{endpoint.api_key or ''}",
            rate_per_min=endpoint.rate_per_min,
            tokens_per_min=endpoint.tokens_per_min,
            max_tokens=generation.max_tokens or 0,
        )
        """Roles that share an endpoint and a key share what it allows."""
        self._clock = clock
        self._headers = dict(headers or {})
        self._options = {**generation.as_json(), **(extra or {})}
        self._client: HttpClient | None = None

    @property
    def identity(self) -> str:
        decides: dict[str, Any] = {"options": self._options}
        if self.endpoint.headers:
            decides["headers"] = dict(self.endpoint.headers)
        return f"{self.endpoint.base_url}#{digest(decides)[:16]}"

    async def __aenter__(self) -> Self:
        headers = dict(self._headers)
        for name, value in self.endpoint.headers.items():
            headers[name] = resolve_secret(value) if _REFERENCE.fullmatch(value) else value
        if self.endpoint.api_key is not None:
            headers["authorization"] = f"Bearer {resolve_secret(self.endpoint.api_key)}"
        client = HttpClient(
            self.endpoint.base_url,
            clock=self._clock,
            headers=headers,
            limits=HttpLimits(deadline_s=self.endpoint.timeout_s, max_body_bytes=_REPLY_BYTES_MAX),
        )
        self._client = await client.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.__aexit__(*exc_info)

    async def reply(self, question: Question) -> Reply:
        client = self._opened
        body = json.dumps({**question.as_json(), **self._options}).encode()
        try:
            answer = await client.post("chat/completions", body)
        except JobError as error:
            raise _named(error, client.base_url.host) from None
        return read_reply(answer.body, where=answer.where, redact=client.redact)

    async def check(self) -> Sequence[Finding]:
        """One look at the list of models, which costs nothing; not every endpoint has one."""
        try:
            answer = await self._opened.get("models")
        except JobError as error:
            reached = error.status in (404, 405)
            message = "reached; it does not list its models" if reached else _told(error)
            return (Finding(name="target", ok=reached, message=message),)
        return (Finding(name="target", ok=True, message=f"{answer.where}: answered"),)

    @property
    def _opened(self) -> HttpClient:
        assert self._client is not None, "a target is used inside `async with`"
        return self._client


def _named(error: JobError, host: str) -> JobError:
    """The error as evaluations know it: moderation and an empty account by their names."""
    if isinstance(error, Permanent) and is_moderated(error.detail):
        return Permanent(
            f"{host}: {Unanswered.MODERATED.words}",
            detail=error.detail,
            status=error.status,
            reason=Unanswered.MODERATED,
        )
    if error.status == 402:
        return QuotaExceeded(
            f"{host}: the account has no credit left", detail=error.detail, status=402, sent=False
        )
    return error


def _told(error: JobError) -> str:
    return f"{error.message}: {error.detail}" if error.detail else error.message
