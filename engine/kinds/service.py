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
    """The `service:` part of a sweep file; each service adds fields of its own."""

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
        """The key that a reference points to; raises UsageError, naming the reference, if none."""
        return resolve_secret(reference, self.folder)

    def notices(self) -> Sequence[str]:
        """What to know before requests leave, such as that they go through a proxy; sends nothing."""
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
        """Who is asked, in few words, such as the service's base URL; part of every job's key.

        What else decides answers is told by `JobKind.provenance`.
        """

    @property
    def address(self) -> str:
        """Where requests go: with the key, whose rates and quota they use. Spellings of a URL do not matter."""
        return self.identity

    @property
    def credential(self) -> str:
        """The reference of the key that is charged."""
        return ""

    @property
    def key(self) -> str:
        """The key that is charged, which names an account only as a hash; raises UsageError where there is none."""
        reference = self.credential
        return self.secret(reference) if is_reference(reference) else reference

    def templates(self) -> Mapping[str, str]:
        """Sweeps over the service to begin with, which `nightsweep init` writes: YAML texts by their names.

        Each is valid as it stands and begins with a comment that says in a few words what it is for. Its
        `name` is replaced by that of the file.
        """
        return {}

    def advice_for(self, kind: str) -> str | None:
        """What to write in place of an unknown `kind`, if this service can stand for it."""
        return None

    def mistakes(self) -> Mapping[str, str]:
        """What is wrong with settings, by their names, that only a look at files can tell.

        Asked when a sweep is read; nothing is sent.
        """
        return {}

    def judging_again(self, judging: Mapping[str, Any], *, asks_missing: bool) -> Mapping[str, Any]:
        """The settings, as a sweep file has them, of a run that judges replies which are kept.

        `judging` holds those that change. Nothing is asked but judges unless it `asks_missing` replies.
        Raises UsageError where the service judges its answers itself.
        """
        raise UsageError(
            f"{self.settings.kind} judges its answers itself: no reply can be judged again"
        )

    @abstractmethod
    def kinds(self) -> Sequence[JobKind]:
        """The job kinds of this service.

        Before there are settings (see `has_settings`), the kinds as they are whatever the settings: what
        completes and checks sweep files reads their axes.
        """

    def price(self, role: str, endpoint: str, model: str) -> Price | None:
        """What the tokens of a model cost in a role, where the sweep file says so of that endpoint."""
        return None

    @asynccontextmanager
    async def open(self, clock: Clock) -> AsyncIterator[Any]:
        """Open what jobs are sent through, their client, and close it in the end; sends nothing.

        Keys are read here: a run is only written down after this was tried, so that a missing key leaves
        nothing behind. Raises UsageError for what is missing.
        """
        yield None

    async def groups(self, client: Any) -> Sequence[Group]:
        """The test-case groups that `groups: all` stands for."""
        return ()

    async def quota(self, client: Any) -> Allotment | None:
        """The monthly quota of the key, where the service offers it."""
        return None

    async def accepts_key(self, client: Any) -> bool | None:
        """Whether the service says that the key is valid; None where it has no such question.

        Asked before a run is stopped for a key that was refused; nothing that costs.
        """
        return None

    async def check(self, client: Any) -> Sequence[Check]:
        """Whether the service can be used: reached, key accepted, versions. Sends nothing that costs."""
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
        """Open the client that `check` asks, and close it in the end; sends nothing."""
        yield None

    @abstractmethod
    async def check(self, client: Any, lane: str) -> Health:
        """Ask about one model once; raises JobError when no answer could be had."""


def packaged_yaml(package: str, folder: str) -> dict[str, str]:
    """The texts of the YAML files that travel in a folder of a package, by their names without ending."""
    from importlib.resources import files  # slow to import, and not always needed

    return {
        file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8")
        for file in (files(package) / folder).iterdir()
        if file.name.endswith(".yaml")
    }
