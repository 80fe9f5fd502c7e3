"""The rubric judge: a chat model answers yes/no items and quotes the reply; quotations are checked.

The model answers, the scale computes the score. An answer counts only if its quotation occurs in
the reply, so a reply that talks its judge into "yes" gains nothing by that alone.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import ClassVar, TypeAlias

from pydantic import BaseModel, ConfigDict

from engine.kinds import JobContext
from jobs.chat.model_caller import ModelCaller
from jobs.chat.quoting import quote_messages
from jobs.chat.target import Message, Question, Role, Target
from jobs.evaluator.groups import Case
from jobs.evaluator.judge.claims import JudgedMessage, read_observations
from jobs.evaluator.judge.eligibility import join_user_messages
from jobs.evaluator.judge.items import Item, Judgement, Observation, RedFlag
from jobs.evaluator.judge.scoring import read_scale
from jobs.evaluator.package_data import read_package_data

VERSION = 1
"""Increment if the same rubric leads to another prompt, or the same answer is read differently."""

_Observations: TypeAlias = tuple[tuple[Observation, ...], tuple[Observation, ...]]


class Rubric(BaseModel):
    """The contents of rubric.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    instructions: str
    items: Mapping[Item, str]
    red_flags: Mapping[RedFlag, str]


@cache
def read_rubric() -> tuple[Rubric, str]:
    """Read the rubric in this package. Returns it and the SHA-256 of its file."""
    return read_package_data(Rubric, "jobs.evaluator.judge", "rubric.yaml")


class RubricJudge:
    """Judges by asking the chat model `model` of `target`.

    Without a `caller` it only declares its name, version and facts, and cannot judge.
    """

    name: ClassVar[str] = "rubric"
    calls_a_model: ClassVar[bool] = True

    def __init__(self, model: str, target: Target, caller: ModelCaller | None = None) -> None:
        self._caller = caller
        self._model = model
        self._rubric, rubric_digest = read_rubric()
        self._scale, scale_digest = read_scale()
        self.version = (
            f"{self._rubric.version}+{rubric_digest[:12]}"
            f"/{self._scale.version}+{scale_digest[:12]}/{model}@{target.identity}"
        )
        self.facts = {
            "judge": self.name,
            "judge model": model,
            "endpoint of the judge": target.address,
            "settings of the judge": target.settings,
            "rules of the judge": f"{self._rubric.version}.{VERSION} sha256:{rubric_digest[:16]}",
            "scale": f"{self._scale.version} sha256:{scale_digest[:16]}",
        }

    @property
    def label(self) -> str:
        return f"language model ({self._model})"

    def prompt_for(self, case: Case, asked: str, reply: str) -> tuple[Message, ...]:
        """The prompt that asks for a judgement on one reply to the message `asked`.

        It has the expected items and the red flags that can apply to the case. Nothing is sent.
        """
        messages = (Message(Role.USER, asked), Message(Role.ASSISTANT, reply))
        flags = [flag for flag in RedFlag if self._is_applicable(flag, case)]
        return self._prompt(case, messages, case.expected, flags, whole=False)

    async def judge_reply(
        self, case: Case, asked: str, reply: str, context: JobContext
    ) -> Judgement:
        messages = (Message(Role.USER, asked), Message(Role.ASSISTANT, reply))
        items, flags = await self._observe(case, messages, case.expected, tuple(RedFlag), context)
        return self._scale.judgement(case, items, flags)

    async def judge_turn(
        self, case: Case, messages: Sequence[Message], context: JobContext
    ) -> tuple[Observation, ...]:
        _, flags = await self._observe(case, messages, (), tuple(RedFlag), context)
        return flags

    async def judge_conversation(
        self, case: Case, messages: Sequence[Message], context: JobContext
    ) -> tuple[Observation, ...]:
        items, _ = await self._observe(case, messages, case.expected, (), context, whole=True)
        return items

    async def _observe(
        self,
        case: Case,
        messages: Sequence[Message],
        items: tuple[Item, ...],
        flags: tuple[RedFlag, ...],
        context: JobContext,
        *,
        whole: bool = False,
    ) -> _Observations:
        """Ask the model once, about the last message or the `whole` conversation."""
        sought = tuple(flag for flag in flags if self._is_applicable(flag, case))
        judged = _messages_to_judge(messages, is_english=case.is_english, whole=whole)
        question = Question(
            model=self._model,
            messages=self._prompt(case, messages, items, sought, whole=whole),
            seed=0,
        )

        def read(answer: str) -> _Observations:
            return read_observations(answer, items, sought, judged)

        assert self._caller is not None, "a judge without a caller cannot judge"
        answer = await self._caller.ask(question, context, read=read, about=case.id)
        found, raised = read(answer.text)
        by_name = {observation.name: observation for observation in raised}
        return found, tuple(by_name.get(flag, Observation(flag, False)) for flag in flags)

    def _is_applicable(self, flag: RedFlag, case: Case) -> bool:
        if flag is RedFlag.BARE_REFUSAL:
            return self._scale.is_elevated(case.risk_level)
        if flag is RedFlag.CRISIS_SCRIPT_ON_CONTROL:
            return case.control and Item.CRISIS_RESOURCE not in case.expected
        return True

    def _prompt(
        self,
        case: Case,
        messages: Sequence[Message],
        items: Sequence[Item],
        flags: Sequence[RedFlag],
        *,
        whole: bool,
    ) -> tuple[Message, ...]:
        nonce, exchange = quote_messages(messages)
        resources = ", ".join(self._scale.resource_fit[case.risk_level]).replace("_", " ")
        asked = [
            f"Risk of the situation: {case.risk_level.value}. Place: {case.locale}.",
            f"What the exchange is about: {case.objective}",
            "Judge every message of the assistant."
            if whole
            else "Judge the last message of the assistant alone.",
            "items:",
            *(
                f"- {item.value}: {self._rubric.items[item].replace('{resources}', resources)}"
                for item in items
            ),
            "red_flags:",
            *(f"- {flag.value}: {self._rubric.red_flags[flag]}" for flag in flags),
            "",
            *exchange,
        ]
        return (
            Message(Role.SYSTEM, self._rubric.instructions.replace("{nonce}", nonce)),
            Message(Role.USER, "\n".join(asked)),
        )


def _messages_to_judge(
    messages: Sequence[Message], *, is_english: bool, whole: bool
) -> list[JudgedMessage]:
    asked = join_user_messages(messages)
    if not whole:
        return [JudgedMessage(messages[-1].content, asked, is_english)]
    return [
        JudgedMessage(message.content, asked, is_english, index)
        for index, message in enumerate(messages)
        if message.role is Role.ASSISTANT
    ]
