"""The nine calls of the API."""

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import anyio

from engine.kinds import Clock, JobError, Permanent, QuotaExceeded, Unauthorized
from jobs.circuit_breaker_labs.schema import (
    KEY_VALIDITY,
    MONTHLY_QUOTA,
    PING,
    REPEAT_HEADER,
    TEST_CASE_GROUPS,
    VERSION,
    KeyValidity,
    MonthlyQuota,
    MultiTurnFinetune,
    MultiTurnSystemPrompt,
    Ping,
    SingleTurnFinetune,
    SingleTurnSystemPrompt,
    TestCaseGroup,
    Version,
)
from jobs.http import (
    HttpLimits,
    Meaning,
    Network,
    Redactor,
    Reply,
    Sent,
    parse_base_url,
    read_json_as,
    rule,
)

if TYPE_CHECKING:
    import httpx

VENDOR_URL = "https://api.circuitbreakerlabs.ai/v1"
QUESTION_DEADLINE_S = 30.0
_VERSION_TRIES = 3
"""How many times the version is asked for before it counts as unknown."""


def base_url(text: str, *, append_v1: bool = True) -> str:
    """The API's base URL without a trailing slash; one without a path gets `/v1`.

    Raises ValueError for what is no http or https URL.
    """
    url = parse_base_url(text)
    path = url.path.rstrip("/")
    if append_v1 and not path:
        path = "/v1"
    return str(url.copy_with(path=path or "/")).rstrip("/")


_RULES = (
    # The contract has one 403, the quota's, and lets its name be left out. A page of some proxy, or an
    # error object with another name, is something else.
    rule(Meaning.ALLOTMENT, "quota_exceeded", statuses=(403,), structured=True),
    rule(Meaning.ALLOTMENT, statuses=(403,), structured=True, named=False),
)


class Client:
    """A client of the API with one key; `async with` opens and closes its connections.

    Every call raises JobError and nothing else. Evaluations return the answer's bytes, for
    `measure`; `openai_api_key` goes with evaluations of fine-tuned models alone. The number of a
    `repeat` is sent only to a service that supports repeats, which the vendor's does not.
    """

    def __init__(
        self,
        *,
        api_key: Sent,
        clock: Clock,
        url: str = VENDOR_URL,
        openai_api_key: Sent | None = None,
        limits: HttpLimits | None = None,
        append_v1: bool = True,
        network: Network | None = None,
    ) -> None:
        from jobs.http import HttpClient  # slow to import, and not always needed

        self._key: dict[str, Sent] = {"cbl-api-key": api_key}
        self._keys = dict(self._key)
        self._asking = anyio.Lock()
        self._extensions: frozenset[str] | None = None
        if openai_api_key is not None:
            self._keys["openai-api-key"] = openai_api_key
        self._http = HttpClient(
            base_url(url, append_v1=append_v1),
            clock=clock,
            secrets=self._keys,
            limits=limits,
            rules=_RULES,
            network=network,
            # The engine counts requests and paces them, so the client must not repeat one on its own.
            resends=False,
        )

    @property
    def url(self) -> "httpx.URL":
        """The base URL that calls go to."""
        return self._http.base_url

    @property
    def redact(self) -> Redactor:
        """Takes this client's keys out of a text."""
        return self._http.redact

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._http.__aexit__(*exc_info)

    async def single_turn_system_prompt(
        self, request: SingleTurnSystemPrompt, *, repeat: int = 1
    ) -> Reply:
        """Evaluate a model on OpenRouter with a system prompt, one question per conversation."""
        return await self._evaluate("singleturn_evaluate_system_prompt", request, self._key, repeat)

    async def single_turn_finetune(self, request: SingleTurnFinetune, *, repeat: int = 1) -> Reply:
        """Evaluate a fine-tuned OpenAI model, one question per conversation."""
        return await self._evaluate(
            "singleturn_evaluate_openai_finetune", request, self._keys, repeat
        )

    async def multi_turn_system_prompt(
        self, request: MultiTurnSystemPrompt, *, repeat: int = 1
    ) -> Reply:
        """Evaluate a model on OpenRouter with a system prompt in conversations."""
        return await self._evaluate("multiturn_evaluate_system_prompt", request, self._key, repeat)

    async def multi_turn_finetune(self, request: MultiTurnFinetune, *, repeat: int = 1) -> Reply:
        """Evaluate a fine-tuned OpenAI model in conversations."""
        return await self._evaluate(
            "multiturn_evaluate_openai_finetune", request, self._keys, repeat
        )

    async def monthly_quota(self) -> MonthlyQuota:
        """Tests used and allotted this month."""
        return read_json_as(MONTHLY_QUOTA, *await self._ask("monthly_quota", self._key))

    async def test_case_groups(self) -> list[TestCaseGroup]:
        """The groups that the key may use."""
        return read_json_as(TEST_CASE_GROUPS, *await self._ask("test_case_groups", self._key))

    async def validate_api_key(self) -> KeyValidity:
        """Whether the key is valid."""
        return read_json_as(KEY_VALIDITY, *await self._ask("validate_api_key", self._key))

    async def ping(self) -> Ping:
        """Whether the service answers; sends no key."""
        return read_json_as(PING, *await self._ask("ping", {}))

    async def version(self) -> Version:
        """The API's version; sends no key."""
        return read_json_as(VERSION, *await self._ask("version", {}))

    async def knows(self, extension: str) -> bool:
        """Whether the service has an extension of the contract; its version is asked for once."""
        if self._extensions is None:
            async with self._asking:
                if self._extensions is None:
                    self._extensions = await self._fetch_extensions()
        return extension in self._extensions

    async def _fetch_extensions(self) -> frozenset[str]:
        # One bad answer may be an accident, and without the extension all repeats would be equal.
        for _ in range(_VERSION_TRIES):
            try:
                body, where = await self._ask("version", {})
            except (Permanent, Unauthorized, QuotaExceeded):
                continue
            with suppress(JobError):
                return frozenset(read_json_as(VERSION, body, where).get("extensions") or ())
        # The version stays unknown, so only what the contract has is sent.
        return frozenset()

    async def _ask(self, path: str, headers: Mapping[str, Sent]) -> tuple[bytes, str]:
        # The service counts its rate per key.
        reply = await self._http.get(
            path, headers=headers, deadline_s=QUESTION_DEADLINE_S, counts=bool(headers)
        )
        return reply.body, reply.where

    async def _evaluate(
        self,
        path: str,
        request: SingleTurnSystemPrompt
        | SingleTurnFinetune
        | MultiTurnSystemPrompt
        | MultiTurnFinetune,
        headers: Mapping[str, Sent],
        repeat: int,
    ) -> Reply:
        # The first repeat equals an evaluation without the extension.
        if repeat > 1 and await self.knows(REPEAT_HEADER):
            headers = {**headers, REPEAT_HEADER: str(repeat)}
        # Directly to bytes: model_dump_json would make a string first.
        return await self._http.post(
            path, request.__pydantic_serializer__.to_json(request), headers=headers
        )
