"""The open scorers of a chat sweep, and what they say of a reply."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.kinds import JobContext, JobError, Permanent
from jobs.chat.inputs import Input
from jobs.chat.model_caller import ModelCaller
from jobs.chat.scorers.functions import call_function
from jobs.chat.scorers.json_schema import describe_violation
from jobs.chat.scorers.judge import Judgement, judge_question, read_judgement
from jobs.chat.scorers.settings import (
    EXPECTED,
    Contains,
    Equals,
    JsonSchema,
    JudgeModel,
    Regex,
    ScorerSettings,
    Similarity,
)
from jobs.chat.target import Message
from jobs.http import Unanswered

_FUNCTION_S = 600.0
"""The most seconds that a function may take for one reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A reply with what it replies to: the messages that were sent, and the input, whose name is `label`."""

    label: str
    messages: Sequence[Message]
    record: Input
    reply: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a scorer says of a reply: a boolean or a number, and whether the reply passes by it.

    `passed` is None if the scorer does not decide.
    """

    column: str
    value: bool | float
    passed: bool | None
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """The verdict as it is kept in the answer."""
        reason = {"reason": self.reason} if self.reason else {}
        return {"value": self.value, "passed": self.passed, **reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorers:
    """The open scorers, in the order of the sweep file.

    `callers` has the callers of the judges, `functions` those of similarity, both by column.
    """

    settings: Sequence[ScorerSettings]
    callers: Mapping[str, ModelCaller]
    functions: Mapping[str, Callable[[str, Any], Any]]

    async def score(self, exchange: Exchange, context: JobContext) -> list[Verdict]:
        """What each scorer says of a reply.

        Raises JobError if a judge gives no judgement that can be used, with the reason `judge`, or if a
        function fails.
        """
        return [await self._score(one, exchange, context) for one in self.settings]

    async def _score(
        self, scorer: ScorerSettings, exchange: Exchange, context: JobContext
    ) -> Verdict:
        reply, record = exchange.reply, exchange.record
        match scorer:
            case Contains() | Equals() | Regex():
                return _decided(scorer, scorer.passes(reply, record))
            case JsonSchema():
                violation = describe_violation(scorer.described_by, reply)
                return _decided(scorer, violation is None, violation or "")
            case Similarity():
                value = await self._compare(scorer, exchange, context)
                return Verdict(column=scorer.column, value=value, passed=scorer.is_passing(value))
            case JudgeModel():
                found = await self._judge(scorer, exchange, context)
                return Verdict(
                    column=scorer.column,
                    value=found.value,
                    passed=scorer.is_passing(found.value),
                    reason=found.reason,
                )
        raise AssertionError(f"there is no scorer {scorer.kind}")

    async def _compare(
        self, scorer: Similarity, exchange: Exchange, context: JobContext
    ) -> bool | float:
        function, expected = self.functions[scorer.column], exchange.record[scorer.field]
        with context.clock.move_on_after(_FUNCTION_S):
            return await call_function(scorer.column, function, exchange.reply, expected)
        raise Permanent(f"the scorer {scorer.column} took more than {_FUNCTION_S:g} s")

    async def _judge(self, judge: JudgeModel, exchange: Exchange, context: JobContext) -> Judgement:
        question = judge_question(
            judge, exchange.messages, exchange.reply, exchange.record.get(EXPECTED)
        )

        def read(answer: str) -> Judgement:
            return read_judgement(judge, answer)

        try:
            answer = await self.callers[judge.column].ask(
                question, context, read=read, about=exchange.label
            )
        except JobError as error:
            error.reason = Unanswered.JUDGE
            raise
        return read(answer.text)


def _decided(scorer: ScorerSettings, passes: bool, reason: str = "") -> Verdict:
    return Verdict(
        column=scorer.column,
        value=passes,
        passed=passes if scorer.decides else None,
        reason=reason,
    )
