"""The service as sweep files name it: `kind: circuit-breaker-labs`."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Self

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

    # The text of an error must not show a key that was written where its reference belongs.
    model_config = ConfigDict(hide_input_in_errors=True)

    append_v1: Annotated[
        bool,
        Field(
            description="Whether /v1 is added to a base URL without a path; false for a server that has"
            " the API at its root."
        ),
    ] = True
    base_url: Annotated[BaseUrl, Field(description="Where the API is.")] = base_url(VENDOR_URL)
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
    """The Circuit Breaker Labs API under one key."""

    settings_model = CircuitBreakerLabsSettings
    settings: CircuitBreakerLabsSettings

    def __init__(self, settings: Any, clock: Clock) -> None:
        super().__init__(settings, clock)
        self._client: Client | None = None

    @property
    def identity(self) -> str:
        return self.settings.base_url

    @property
    def credential(self) -> str:
        return self.settings.api_key

    @property
    def client(self) -> Client:
        """The open client, inside `async with`."""
        assert self._client is not None, "the service is used inside `async with`"
        return self._client

    @classmethod
    def templates(cls) -> Mapping[str, str]:
        return packaged_yaml("jobs.circuit_breaker_labs", "templates")

    def kinds(self) -> Sequence[JobKind]:
        has_key = self.settings.openai_api_key is not None

        def client() -> Client:
            return self.client

        return (
            SingleTurnSystemPromptKind(client),
            MultiTurnSystemPromptKind(client),
            SingleTurnFinetuneKind(client, has_openai_key=has_key),
            MultiTurnFinetuneKind(client, has_openai_key=has_key),
        )

    async def __aenter__(self) -> Self:
        settings = self.settings
        openai = settings.openai_api_key
        client = Client(
            url=settings.base_url,
            append_v1=settings.append_v1,
            api_key=Key(settings.api_key, self.secret),
            openai_api_key=None if openai is None else Key(openai, self.secret),
            clock=self.clock,
            limits=HttpLimits(deadline_s=settings.deadline_s),
            network=settings.network(self.folder),
        )
        self._client = await client.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.__aexit__(*exc_info)

    def notices(self) -> Sequence[str]:
        return self.settings.notices(self.settings.base_url)

    async def groups(self) -> Sequence[Group]:
        return [
            Group(name=group["name"], description=group.get("description"))
            for group in await self.client.test_case_groups()
        ]

    async def quota(self) -> Allotment:
        quota = await self.client.monthly_quota()
        return Allotment(used=quota["generated_tests"], allotted=quota["alloted_test_generations"])

    async def accepts_key(self) -> bool:
        return bool((await self.client.validate_api_key())["valid"])

    async def check(self) -> Sequence[Check]:
        questions: tuple[tuple[str, Callable[[], Awaitable[Check]]], ...] = (
            ("ping", self._check_ping),
            ("version", self._check_version),
            ("key", self._check_key),
            ("quota", self._check_quota),
            ("groups", self._check_groups),
        )
        checks: list[Check] = []
        for name, ask in questions:
            try:
                checks.append(await ask())
            except JobError as error:
                message = f"{error.message}: {error.detail}" if error.detail else error.message
                checks.append(Check(name=name, ok=False, message=message))
                if error.status is None and not error.sent:
                    # Nobody listens there: four more waits would say the same.
                    break
        return checks

    async def _check_ping(self) -> Check:
        answer = await self.client.ping()
        message = f"{self.identity} answers"
        return Check(
            name="ping",
            ok=True,
            message=message,
            data={"timestamp": self._shown(answer.get("timestamp", ""))},
        )

    async def _check_version(self) -> Check:
        version = self._shown((await self.client.version())["version"])
        known = f"versions known here: {', '.join(KNOWN_VERSIONS)}"
        message = f"API version {version}"
        if version not in KNOWN_VERSIONS:
            message += " is not known; answers are read as those of the known ones"
        return Check(
            name="version", ok=True, message=f"{message} ({known})", data={"version": version}
        )

    async def _check_key(self) -> Check:
        valid = await self.accepts_key()
        message = "is valid" if valid else "is not valid: set another one, or ask the vendor"
        return Check(name="key", ok=valid, message=f"the key of {self.credential} {message}")

    async def _check_quota(self) -> Check:
        quota = await self.quota()
        left = quota.allotted - quota.used
        message = f"{quota.used} of {quota.allotted} tests used this month, {max(left, 0)} left"
        data = {"used": quota.used, "allotted": quota.allotted}
        return Check(name="quota", ok=left > 0, message=message, data=data)

    async def _check_groups(self) -> Check:
        names = [group.name for group in await self.groups()]
        message = self._shown(f"{len(names)} test case groups: {', '.join(names)}")
        return Check(name="groups", ok=bool(names), message=message, data={"groups": names})

    def _shown(self, text: str) -> str:
        return plain(text, self.client.redact)
