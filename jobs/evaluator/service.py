"""`service: {kind: local}`: evaluations in this process, on the user's own models."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Self

from engine.kinds import (
    TARGET,
    Check,
    Clock,
    Group,
    JobKind,
    Price,
    Service,
    UsageError,
    packaged_yaml,
)
from jobs.chat.built_in import LocalModel
from jobs.chat.checking import ask_each, find_listed
from jobs.chat.endpoint import ChatTarget
from jobs.chat.families import family, same_family_warning
from jobs.chat.model_caller import ATTACKER, JUDGE
from jobs.chat.prices import price_of
from jobs.chat.target import Target
from jobs.evaluator.checking import ask_attacker, ask_judge
from jobs.evaluator.kinds import MultiTurn, SingleTurn
from jobs.evaluator.providers import endpoint_advice
from jobs.evaluator.settings import LocalSettings
from jobs.evaluator.setup import EvaluationClient, EvaluationSetup
from jobs.evaluator.standalone import StandaloneContext

_JUDGING = ("judge", "expand_on")
"""The settings that can change when stored replies are judged again."""


class LocalEvaluator(Service):
    """Evaluates the built-in model, any GGUF file, any OpenAI-compatible endpoint, or a `target` of your own."""

    settings_model = LocalSettings
    settings: LocalSettings

    def __init__(self, target: Target | None = None) -> None:
        self._target = target

    def with_settings(self, settings: LocalSettings, folder: Path = Path()) -> Self:
        return super().with_settings(settings.within(folder), folder)

    @cached_property
    def _setup(self) -> EvaluationSetup:
        return EvaluationSetup(self.settings, self._target)

    @property
    def identity(self) -> str:
        return f"local:{self._setup.target.address}"

    @property
    def address(self) -> str:
        endpoint = self.settings.endpoint
        return self.identity if endpoint is None else f"local:{endpoint.base_url}"

    @property
    def credential(self) -> str:
        if not self.settings.asks:
            # The target is not asked, so rates and waits of its key do not apply.
            return "kept replies"
        endpoint = self.settings.endpoint
        return "" if endpoint is None else endpoint.credential

    def templates(self) -> Mapping[str, str]:
        return packaged_yaml("jobs.evaluator", "templates")

    def judging_again(self, judging: Mapping[str, Any], *, asks_missing: bool) -> Mapping[str, Any]:
        if unknown := sorted(set(judging).difference(_JUDGING)):
            raise UsageError(
                f"{unknown[0]} is not a setting of judging: use {' or '.join(_JUDGING)}"
            )
        return {
            **self.settings.model_dump(mode="json"),
            **judging,
            "replies": "ask" if asks_missing else "kept",
        }

    def kinds(self) -> Sequence[JobKind]:
        setup = self._setup if self.has_settings else None
        return SingleTurn(setup), MultiTurn(setup)

    def mistakes(self) -> Mapping[str, str]:
        try:
            _ = self._setup.cases.names
        except UsageError as error:
            return {"cases": str(error)}
        return {}

    def advice_for(self, kind: str) -> str | None:
        return endpoint_advice(kind)

    @asynccontextmanager
    async def open(self, clock: Clock) -> AsyncIterator[EvaluationClient]:
        async with self._setup.open(clock, self.folder) as client:
            yield client

    def notices(self) -> Sequence[str]:
        setup = self._setup
        chats = (setup.target, setup.judge_target, setup.attacker_target)
        return [
            notice
            for chat in chats
            if isinstance(chat, ChatTarget)
            for notice in chat.endpoint.notices(chat.endpoint.base_url)
        ]

    def price(self, role: str, endpoint: str, model: str) -> Price | None:
        setup = self._setup
        chats = {TARGET: setup.target, JUDGE: setup.judge_target, ATTACKER: setup.attacker_target}
        chat = chats.get(role)
        # Usage at another endpoint, from before the settings changed, has other prices.
        if not isinstance(chat, ChatTarget) or chat.address != endpoint:
            return None
        return price_of(model, chat.endpoint.prices)

    async def groups(self, client: EvaluationClient | None = None) -> Sequence[Group]:
        return [
            Group(name=name, description=self._setup.cases.group(name).description)
            for name in self._setup.cases.names
        ]

    async def check(self, client: EvaluationClient) -> Sequence[Check]:
        """Check the target, cases, judge and attacker; reads every group, and loads a local model.

        Endpoints are only asked for their lists of models, which costs nothing. An endpoint that does not
        answer is a failed check; raises UsageError if a group cannot be read.
        """
        groups = await self.groups(client)
        count = sum(len(self._setup.cases.group(group.name).cases) for group in groups)
        return (
            *(() if client.target is None else await client.target.check()),
            Check(
                name="cases",
                ok=True,
                message=f"{len(groups)} groups with {count} cases",
                data={
                    group.name: len(self._setup.cases.group(group.name).cases) for group in groups
                },
            ),
            await self._check_judge(client),
            *await self._check_attacker(client),
        )

    async def check_models(
        self, client: EvaluationClient, models: Sequence[str], *, ask: bool
    ) -> Sequence[Check]:
        """Check the models under test, then the judge's and the attacker's.

        Without `ask`, looks for them on the endpoints' lists. With it, sends each model under test a question,
        and has the judge judge a reply and the attacker write variations.
        """
        if not ask:
            attacker = self.settings.attacker
            named = [
                ("judge", client.judge_chat, self._setup.judge_model),
                ("attacker", client.attacker_chat, None if attacker is None else attacker.model),
            ]
            roles = [
                await find_listed(chat, [model], f"{role}'s model")
                for role, chat, model in named
                if chat is not None and model is not None
            ]
            targets = () if client.target is None else await find_listed(client.target, models)
            return [*targets, *chain(*roles)]
        found = [] if client.target is None else list(await ask_each(client.target, models))
        cases = self._setup.cases
        case = cases.group(cases.names[0]).cases[0]
        context = StandaloneContext(client.clock)
        if client.judge.calls_a_model:
            found.append(await ask_judge(client.judge, case, context))
        if client.attacker is not None and client.attacker_chat is not None:
            found.append(await ask_attacker(client.attacker, case, context))
        return found

    async def _check_judge(self, client: EvaluationClient) -> Check:
        judge, model = client.judge, self._setup.judge_model
        if client.judge_chat is None or model is None:
            message = f"{judge.name} {judge.version}, a {judge.label}"
            return Check(name="judge", ok=True, message=message)
        [reached] = await client.judge_chat.check()
        parts = [f"{judge.name}, a {judge.label}", reached.message]
        if isinstance(self._setup.target, LocalModel):
            warning = same_family_warning(model, self._setup.target.name)
            parts += [] if warning is None else [f"warning: {warning}"]
        elif kin := family(model):
            parts.append(
                f"warning: it favours targets of its family ({kin}); their results carry a warning"
            )
        return Check(name="judge", ok=reached.ok, message="; ".join(parts))

    async def _check_attacker(self, client: EvaluationClient) -> Sequence[Check]:
        if client.attacker_chat is None:
            return ()
        [reached] = await client.attacker_chat.check()
        return (Check(name="attacker", ok=reached.ok, message=reached.message),)
