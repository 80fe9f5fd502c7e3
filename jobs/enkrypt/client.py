"""The model-health question, version 3."""

import os
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator
from pydantic_core import to_json

from engine.kinds import Clock, Measurement, Permanent, UsageError, resolve_secret
from jobs.enkrypt.schema import HEALTH_ANSWER, HealthAnswer, checked_reference, with_secrets
from jobs.http import (
    HttpClient,
    HttpLimits,
    Key,
    Network,
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
    """The base URL without a last slash; raises ValueError for what is no http or https URL."""
    return str(parse_base_url(text)).rstrip("/")


def service_key(reference: str, secret: Callable[[str], str]) -> Key:
    """The key of the service; raises UsageError, also where the vendor's own variable is set alone."""
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
        self._secret = secret
        self._http = HttpClient(
            url,
            clock=clock,
            headers={"apikey": api_key},
            secrets={"apikey": api_key},
            limits=HttpLimits(deadline_s=deadline_s, max_body_bytes=4 * 1024 * 1024),
            network=network,
            # Each request that leaves is one of the engine's, which counts it.
            resends=False,
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._http.__aexit__(*exc_info)

    async def model_health(self, configuration: Mapping[str, Any]) -> tuple[HealthAnswer, Reply]:
        """What the service found of one endpoint, and the answer itself.

        The references in `configuration` are resolved here and go nowhere else. Raises JobError,
        and UsageError for a literal key or a reference that leads to none.
        """
        try:
            sent = with_secrets(configuration, self._resolved)
        except ValueError as error:
            raise UsageError(f"endpoint configuration: {error}") from None
        try:
            body = to_json({"endpoint_configuration": sent}, inf_nan_mode="constants")
        except ValueError:
            # No word of the cause: it may quote what was to be sent, keys included.
            body = None
        if body is None:
            raise Permanent(
                f"POST {PATH}: not sent, the endpoint configuration cannot be written as JSON",
                sent=False,
            )
        reply = await self._http.post(PATH, body)
        return read_json_as(HEALTH_ANSWER, reply.body, reply.where), reply

    def _resolved(self, reference: str) -> str:
        secret = self._secret(checked_reference(reference))
        # The service passes the key on, and its errors may quote it.
        self._http.redact.add(reference, secret)
        return secret

    def told(self, answer: HealthAnswer) -> str:
        """The answer's message, and its error where it is unhealthy, as one printable line."""
        parts = [answer.message or ""]
        if answer.status == "unhealthy" and answer.error:
            parts.append(answer.error if isinstance(answer.error, str) else repr(answer.error))
        return plain(": ".join(part for part in parts if part), self._http.redact)

    def measure(self, answer: HealthAnswer) -> Measurement:
        """Passed if healthy, failed if not; costs no tests and has no scores."""
        healthy = answer.status == "healthy"
        return Measurement(
            passed=int(healthy), failed=int(not healthy), tests=0, note=self.told(answer) or None
        )
