"""Services and health gates: declared once, given settings by a sweep, and opened for its jobs."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from engine.clock import Clock
from engine.core.errors import UsageError
from engine.core.model import Allotment, Check, Group, Health
from engine.core.money import Price
from engine.kinds.kind import JobKind
from engine.secrets import is_reference, resolve_secret


class ServiceSettings(BaseModel):
    """The `service:` part of a sweep file; each service adds fields of its own.

    Unknown keys are refused, and values are not converted. Keys to a service are written as
    `SecretReference`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: str


class _Declared:
    """What a service and a health gate have in common."""

    folder: Path = Path()
    """The folder of the sweep file: the files that its settings name are looked for there."""
    _settings: Any = None

    @property
    def settings(self) -> Any:
        """The settings of the sweep, an instance of `settings_model`."""
        assert self.has_settings, "there are no settings before a sweep gives them"
        return self._settings

    @property
    def has_settings(self) -> bool:
        """Whether a sweep has given settings."""
        return self._settings is not None

    def with_settings(self, settings: Any, folder: Path = Path()) -> Self:
        """A copy with the settings of a sweep, whose file is in `folder`."""
        assert not self.has_settings, "a sweep gives settings once"
        made = copy(self)
        vars(made).update(_settings=settings, folder=folder)
        return made

    def secret(self, reference: str) -> str:
        """Read the key that a reference such as `env:NAME` points to; relative paths start at `folder`.

        The key is removed from everything that is printed or logged from then on. Raises UsageError, which
        names the reference, if the key is missing or empty.
        """
        return resolve_secret(reference, self.folder)

    def notices(self) -> Sequence[str]:
        """What users should know before requests are sent, such as that they go through a proxy.

        Each text is one line, printed before a run; sends nothing.
        """
        return ()


class Service(_Declared, ABC):
    """An evaluation API, seen through its adapter.

    It is declared once, in a registry. Each sweep gives it settings, and only `open` makes a client: to
    parse a sweep, to submit it and to ask for its status touches neither network nor keys. Until a sweep
    gives settings, only `settings_model`, `templates`, `advice_for` and `kinds` are used.
    """

    settings_model: type[ServiceSettings]

    @property
    @abstractmethod
    def identity(self) -> str:
        """A short name of who answers, such as the base URL; part of every job's key.

        Whatever else decides the answers belongs in `JobKind.provenance`.
        """

    @property
    def address(self) -> str:
        """Where requests go. With the key it names the account whose rates and quota they use.

        Different spellings of one URL count as the same address.
        """
        return self.identity

    @property
    def credential(self) -> str:
        """The reference to the key that is charged; empty without one."""
        return ""

    @property
    def key(self) -> str:
        """The key that is charged; raises UsageError if it is missing. Only a hash of it is stored."""
        reference = self.credential
        return self.secret(reference) if is_reference(reference) else reference

    def templates(self) -> Mapping[str, str]:
        """Example sweeps that `nightsweep init` writes: YAML texts by name.

        Each is a valid sweep and begins with a comment that says in a few words what it is for. `init`
        replaces its `name` with that of the file.
        """
        return {}

    def advice_for(self, kind: str) -> str | None:
        """What to write instead of an unknown `kind` that this service covers; None if it does not."""
        return None

    def mistakes(self) -> Mapping[str, str]:
        """Mistakes in the settings, by setting, that can only be found by reading files.

        Called when a sweep is parsed. Sends nothing.
        """
        return {}

    def judging_again(self, judging: Mapping[str, Any], *, asks_missing: bool) -> Mapping[str, Any]:
        """The settings, as in a sweep file, of a run that judges stored replies again.

        `judging` holds the settings that change. Only judges are called, unless `asks_missing`: then
        missing replies are asked for. Raises UsageError if the service judges its answers itself.
        """
        raise UsageError(
            f"{self.settings.kind} judges its answers itself: no reply can be judged again"
        )

    @abstractmethod
    def kinds(self) -> Sequence[JobKind]:
        """The job kinds of this service.

        Also called without settings (`has_settings` is False), for the schema of sweep files and to find
        mistakes in a matrix although the settings are wrong. Then return what holds for any settings.
        """

    def price(self, role: str, endpoint: str, model: str) -> Price | None:
        """The price of tokens of a model in a role at an endpoint; None if the user has stated none.

        The cost of calls is computed from it where the provider reports no cost itself.
        """
        return None

    @asynccontextmanager
    async def open(self, clock: Clock) -> AsyncIterator[Any]:
        """Open the client that jobs and questions are sent through, and close it afterwards.

        Reads keys and sends nothing. It is tried before a run is stored, so that a missing key leaves no
        run behind. Raises UsageError for anything missing.
        """
        yield None

    async def groups(self, client: Any) -> Sequence[Group]:
        """The test-case groups that `groups: all` stands for, in the order in which cells are sent.

        Called once for a run, which keeps the answer. Raises JobError if the service does not answer.
        """
        return ()

    async def quota(self, client: Any) -> Allotment | None:
        """The monthly quota of the key in tests; None if the service has none or does not report it.

        Called when a run starts, and when the figure may have changed, such as when a month (UTC) begins or a
        request was refused. Raises JobError if the service does not answer.
        """
        return None

    async def accepts_key(self, client: Any) -> bool | None:
        """Whether the service calls the key valid; None if it has no such call.

        Called before a run is stopped for a refused key. Must not cost anything.
        """
        return None

    async def check(self, client: Any) -> Sequence[Check]:
        """Check whether the service can be used: is it reached, is the key accepted, is its version known?

        Returns the lines of `nightsweep check`, each with `ok` and a message. Sends nothing that costs.
        """
        return ()

    async def check_models(
        self, client: Any, models: Sequence[str], *, ask: bool
    ) -> Sequence[Check]:
        """Whether the models of a sweep, by the names of its lanes, would answer.

        With `ask`, each may be asked one short question, which may cost a little; without, nothing
        that costs is sent.
        """
        return ()


class HealthGate(_Declared, ABC):
    """Says whether a model can answer before its lane opens; declared and opened as a service is."""

    settings_model: type[BaseModel]

    @asynccontextmanager
    async def open(self, clock: Clock) -> AsyncIterator[Any]:
        """Open the client that `check` uses, and close it afterwards; sends nothing."""
        yield None

    @abstractmethod
    async def check(self, client: Any, lane: str) -> Health:
        """Ask once whether the model of a lane can answer now.

        An unhealthy model's lane waits and is asked again later, while the others continue. Raises JobError
        if the question itself gets no answer.
        """


def packaged_yaml(package: str, folder: str) -> dict[str, str]:
    """The texts of the YAML files in a folder of a package, by their names without the suffix.

    It serves `Service.templates`, and works in a wheel as well as in a source tree.
    """
    from importlib.resources import files  # slow to import, and not always needed

    return {
        file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8")
        for file in (files(package) / folder).iterdir()
        if file.name.endswith(".yaml")
    }
