"""The models that requests may name, opened once with the judge, the attacker and the cases."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from engine.kinds import Clock, JobKind, UsageError
from jobs.chat.built_in import LocalModel
from jobs.chat.endpoint import ChatTarget, Endpoint
from jobs.chat.model_caller import model_caller_for
from jobs.chat.target import Target
from jobs.evaluator.groups import Case, CaseSet
from jobs.evaluator.kinds import MultiTurn, SingleTurn
from jobs.evaluator.settings import LocalSettings
from jobs.evaluator.setup import (
    EvaluationClient,
    EvaluationSetup,
    target_from_settings,
)
from jobs.serve.config import ServeConfig, is_pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogModel:
    """A model that can be evaluated: its name at its endpoint, and what calls it and its judge."""

    model: str
    target: Target
    client: EvaluationClient


class ModelCatalog:
    """The configured models; `async with` opens them. References to files of keys start from `folder`.

    Raises UsageError, with all mistakes, for groups that cannot be read, for an id that different cases
    share, and for a model whose file, package or key is missing.
    """

    def __init__(self, config: ServeConfig, clock: Clock, folder: Path = Path()) -> None:
        self._config = config
        self._clock = clock
        self._folder = folder
        # Models with the same settings share one target, and so its limits.
        self._targets: dict[str, Target] = {}
        self._keys: dict[str, str] = {}
        for name, configured in config.models.items():
            settings = config.evaluator_settings(configured)
            key = self._keys[name] = settings.model_dump_json()
            if key not in self._targets:
                self._targets[key] = target_from_settings(settings)
        some = next(iter(config.models.values()))
        self._setup = EvaluationSetup(
            config.evaluator_settings(some), next(iter(self._targets.values()))
        )
        self.cases = self._setup.cases
        _check_cases(self.cases)
        self._by_id: dict[str, CatalogModel] = {}
        self._client: EvaluationClient | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(self._setup.open(self._clock, self._folder))
            clients: dict[str, EvaluationClient] = {}
            for key, target in self._targets.items():
                clients[key] = first
                if target is not self._setup.target:
                    opened = await stack.enter_async_context(target.open(self._clock, self._folder))
                    clients[key] = replace(first, caller=model_caller_for(target, opened))
            self._client = first
            self._by_id = {
                name: self._model(name, key, clients[key]) for name, key in self._keys.items()
            }
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    def _model(self, name: str, key: str, client: EvaluationClient) -> CatalogModel:
        target, model = self._targets[key], self._config.models[name].model or name
        if isinstance(target, LocalModel):
            model = target.name
        return CatalogModel(model=model, target=target, client=client)

    def notices(self) -> Sequence[str]:
        """Lines for the log about the proxies in use. Raises UsageError for a proxy that cannot be used."""
        setup, openai = self._setup, self._config.openai
        targets = (setup.target, setup.judge_target, setup.attacker_target, *self._targets.values())
        endpoints = (target.endpoint for target in targets if isinstance(target, ChatTarget))
        found = [
            *(notice for one in endpoints for notice in one.notices(one.base_url)),
            *(() if openai is None else openai.notices(openai.base_url)),
        ]
        return list(dict.fromkeys(found))

    def find(self, name: str) -> CatalogModel | None:
        """The model that a request names, by its id or by the longest pattern that matches.

        None if the service does not offer it. A model of a pattern gets the name that was asked for.
        """
        found = self._config.find_model(name)
        if found is None:
            return None
        model = self._by_id[found[0]]
        if is_pattern(found[0]):
            return replace(model, model=name)
        return model

    @asynccontextmanager
    async def open_finetune(self, name: str, key: str) -> AsyncIterator[CatalogModel]:
        """A fine-tuned model at OpenAI, called with the caller's key, which is dropped after the block.

        The judge and the attacker stay the service's own. The limits of `openai` hold; the configuration
        must have it. Nothing is sent on opening.
        """
        openai = self._config.openai
        assert openai is not None, "the caller checks that it is configured"
        settings = LocalSettings(
            kind="local",
            endpoint=Endpoint(
                base_url=openai.base_url,
                rate_per_min=openai.rate_per_min,
                tokens_per_min=openai.tokens_per_min,
                max_in_flight=openai.max_in_flight,
                timeout_s=openai.timeout_s,
                use_proxy=openai.use_proxy,
                ca_file=openai.ca_file,
            ),
            temperature=openai.temperature,
            max_tokens=openai.max_tokens,
        )
        assert settings.endpoint is not None, "set above"
        target = ChatTarget(
            settings.endpoint,
            settings.generation,
            secret_headers={"authorization": f"Bearer {key}"},
        )
        assert self._client is not None, "the catalog is used inside `async with`"
        async with target.open(self._clock, self._folder) as opened:
            client = replace(self._client, caller=model_caller_for(target, opened))
            yield CatalogModel(model=name, target=target, client=client)

    def kind(self, name: str, model: CatalogModel, cases: Sequence[Case]) -> JobKind:
        """The job kind `name` (`single_turn` or `multi_turn`) for a model.

        It evaluates these cases, whatever group a job names, and shares the catalog's judge and attacker.
        """
        setup = self._setup.with_target(model.target, cases)
        [kind] = [kind for kind in (SingleTurn(setup), MultiTurn(setup)) if kind.name == name]
        return kind


def _check_cases(cases: CaseSet) -> None:
    """Raise UsageError, with all mistakes, if a group cannot be read or different cases share an id."""
    mistakes = []
    first: dict[str, tuple[str, Case]] = {}
    for name in cases.names:
        try:
            group = cases.group(name)
        except UsageError as error:
            mistakes.append(str(error))
            continue
        for case in group.cases:
            other, known = first.setdefault(case.id, (name, case))
            if case != known:
                mistakes.append(
                    f"the id {case.id} belongs to different cases in the groups {other} and {name}: re-runs"
                    " find a case by its id, so give one of the two another id"
                )
    if mistakes:
        raise UsageError("\n".join(mistakes))
