"""`service: {kind: local}`: evaluations in this process, on the user's own models."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Self

from engine.kinds import (
    TARGET,
    Check,
    Clock,
    Group,
    JobKind,
    Price,
    Service,
    ServiceSettings,
    UsageError,
    packaged_yaml,
)
from jobs.chat.built_in import LocalModel
from jobs.chat.endpoint import ChatTarget
from jobs.chat.limits import CallLimits
from jobs.chat.prices import price_of
from jobs.chat.target import Target
from jobs.evaluator import mutators
from jobs.evaluator.asking import ATTACKER, JUDGE, Asker
from jobs.evaluator.attacker import Attacker
from jobs.evaluator.checking import (
    OnceContext,
    ask_attacker,
    ask_each,
    ask_judge,
    find_listed,
)
from jobs.evaluator.evaluation import Bench
from jobs.evaluator.families import family, kinship
from jobs.evaluator.groups import Case, CaseSet
from jobs.evaluator.judge.protocol import Judge
from jobs.evaluator.judge.rubric import RubricJudge
from jobs.evaluator.judge.rules import RulesJudge
from jobs.evaluator.kinds import kinds_of
from jobs.evaluator.provenance import Provenance
from jobs.evaluator.providers import endpoint_advice
from jobs.evaluator.settings import LocalSettings, RubricJudgeSettings
from jobs.evaluator.translation import Translator

_DIGEST_LENGTH = 16
_CALLS_AT_ONCE = 8
_ALL = "all"
_JUDGING = ("judge", "expand_on")
"""The settings of the judging side."""


class LocalEvaluator(Service):
    """Evaluates the built-in model, any GGUF file, any OpenAI-compatible endpoint, or `target`.

    A subclass may give a `target` of its own, as jobs.evaluator.evaluator_of does. Opening
    raises UsageError, with what to do, when the target's file, extra or key is missing.
    """

    settings_model: ClassVar[type[ServiceSettings]] = LocalSettings
    settings: LocalSettings

    def __init__(
        self, settings: LocalSettings, clock: Clock, *, target: Target | None = None
    ) -> None:
        super().__init__(settings, clock)
        self._target = target_of(settings, clock) if target is None else target
        self._cases = CaseSet(settings.cases)
        self._stack = AsyncExitStack()
        self._judge_chat: ChatTarget | None = None
        self._attacker_chat: ChatTarget | None = None
        self._judge = self._settled_judge()
        self._attacker = self._settled_attacker()
        self._translator = self._settled_translator()

    @cached_property
    def _provenance(self) -> dict[str, Any]:
        """What decides the scores besides the axes; never a secret."""
        attacker = {} if self._attacker is None else {"attacker": self._attacker.version}
        if self._translator is not None:
            attacker["translations"] = self._translator.version
        return {
            "judge": {
                "name": self._judge.name,
                "version": self._judge.version,
                "label": self._judge.label,
            },
            **attacker,
            "target": self._target.identity,
            "cases": self._cases.digest[:_DIGEST_LENGTH],
            "mutators": mutators.VERSION,
            "seed": self.settings.seed,
            "expand_on": self.settings.expand_on,
        }

    @property
    def identity(self) -> str:
        return f"local:{self._target.address}"

    @property
    def address(self) -> str:
        endpoint = self.settings.endpoint
        return self.identity if endpoint is None else f"local:{endpoint.base_url}"

    @property
    def credential(self) -> str:
        if not self.settings.asks:
            # Rates and waits of the target's key are for those who ask it.
            return "kept replies"
        endpoint = self.settings.endpoint
        return "" if endpoint is None else endpoint.credential

    @classmethod
    def templates(cls) -> Mapping[str, str]:
        return packaged_yaml("jobs.evaluator", "templates")

    @classmethod
    def judging_again(
        cls, settings: ServiceSettings, judging: Mapping[str, Any], *, asks_missing: bool
    ) -> Mapping[str, Any]:
        if unknown := sorted(set(judging).difference(_JUDGING)):
            raise UsageError(f"{unknown[0]} does not judge: there are {', '.join(_JUDGING)}")
        return {
            **settings.model_dump(mode="json"),
            **judging,
            "replies": "ask" if asks_missing else "kept",
        }

    def kinds(self) -> Sequence[JobKind]:
        return self.kinds_on(self._target, self._asker, self._cases_of)

    def kinds_on(
        self, target: Target, asker: Asker, cases_of: Callable[[str], Sequence[Case]]
    ) -> Sequence[JobKind]:
        """The kinds on another target and other cases, under this evaluator's judge and attacker."""
        bench = Bench(
            settings=self.settings,
            cases_of=cases_of,
            judge=self._judge,
            judge_model=self._judge_model,
            asker=asker,
            call_limits={
                TARGET: asker.call_limit,
                "judge": None if self._judge_chat is None else self._judge_chat.limits.told,
                "attacker": None
                if self._attacker_chat is None
                else self._attacker_chat.limits.told,
            },
            attacker=self._attacker,
            translator=self._translator,
            group_names=self._group_names,
            provenance={**self._provenance, "target": target.identity},
            decides=Provenance(
                settings=self.settings,
                target=target,
                judge=self._judge,
                attacker=self._attacker,
                translator=self._translator,
                cases_of=cases_of,
            ),
        )
        # Without a kind the settings are wrong, and nobody knows which target they meant.
        only = target.name if isinstance(target, LocalModel) and self.settings.kind else None
        return [kind(bench) for kind in kinds_of(only)]

    def _group_names(self) -> Sequence[str] | None:
        # A fault of the folder of cases is reported as a mistake of that setting.
        return None if self.mistakes() else self._cases.names

    def mistakes(self) -> Mapping[str, str]:
        try:
            _ = self._cases.names
        except UsageError as error:
            return {"cases": str(error)}
        return {}

    @classmethod
    def advice_for(cls, kind: str) -> str | None:
        return endpoint_advice(kind)

    def _cases_of(self, group: str) -> Sequence[Case]:
        if group == _ALL and group not in self._cases.names:
            # In a plan, before anybody has asked which groups these are.
            return [case for name in self._cases.names for case in self._cases.group(name).cases]
        return self._cases.group(group).cases

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            asked = (self._target, self._attacker_chat) if self.settings.asks else ()
            for target in (self._judge_chat, *asked):
                if isinstance(target, ChatTarget):
                    target.folder = self.folder
                if target is not None:
                    await stack.enter_async_context(target)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    def notices(self) -> Sequence[str]:
        chats = (self._target, self._judge_chat, self._attacker_chat)
        return [
            notice
            for chat in chats
            if isinstance(chat, ChatTarget)
            for notice in chat.endpoint.notices(chat.endpoint.base_url)
        ]

    def price(self, role: str, endpoint: str, model: str) -> Price | None:
        chats = {TARGET: self._target, JUDGE: self._judge_chat, ATTACKER: self._attacker_chat}
        chat = chats.get(role)
        # What was asked elsewhere, before the endpoint was changed, had a price of its own.
        if not isinstance(chat, ChatTarget) or chat.address != endpoint:
            return None
        return price_of(model, chat.endpoint.prices)

    async def groups(self) -> Sequence[Group]:
        return [
            Group(name=name, description=self._cases.group(name).description)
            for name in self._cases.names
        ]

    async def check(self) -> Sequence[Check]:
        """The target, the cases and the judge; reads every group, and loads a model on this machine."""
        groups = await self.groups()
        count = sum(len(self._cases.group(group.name).cases) for group in groups)
        return (
            *(await self._target.check() if self.settings.asks else ()),
            Check(
                name="cases",
                ok=True,
                message=f"{len(groups)} groups with {count} cases",
                data={group.name: len(self._cases.group(group.name).cases) for group in groups},
            ),
            await self._check_judge(),
            *await self._check_attacker(),
        )

    async def check_models(self, models: Sequence[str], *, ask: bool) -> Sequence[Check]:
        """The models under test, then the judge's and the attacker's.

        With `ask`, whether the judge judges a reply and the attacker writes a variation.
        """
        if not ask:
            named = [("judge", self._judge_chat, self._judge_model)]
            if self.settings.attacker is not None and self.settings.asks:
                named.append(("attacker", self._attacker_chat, self.settings.attacker.model))
            roles = [
                await find_listed(chat, [model], f"{role}'s model")
                for role, chat, model in named
                if chat is not None and model is not None
            ]
            targets = await find_listed(self._target, models) if self.settings.asks else ()
            return [*targets, *chain(*roles)]
        found = list(await ask_each(self._target, models)) if self.settings.asks else []
        case = self._cases.group(self._cases.names[0]).cases[0]
        context = OnceContext(self.clock)
        if self._judge.calls_a_model:
            found.append(await ask_judge(self._judge, case, context))
        if self._attacker is not None and self.settings.asks:
            found.append(await ask_attacker(self._attacker, case, context))
        return found

    async def _check_judge(self) -> Check:
        if self._judge_chat is None or self._judge_model is None:
            message = f"{self._judge.name} {self._judge.version}, a {self._judge.label}"
            return Check(name="judge", ok=True, message=message)
        [reached] = await self._judge_chat.check()
        said = [f"{self._judge.name}, a {self._judge.label}", reached.message]
        if isinstance(self._target, LocalModel):
            warning = kinship(self._judge_model, self._target.name)
            said += [] if warning is None else [f"warning: {warning}"]
        elif kin := family(self._judge_model):
            said.append(f"warning: a target of its family ({kin}) is favoured, and marked so")
        return Check(name="judge", ok=reached.ok, message="; ".join(said))

    async def _check_attacker(self) -> Sequence[Check]:
        if self._attacker_chat is None or not self.settings.asks:
            return ()
        [reached] = await self._attacker_chat.check()
        return (Check(name="attacker", ok=reached.ok, message=reached.message),)

    @property
    def _judge_model(self) -> str | None:
        judge = self.settings.judge
        return judge.model if isinstance(judge, RubricJudgeSettings) else None

    def _settled_judge(self) -> Judge:
        settings = self.settings.judge
        if not isinstance(settings, RubricJudgeSettings):
            return RulesJudge()
        self._judge_chat = ChatTarget(settings.endpoint, settings.generation, self.clock)
        asker = asker_of(self._judge_chat, JUDGE)
        return RubricJudge(asker, settings.model, self._judge_chat)

    def _settled_attacker(self) -> Attacker | None:
        settings = self.settings.attacker
        if settings is None:
            return None
        self._attacker_chat = ChatTarget(settings.endpoint, settings.generation, self.clock)
        asker = asker_of(self._attacker_chat, ATTACKER, asks=self.settings.asks)
        return Attacker(asker, settings.model, self._attacker_chat)

    def _settled_translator(self) -> Translator | None:
        settings = self.settings.attacker
        if self._attacker is None or settings is None or not settings.translations:
            return None
        return Translator(self._attacker, settings.translations)

    @cached_property
    def _asker(self) -> Asker:
        """One for all kinds: they share the target's limits."""
        return asker_of(self._target, asks=self.settings.asks)


def target_of(settings: LocalSettings, clock: Clock) -> Target:
    """The target that the settings name."""
    if settings.endpoint is not None:
        return ChatTarget(settings.endpoint, settings.generation, clock)
    path = None if settings.model_path is None else Path(settings.model_path)
    return LocalModel(settings.generation, clock, path, context=settings.context)


def asker_of(target: Target, role: str = TARGET, *, asks: bool = True) -> Asker:
    """Within the limits of the endpoint; roles that share an endpoint and a key share its minute."""
    if isinstance(target, LocalModel):
        return Asker(target, role=role, max_in_flight=target.slots, asks=asks)
    if not isinstance(target, ChatTarget):
        # It may reach a server, so its calls count as requests.
        limits = CallLimits(target.address)
        return Asker(target, role=role, max_in_flight=_CALLS_AT_ONCE, limits=limits, asks=asks)
    in_flight = target.endpoint.max_in_flight
    return Asker(target, role=role, max_in_flight=in_flight, limits=target.limits, asks=asks)
