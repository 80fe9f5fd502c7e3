"""A third-party service that puts its key into all of its texts."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from engine.kinds import (
    Answer,
    Check,
    Clock,
    Job,
    JobContext,
    JobKind,
    Permanent,
    Service,
    ServiceSettings,
    TextAxis,
    Transient,
    Unauthorized,
    UsageError,
    resolve_secret,
)


class LeakySettings(ServiceSettings):
    api_key: str
    opens: str = "well"


class LeakyKind(JobKind):
    name = "leak"
    axes = (TextAxis(name="models", field="model"),)

    async def run(self, job: Job, client: str, context: JobContext) -> Answer:
        text = f"\x1b[2J\ud800 {client} {client!r}"
        match job.labels["model"]:
            case "permanent":
                raise Permanent(text, detail=text)
            case "transient":
                raise Transient(text, detail=text)
            case "unauthorized":
                raise Unauthorized(text, detail=text)
            case "group":
                raise ExceptionGroup(text, [ValueError(text), OSError(text)])
            case "chain":
                try:
                    raise KeyError(text)
                except KeyError as error:
                    raise RuntimeError(text) from error
        raise ValueError(text)


class LeakyService(Service):
    settings_model = LeakySettings
    settings: LeakySettings

    @property
    def identity(self) -> str:
        return "leaky"

    def kinds(self) -> Sequence[JobKind]:
        return (LeakyKind(),)

    @asynccontextmanager
    async def open(self, clock: Clock) -> AsyncIterator[str]:
        """The key is the client."""
        key = resolve_secret(self.settings.api_key)
        logging.getLogger(__name__).debug("opened with %s", key, extra={"key": key})
        match self.settings.opens:
            case "crash":
                raise RuntimeError(f"cannot open with \x1b[2J{key}")
            case "refuse":
                raise UsageError(f"cannot open with \x1b[2J{key}")
        yield key
        if self.settings.opens == "crash at the end":
            raise RuntimeError(f"cannot close with \x1b[2J{key}")

    async def check(self, client: str) -> Sequence[Check]:
        return (Check(name=client, ok=False, message=f"the key is {client}"),)
