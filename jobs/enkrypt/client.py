"""The model-health question, version 3."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field
from pydantic_core import to_json

from engine.kinds import Clock, Measurement, Permanent, SecretReference, UsageError, resolve_secret
from jobs.enkrypt.schema import HEALTH_ANSWER, HealthAnswer, checked_reference, with_secrets
from jobs.http import (
    HttpLimits,
    Key,
    Network,
    NetworkSettings,
    Reply,
    Sent,
    parse_base_url,
    plain,
    read_json_as,
)

VENDOR_URL = "https://api.enkryptai.com"
PATH = "redteam/v3/model-health"
DEADLINE_S = 120.0
DEFAULT_KEY = "env:ENKRYPT_API_KEY"
_VARIABLE_OF_THE_PACKAGE = "ENKRYPTAI_API_KEY"


def base_url(text: str) -> str:
    """Return the base URL without a trailing slash; raises ValueError if it is not an http or https URL."""
    return str(parse_base_url(text)).rstrip("/")


def service_key(reference: str, secret: Callable[[str], str]) -> Key:
    """Read the service's key; raises UsageError if it is missing, and names the vendor's own variable if that is set."""
    try:
        return Key(reference, secret)
    except UsageError as error:
        if reference != DEFAULT_KEY or not os.environ.get(_VARIABLE_OF_THE_PACKAGE):
            raise
        raise UsageError(
            f"{error}; {_VARIABLE_OF_THE_PACKAGE}, which enkryptai-sdk reads, is set: write"
            f" `api_key: env:{_VARIABLE_OF_THE_PACKAGE}`"
        ) from None


BaseUrl = Annotated[str, AfterValidator(base_url)]


class ApiSettings(NetworkSettings):
    """The settings that the service and the health gate have in common."""

    base_url: Annotated[BaseUrl, Field(description="Where the API is.")] = VENDOR_URL
    api_key: Annotated[SecretReference, Field(description="Where the key of the API is.")] = (
        DEFAULT_KEY
    )
    deadline_s: Annotated[float, Field(gt=0, description="How long one question may take.")] = (
        DEADLINE_S
    )

    def client(self, clock: Clock, secret: Callable[[str], str], folder: Path) -> "Client":
        """Make the client, not yet opened; raises UsageError if the key is missing."""
        return Client(
            url=self.base_url,
            api_key=service_key(self.api_key, secret),
            clock=clock,
            secret=secret,
            deadline_s=self.deadline_s,
            network=self.network(folder),
        )


class Client:
    """A client with one key; `async with` opens and closes its connections.

    `secret` reads the keys of the models that it asks about.
    """

    def __init__(
        self,
        *,
        api_key: Sent,
        clock: Clock,
        secret: Callable[[str], str] = resolve_secret,
        url: str = VENDOR_URL,
        deadline_s: float = DEADLINE_S,
        network: Network | None = None,
    ) -> None:
        from jobs.http import HttpClient  # slow to import, and not always needed

        self._secret = secret
        self._http = HttpClient(
            url,
            clock=clock,
            headers={"apikey": api_key},
            secrets={"apikey": api_key},
            limits=HttpLimits(deadline_s=deadline_s, max_body_bytes=4 * 1024 * 1024),
            network=network,
            # The engine counts requests, so the client must not repeat one on its own.
            resends=False,
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._http.__aexit__(*exc_info)

    async def model_health(self, configuration: Mapping[str, Any]) -> tuple[HealthAnswer, Reply]:
        """Ask whether the model of one endpoint is healthy; returns the answer, read and as it came.

        The references in `configuration` are resolved here and go nowhere else. Raises JobError,
        and UsageError for a literal key or a reference that leads to none.
        """
        try:
            sent = with_secrets(configuration, self._resolve_key)
        except ValueError as error:
            raise UsageError(f"endpoint configuration: {error}") from None
        try:
            body = to_json({"endpoint_configuration": sent}, inf_nan_mode="constants")
        except ValueError:
            # The cause is left out: it may quote the configuration, with its keys.
            body = None
        if body is None:
            raise Permanent(
                f"POST {PATH}: not sent, the endpoint configuration cannot be written as JSON",
                sent=False,
            )
        reply = await self._http.post(PATH, body)
        return read_json_as(HEALTH_ANSWER, reply.body, reply.where), reply

    def _resolve_key(self, reference: str) -> str:
        secret = self._secret(checked_reference(reference))
        # The service sends the key to the model's provider, and its errors may quote it.
        self._http.redact.add(reference, secret)
        return secret

    def describe(self, answer: HealthAnswer) -> str:
        """The answer's message, and the error of an unhealthy model, as one printable line."""
        parts = [answer.message or ""]
        if answer.status == "unhealthy" and answer.error:
            parts.append(answer.error if isinstance(answer.error, str) else repr(answer.error))
        return plain(": ".join(part for part in parts if part), self._http.redact)

    def measure(self, answer: HealthAnswer) -> Measurement:
        """One passed test if the model is healthy, else one failed; neither costs quota nor has a score."""
        healthy = answer.status == "healthy"
        return Measurement(
            passed=int(healthy),
            failed=int(not healthy),
            tests=0,
            note=self.describe(answer) or None,
        )
