"""The health gate: asks Enkrypt about a model before its lane opens (`service.health: enkrypt`)."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field

from engine.kinds import (
    Clock,
    Health,
    HealthGate,
    Unauthorized,
    UsageError,
)
from jobs.enkrypt.client import ApiSettings, Client
from jobs.enkrypt.schema import read_endpoint, with_secrets

OPENROUTER: Mapping[str, Any] = {
    "testing_for": "foundationModels",
    "certifications": [],
    "model_config": {
        "model_provider": "openrouter",
        "hosting_type": "External",
        "input_modalities": ["text"],
        "output_modalities": ["text"],
        "model_source": "",
        "rate_per_min": 20,
        "system_prompt": "",
        "endpoint": {
            "scheme": "https",
            "host": "openrouter.ai",
            "port": 443,
            "base_path": "/api/v1",
        },
        "paths": {"completions": "/completions", "chat": "/chat/completions"},
        "auth_data": {
            "header_name": "Authorization",
            "header_prefix": "Bearer",
            "space_after_prefix": True,
        },
        "apikeys": ["env:OPENROUTER_API_KEY"],
        "metadata": {},
        "default_request_options": {},
    },
}
"""The endpoint of a sweep's models, which the setting `endpoint` is merged into."""


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in changes.items():
        before = merged.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            value = _merge(before, value)
        merged[name] = value
    return merged


def _drop_replaced(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """The base without the parts that `changes` replace: an endpoint URL for its parts, one key for several."""
    written = changes.get("model_config")
    if not isinstance(written, Mapping):
        return base
    replaced = {
        *(("endpoint", "paths") if written.get("endpoint_url") else ()),
        *(("apikeys",) if written.get("apikey") else ()),
    }
    kept = {name: part for name, part in base["model_config"].items() if name not in replaced}
    return {**base, "model_config": kept}


def _template(changes: Mapping[str, Any]) -> dict[str, Any]:
    if "model_name" in changes:
        raise ValueError("model_name is each lane's model; leave it out")
    template = _merge(_drop_replaced(OPENROUTER, changes), changes)
    read_endpoint({**template, "model_name": "any"})
    return template


class EnkryptHealthSettings(ApiSettings):
    """The health gate of Enkrypt AI."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    kind: str = "enkrypt"
    endpoint: Annotated[dict[str, Any], AfterValidator(_template)] = Field(
        default_factory=dict,
        validate_default=True,
        description="What differs from models on OpenRouter: parts of an endpoint configuration.",
    )


class EnkryptHealth(HealthGate):
    """Has Enkrypt ask the model of a lane one question; the model is healthy if it answers.

    The lane's name is sent as the model's name within `settings.endpoint`. Opening raises UsageError if a key
    is missing.
    """

    settings_model = EnkryptHealthSettings
    settings: EnkryptHealthSettings

    @asynccontextmanager
    async def open(self, clock: Clock) -> AsyncIterator[Client]:
        # Report a missing key now, not when a lane already waits for its model.
        with_secrets(self.settings.endpoint, self.secret)
        async with self.settings.client(clock, self.secret, self.folder) as client:
            yield client

    def notices(self) -> Sequence[str]:
        return self.settings.notices(self.settings.base_url)

    async def check(self, client: Client, lane: str) -> Health:
        try:
            answer, _ = await client.model_health({**self.settings.endpoint, "model_name": lane})
        except UsageError as error:
            raise Unauthorized(str(error), sent=False) from None
        return Health(healthy=answer.status == "healthy", message=client.describe(answer))
