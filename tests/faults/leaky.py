"""A service by somebody else, which puts its key into everything that it says."""

import logging
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from engine.kinds import (
    Answer,
    Check,
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
    name: ClassVar[str] = "leak"
    axes = (TextAxis(name="models", field="model"),)
    key: str = ""

    async def run(self, job: Job, context: JobContext) -> Answer:
        said = f"\x1b[2J\ud800 {self.key} {self.key!r}"
        match job.labels["model"]:
            case "permanent":
                raise Permanent(said, detail=said)
            case "transient":
                raise Transient(said, detail=said)
            case "unauthorized":
                raise Unauthorized(said, detail=said)
            case "group":
                raise ExceptionGroup(said, [ValueError(said), OSError(said)])
            case "chain":
                try:
                    raise KeyError(said)
                except KeyError as error:
                    raise RuntimeError(said) from error
        raise ValueError(said)


class LeakyService(Service):
    settings_model = LeakySettings
    settings: LeakySettings

    def __init__(self, settings: Any, clock: Any) -> None:
        super().__init__(settings, clock)
        self._kind = LeakyKind()

    @property
    def identity(self) -> str:
        return "leaky"

    def kinds(self) -> Sequence[JobKind]:
        return (self._kind,)

    async def __aenter__(self) -> Self:
        self._kind.key = key = resolve_secret(self.settings.api_key)
        logging.getLogger(__name__).debug("opened with %s", key, extra={"key": key})
        match self.settings.opens:
            case "crash":
                raise RuntimeError(f"cannot open with \x1b[2J{key}")
            case "refuse":
                raise UsageError(f"cannot open with \x1b[2J{key}")
        return self

    async def check(self) -> Sequence[Check]:
        return (Check(name=self._kind.key, ok=False, message=f"the key is {self._kind.key}"),)
