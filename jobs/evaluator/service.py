"""`service: {kind: local}`: evaluations in this process, on the user's own models."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from engine.job import Clock, Finding, Group, JobKind, Service, ServiceSettings
from jobs.chat.built_in import LocalModel
from jobs.chat.endpoint import ChatTarget
from jobs.chat.target import Target
from jobs.evaluator import mutators
from jobs.evaluator.asking import Asker
from jobs.evaluator.groups import CaseSet
from jobs.evaluator.judge.rules import RulesJudge
from jobs.evaluator.kinds import SingleTurn, single_turn_of
from jobs.evaluator.settings import LocalSettings

_DIGEST_LENGTH = 16
_CALLS_AT_ONCE = 8


class LocalEvaluator(Service):
    """Evaluates the built-in model, any GGUF file, any OpenAI-compatible endpoint, or `target`.

    A subclass may give a `target` of its own, such as a jobs.chat.target.CallableTarget. Opening
    raises UsageError, with what to do, when the target's file, extra or key is missing.
    """

    settings_model: ClassVar[type[ServiceSettings]] = LocalSettings
    settings: LocalSettings

    def __init__(
        self, settings: LocalSettings, clock: Clock, *, target: Target | None = None
    ) -> None:
        super().__init__(settings, clock)
        self._target = self._settled_target() if target is None else target
        self._cases = CaseSet(settings.cases)
        self._judge = RulesJudge()

    @cached_property
    def _provenance(self) -> dict[str, Any]:
        """What decides the scores besides the axes; never a secret."""
        return {
            "judge": {
                "name": self._judge.name,
                "version": self._judge.version,
                "label": self._judge.label,
            },
            "target": self._target.identity,
            "cases": self._cases.digest[:_DIGEST_LENGTH],
            "mutators": mutators.VERSION,
            "seed": self.settings.seed,
            "expand_on": self.settings.expand_on,
        }

    @property
    def identity(self) -> str:
        return "local:" + json.dumps(self._provenance, sort_keys=True, separators=(",", ":"))

    @property
    def credential(self) -> str:
        endpoint = self.settings.endpoint
        return "" if endpoint is None else endpoint.api_key or ""

    def kinds(self) -> Sequence[JobKind]:
        target = self._target
        kind = single_turn_of(target.name) if isinstance(target, LocalModel) else SingleTurn
        return (kind(self.settings, self._cases, self._judge, self._asker, self._provenance),)

    async def __aenter__(self) -> Self:
        await self._target.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._target.__aexit__(*exc_info)

    async def groups(self) -> Sequence[Group]:
        return [
            Group(name=name, description=self._cases.group(name).description)
            for name in self._cases.names
        ]

    async def check(self) -> Sequence[Finding]:
        """The target, the cases and the judge; reads every group, and loads a model on this machine."""
        groups = await self.groups()
        count = sum(len(self._cases.group(group.name).cases) for group in groups)
        return (
            *await self._target.check(),
            Finding(
                name="cases",
                ok=True,
                message=f"{len(groups)} groups with {count} cases",
                data={group.name: len(self._cases.group(group.name).cases) for group in groups},
            ),
            Finding(
                name="judge",
                ok=True,
                message=f"{self._judge.name} {self._judge.version}, a {self._judge.label}",
            ),
        )

    def _settled_target(self) -> Target:
        settings = self.settings
        if settings.endpoint is not None:
            return ChatTarget(settings.endpoint, settings.generation, self.clock)
        path = None if settings.model_path is None else Path(settings.model_path)
        return LocalModel(settings.generation, self.clock, path, context=settings.context)

    @cached_property
    def _asker(self) -> Asker:
        """One for all kinds: they share the target's limits."""
        endpoint = self.settings.endpoint
        if endpoint is None:
            here = self._target.slots if isinstance(self._target, LocalModel) else _CALLS_AT_ONCE
            return Asker(self._target, max_in_flight=here)
        return Asker(
            self._target,
            max_in_flight=endpoint.max_in_flight,
            limit=f"target:{endpoint.base_url}:{endpoint.api_key or ''}",
            rate_per_min=endpoint.rate_per_min,
        )
