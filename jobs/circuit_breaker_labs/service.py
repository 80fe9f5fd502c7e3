"""The service as sweep files name it: `kind: circuit-breaker-labs`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo

from engine.kinds import (
    Allotment,
    Check,
    Clock,
    Group,
    JobError,
    JobKind,
    SecretReference,
    Service,
    ServiceSettings,
    describe_error,
    packaged_yaml,
)
from jobs.circuit_breaker_labs.client import VENDOR_URL, Client, base_url
from jobs.circuit_breaker_labs.kinds import (
    LONGEST_DEADLINE_S,
    MultiTurnFinetuneKind,
    MultiTurnSystemPromptKind,
    SingleTurnFinetuneKind,
    SingleTurnSystemPromptKind,
)
from jobs.circuit_breaker_labs.schema import KNOWN_VERSIONS
from jobs.http import HttpLimits, Key, NetworkSettings, plain


def _base_url(text: str, info: ValidationInfo) -> str:
    return base_url(text, append_v1=info.data.get("append_v1", True))


BaseUrl = Annotated[str, AfterValidator(_base_url)]


class CircuitBreakerLabsSettings(ServiceSettings, NetworkSettings):
    """The Circuit Breaker Labs API."""

    # A literal key in place of a reference must not appear in the error.
    model_config = ConfigDict(hide_input_in_errors=True)

    append_v1: Annotated[
        bool,
        Field(
            description="Whether /v1 is added to a base URL without a path; false for a server that has"
            " the API at its root."
        ),
    ] = True
    base_url: Annotated[BaseUrl, Field(description="Where the API is.")] = VENDOR_URL
    api_key: Annotated[SecretReference, Field(description="Where the key of the API is.")]
    openai_api_key: Annotated[
        SecretReference | None,
        Field(description="Where the key of the OpenAI account is that owns fine-tuned models."),
    ] = None
    deadline_s: Annotated[
        float,
        Field(gt=0, le=LONGEST_DEADLINE_S, description="How long one evaluation may take."),
    ] = 900.0


class CircuitBreakerLabs(Service):
    """The Circuit Breaker Labs API under one key; the API runs the evaluations and charges the key's quota.

    It has single-turn and multi-turn evaluations, of models under a system prompt and of fine-tuned OpenAI
    models. The latter need `openai_api_key`: without it, their kinds are unusable.
    """

    settings_model = CircuitBreakerLabsSettings
    settings: CircuitBreakerLabsSettings

    @property
    def identity(self) -> str:
        return self.settings.base_url

    @property
    def credential(self) -> str:
        return self.settings.api_key

    def templates(self) -> Mapping[str, str]:
        return packaged_yaml("jobs.circuit_breaker_labs", "templates")

    def kinds(self) -> Sequence[JobKind]:
        # Without settings it is unknown whether they will have the key.
        has_key = not self.has_settings or self.settings.openai_api_key is not None
        return (
            SingleTurnSystemPromptKind(),
            MultiTurnSystemPromptKind(),
            SingleTurnFinetuneKind(has_openai_key=has_key),
            MultiTurnFinetuneKind(has_openai_key=has_key),
        )

    @asynccontextmanager
    async def open(self, clock: Clock) -> AsyncIterator[Client]:
        settings = self.settings
        openai = settings.openai_api_key
        async with Client(
            url=settings.base_url,
            append_v1=settings.append_v1,
            api_key=Key(settings.api_key, self.secret),
            openai_api_key=None if openai is None else Key(openai, self.secret),
            clock=clock,
            limits=HttpLimits(deadline_s=settings.deadline_s),
            network=settings.network(self.folder),
        ) as client:
            yield client

    def notices(self) -> Sequence[str]:
        return self.settings.notices(self.settings.base_url)

    async def groups(self, client: Client) -> Sequence[Group]:
        return [
            Group(name=group["name"], description=group.get("description"))
            for group in await client.test_case_groups()
        ]

    async def quota(self, client: Client) -> Allotment:
        quota = await client.monthly_quota()
        return Allotment(used=quota["generated_tests"], allotted=quota["alloted_test_generations"])

    async def accepts_key(self, client: Client) -> bool:
        return bool((await client.validate_api_key())["valid"])

    async def check(self, client: Client) -> Sequence[Check]:
        questions: tuple[tuple[str, Callable[[Client], Awaitable[Check]]], ...] = (
            ("ping", self._check_ping),
            ("version", self._check_version),
            ("key", self._check_key),
            ("quota", self._check_quota),
            ("groups", self._check_groups),
        )
        checks: list[Check] = []
        for name, ask in questions:
            try:
                checks.append(await ask(client))
            except JobError as error:
                checks.append(Check(name=name, ok=False, message=describe_error(error)))
                if error.status is None and not error.sent:
                    # The service cannot be reached, so the other checks would fail the same way.
                    break
        return checks

    async def _check_ping(self, client: Client) -> Check:
        answer = await client.ping()
        message = f"{self.identity} answers"
        return Check(
            name="ping",
            ok=True,
            message=message,
            data={"timestamp": _printable(answer.get("timestamp", ""), client)},
        )

    async def _check_version(self, client: Client) -> Check:
        version = _printable((await client.version())["version"], client)
        known = f"versions known here: {', '.join(KNOWN_VERSIONS)}"
        message = f"API version {version}"
        if version not in KNOWN_VERSIONS:
            message += " is not known; answers are read as those of the known ones"
        return Check(
            name="version", ok=True, message=f"{message} ({known})", data={"version": version}
        )

    async def _check_key(self, client: Client) -> Check:
        valid = await self.accepts_key(client)
        message = "is valid" if valid else "is not valid: set another one, or ask the vendor"
        return Check(name="key", ok=valid, message=f"the key of {self.credential} {message}")

    async def _check_quota(self, client: Client) -> Check:
        quota = await self.quota(client)
        left = quota.allotted - quota.used
        message = f"{quota.used} of {quota.allotted} tests used this month, {max(left, 0)} left"
        data = {"used": quota.used, "allotted": quota.allotted}
        return Check(name="quota", ok=left > 0, message=message, data=data)

    async def _check_groups(self, client: Client) -> Check:
        names = [group.name for group in await self.groups(client)]
        message = _printable(f"{len(names)} test case groups: {', '.join(names)}", client)
        return Check(name="groups", ok=bool(names), message=message, data={"groups": names})


def _printable(text: str, client: Client) -> str:
    return plain(text, client.redact)
