"""The models that requests may name, opened once with the judge, the attacker and the cases."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from engine.kinds import Clock, JobKind, UsageError
from jobs.chat.built_in import LocalModel
from jobs.chat.endpoint import ChatTarget, Endpoint
from jobs.chat.target import Target
from jobs.evaluator.asking import Asker
from jobs.evaluator.groups import Case, CaseSet
from jobs.evaluator.service import LocalEvaluator, asker_of, target_of
from jobs.evaluator.settings import LocalSettings
from jobs.serve.config import ServeConfig, is_pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogModel:
    """A model that can be evaluated: its name at its endpoint, and what calls it."""

    model: str
    target: Target
    asker: Asker


class ModelCatalog:
    """The configured models; `async with` opens them. References to files of keys start from `folder`.

    Raises UsageError, with all mistakes, for groups that cannot be read, for an id that different cases
    share, and for a model whose file, package or key is missing.
    """

    def __init__(self, config: ServeConfig, clock: Clock, folder: Path = Path()) -> None:
        self._config = config
        self._clock = clock
        self._folder = folder
        self.cases = CaseSet(config.cases)
        _check_cases(self.cases)
        # Models with the same settings share one target, and so its limits.
        self._targets: dict[str, Target] = {}
        self._by_id: dict[str, CatalogModel] = {}
        askers: dict[str, Asker] = {}
        for name, configured in config.models.items():
            settings = config.evaluator_settings(configured)
            key = settings.model_dump_json()
            if key not in self._targets:
                self._targets[key] = target_of(settings, clock)
                askers[key] = asker_of(self._targets[key])
            target = self._targets[key]
            if isinstance(target, ChatTarget):
                target.folder = folder
            model = target.name if isinstance(target, LocalModel) else configured.model or name
            self._by_id[name] = CatalogModel(model=model, target=target, asker=askers[key])
        first, *self._others = self._targets.values()
        some = next(iter(config.models.values()))
        self._evaluator = LocalEvaluator(config.evaluator_settings(some), clock, target=first)
        self._evaluator.folder = folder
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._evaluator)
            for target in self._others:
                await stack.enter_async_context(target)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    def notices(self) -> Sequence[str]:
        """Lines for the log about the proxies in use. Raises UsageError for a proxy that cannot be used."""
        chats = [target for target in self._others if isinstance(target, ChatTarget)]
        openai = self._config.openai
        found = [
            *self._evaluator.notices(),
            *(notice for chat in chats for notice in chat.endpoint.notices(chat.endpoint.base_url)),
            *(() if openai is None else openai.notices(openai.base_url)),
        ]
        return list(dict.fromkeys(found))

    def find(self, name: str) -> CatalogModel | None:
        """The model that a request names, or None if the service does not offer it."""
        found = self._config.find_model(name)
        if found is None:
            return None
        model = self._by_id[found[0]]
        if is_pattern(found[0]):
            return CatalogModel(model=name, target=model.target, asker=model.asker)
        return model

    @asynccontextmanager
    async def open_finetune(self, name: str, key: str) -> AsyncIterator[CatalogModel]:
        """A fine-tuned model at OpenAI, called with the caller's key, which is dropped after the block."""
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
        async with ChatTarget(
            settings.endpoint,
            settings.generation,
            self._clock,
            folder=self._folder,
            secret_headers={"authorization": f"Bearer {key}"},
        ) as target:
            yield CatalogModel(model=name, target=target, asker=asker_of(target))

    def kind(self, name: str, model: CatalogModel, cases: Sequence[Case]) -> JobKind:
        """The job kind `name` for a model, over these cases instead of a group's."""
        kinds = self._evaluator.kinds_on(model.target, model.asker, lambda _: cases)
        [kind] = [kind for kind in kinds if kind.name == name]
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
