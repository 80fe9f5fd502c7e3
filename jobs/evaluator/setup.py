"""What the evaluations of a service use: built from its settings, then opened for a run."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from engine.kinds import TARGET, CallLimit, Clock, UsageError
from jobs.chat.built_in import LocalModel
from jobs.chat.endpoint import ChatClient, ChatTarget
from jobs.chat.model_caller import ATTACKER, JUDGE, ModelCaller, limits_for, model_caller_for
from jobs.chat.target import OpenTarget, Target
from jobs.evaluator import mutators
from jobs.evaluator.attacker import Attacker
from jobs.evaluator.groups import Case, CaseSet
from jobs.evaluator.judge.protocol import Judge
from jobs.evaluator.judge.rubric import RubricJudge
from jobs.evaluator.judge.rules import RulesJudge
from jobs.evaluator.provenance import Provenance
from jobs.evaluator.settings import LocalSettings, RubricJudgeSettings
from jobs.evaluator.translation import Translator

_DIGEST_LENGTH = 16
_ALL = "all"


class EvaluationSetup:
    """The target, judge, attacker and cases that settings declare; `open` connects to them.

    `target` replaces the target that the settings name.
    """

    def __init__(self, settings: LocalSettings, target: Target | None = None) -> None:
        self.settings = settings
        self.target = target_from_settings(settings) if target is None else target
        self.cases = CaseSet(settings.cases)
        self._chosen: Sequence[Case] | None = None
        judge, attacker = settings.judge, settings.attacker
        self.judge_model: str | None = None
        """The judge's model; None for the rules judge."""
        self.judge_target: ChatTarget | None = None
        self.judge: Judge = RulesJudge()
        if isinstance(judge, RubricJudgeSettings):
            self.judge_model = judge.model
            self.judge_target = ChatTarget(judge.endpoint, judge.generation)
            self.judge = RubricJudge(judge.model, self.judge_target)
        self.attacker_target: ChatTarget | None = None
        self.attacker: Attacker | None = None
        self.translator: Translator | None = None
        if attacker is not None:
            self.attacker_target = ChatTarget(attacker.endpoint, attacker.generation)
            self.attacker = Attacker(attacker.model, self.attacker_target)
            self.translator = self._make_translator(self.attacker)

    def with_target(self, target: Target, cases: Sequence[Case]) -> Self:
        """A copy with another target, and with these cases for every group; judge and attacker are shared."""
        other = copy(self)
        other.target, other._chosen = target, cases  # noqa: SLF001 (a copy of its own)
        return other

    def _make_translator(self, attacker: Attacker) -> Translator | None:
        settings = self.settings.attacker
        if settings is None or not settings.translations:
            return None
        return Translator(attacker, settings.translations)

    def cases_of(self, group: str) -> Sequence[Case]:
        """The cases of a group, in the order of its file; `all` has those of every group.

        Raises UsageError for a group that does not exist or cannot be read.
        """
        if self._chosen is not None:
            return self._chosen
        if group == _ALL and group not in self.cases.names:
            # A plan is made before the service has listed its groups.
            return [case for name in self.cases.names for case in self.cases.group(name).cases]
        return self.cases.group(group).cases

    def group_names(self) -> Sequence[str] | None:
        """The names of the groups; None if the folder of cases cannot be read, which is reported separately."""
        try:
            return self.cases.names
        except UsageError:
            return None

    def call_limits(self) -> Mapping[str, CallLimit | None]:
        """The limits by role; None for a role that is not set up or whose model is in this process."""
        judge, attacker = self.judge_target, self.attacker_target
        limits = limits_for(self.target)
        return {
            TARGET: None if limits is None else limits.call_limit,
            JUDGE: None if judge is None else judge.limits().call_limit,
            ATTACKER: None if attacker is None else attacker.limits().call_limit,
        }

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What decides the scores besides the axes, as stored in every answer; holds no secret."""
        attacker = {} if self.attacker is None else {"attacker": self.attacker.version}
        if self.translator is not None:
            attacker["translations"] = self.translator.version
        return {
            "judge": {
                "name": self.judge.name,
                "version": self.judge.version,
                "label": self.judge.label,
            },
            **attacker,
            "target": self.target.identity,
            "cases": self.cases.digest[:_DIGEST_LENGTH],
            "mutators": mutators.VERSION,
            "seed": self.settings.seed,
            "expand_on": self.settings.expand_on,
        }

    @property
    def facts(self) -> Provenance:
        """What decides the answers, as facts for the identity of a run."""
        return Provenance(
            settings=self.settings,
            target=self.target,
            judge=self.judge,
            attacker=self.attacker,
            translator=self.translator,
            cases_of=self.cases_of,
        )

    @asynccontextmanager
    async def open(self, clock: Clock, folder: Path) -> AsyncIterator["EvaluationClient"]:
        """Open the target, the judge and the attacker; only the judge if stored replies are judged again.

        Relative paths in the settings start from `folder`. Raises UsageError if a file, an
        optional dependency or a key is missing.
        """
        asks = self.settings.asks
        async with AsyncExitStack() as stack:
            judge, judge_chat = self.judge, None
            if self.judge_target is not None and self.judge_model is not None:
                judge_chat = await stack.enter_async_context(self.judge_target.open(clock, folder))
                caller = model_caller_for(self.judge_target, judge_chat, JUDGE)
                judge = RubricJudge(self.judge_model, self.judge_target, caller)
            target = None
            if asks:
                target = await stack.enter_async_context(self.target.open(clock, folder))
            attacker, attacker_chat = None, None
            if self.attacker_target is not None and self.settings.attacker is not None:
                if asks:
                    attacker_chat = await stack.enter_async_context(
                        self.attacker_target.open(clock, folder)
                    )
                caller = model_caller_for(self.attacker_target, attacker_chat, ATTACKER)
                attacker = Attacker(self.settings.attacker.model, self.attacker_target, caller)
            yield EvaluationClient(
                clock=clock,
                target=target,
                caller=model_caller_for(self.target, target),
                judge=judge,
                judge_chat=judge_chat,
                attacker=attacker,
                attacker_chat=attacker_chat,
                translator=None if attacker is None else self._make_translator(attacker),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationClient:
    """The open target, judge and attacker of a service; the target is asked through `caller`.

    `target` and `attacker_chat` are None if stored replies are judged again.
    """

    clock: Clock
    target: OpenTarget | None
    caller: ModelCaller
    judge: Judge
    judge_chat: ChatClient | None
    attacker: Attacker | None
    attacker_chat: ChatClient | None
    translator: Translator | None


def target_from_settings(settings: LocalSettings) -> Target:
    """The target that the settings name: their endpoint, or the local model; nothing is opened or loaded."""
    if settings.endpoint is not None:
        return ChatTarget(settings.endpoint, settings.generation)
    path = None if settings.model_path is None else Path(settings.model_path)
    return LocalModel(settings.generation, path, context=settings.context)
