"""The models that requests may name: opened once, with one judge, one attacker, and the cases."""

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
    """A model that can be asked: its name there, and who asks it."""

    model: str
    target: Target
    asker: Asker


class ModelCatalog:
    """What the configuration offers; `async with` opens it. Files of keys are looked for in `folder`.

    Raises UsageError, with every mistake, for groups of cases that cannot be read or have an id for
    different cases, and for a model's file, extra or key that is missing.
    """

    def __init__(self, config: ServeConfig, clock: Clock, folder: Path = Path()) -> None:
        self._config = config
        self._clock = clock
        self._folder = folder
        self.cases = CaseSet(config.cases)
        _read_all(self.cases)
        # Models that are reached and asked in the same way share one target, and so its limits.
        self._targets: dict[str, Target] = {}
        self._by_id: dict[str, CatalogModel] = {}
        askers: dict[str, Asker] = {}
        for name, offer in config.models.items():
            settings = config.evaluation(offer)
            way = settings.model_dump_json()
            if way not in self._targets:
                self._targets[way] = target_of(settings, clock)
                askers[way] = asker_of(self._targets[way])
            target = self._targets[way]
            if isinstance(target, ChatTarget):
                target.folder = folder
            model = target.name if isinstance(target, LocalModel) else offer.model or name
            self._by_id[name] = CatalogModel(model=model, target=target, asker=askers[way])
        first, *self._others = self._targets.values()
        some = next(iter(config.models.values()))
        self._evaluator = LocalEvaluator(config.evaluation(some), clock, target=first)
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
        """That requests go through proxies, where they do; raises UsageError for one of no use."""
        chats = [target for target in self._others if isinstance(target, ChatTarget)]
        openai = self._config.openai
        found = [
            *self._evaluator.notices(),
            *(notice for chat in chats for notice in chat.endpoint.notices(chat.endpoint.base_url)),
            *(() if openai is None else openai.notices(openai.base_url)),
        ]
        return list(dict.fromkeys(found))

    def find(self, name: str) -> CatalogModel | None:
        """The model that a request names; None where none is offered."""
        found = self._config.offered(name)
        if found is None:
            return None
        offered = self._by_id[found[0]]
        if is_pattern(found[0]):
            return CatalogModel(model=name, target=offered.target, asker=offered.asker)
        return offered

    @asynccontextmanager
    async def finetuned(self, name: str, key: str) -> AsyncIterator[CatalogModel]:
        """A model of the caller's at OpenAI, with the caller's key, which lives as long as the block."""
        openai = self._config.openai
        assert openai is not None, "only asked where it is configured"
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
        assert settings.endpoint is not None, "it was just given"
        async with ChatTarget(
            settings.endpoint,
            settings.generation,
            self._clock,
            folder=self._folder,
            secret_headers={"authorization": f"Bearer {key}"},
        ) as target:
            yield CatalogModel(model=name, target=target, asker=asker_of(target))

    def kind(self, name: str, offered: CatalogModel, cases: Sequence[Case]) -> JobKind:
        """The evaluation of this name on a model, over these cases whatever the group is called."""
        kinds = self._evaluator.kinds_on(offered.target, offered.asker, lambda _: cases)
        [kind] = [kind for kind in kinds if kind.name == name]
        return kind


def _read_all(cases: CaseSet) -> None:
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
                    f"the id {case.id} stands for two cases, in the groups {other} and {name}: earlier"
                    " results are found again by it, so give one of the cases another id"
                )
    if mistakes:
        raise UsageError("\n".join(mistakes))
