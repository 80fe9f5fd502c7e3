"""The job kinds of the self-hosted evaluator."""

from collections.abc import Mapping, Sequence
from typing import Any

from engine.kinds import (
    TARGET,
    Answer,
    Fact,
    IntegerAxis,
    Job,
    JobContext,
)
from jobs.chat.limits import tokens_of
from jobs.chat.model_caller import JUDGE
from jobs.chat.target import Message, Reply, Role
from jobs.evaluator.answers import multi_turn_answer, single_turn_answer
from jobs.evaluator.evaluation import GROUPS, MODELS, PROMPTS, THRESHOLDS, Evaluation
from jobs.evaluator.groups import Case
from jobs.evaluator.judge.items import Judgement, Observation
from jobs.evaluator.judge.rubric import RubricJudge
from jobs.evaluator.judge.scoring import read_scale
from jobs.evaluator.multi_turn import ConversationOptions, Participants, Turn, hold_conversations
from jobs.evaluator.mutators import MOST_VARIATIONS, Translation
from jobs.evaluator.questions import Tolerance
from jobs.evaluator.seeds import Purpose
from jobs.evaluator.settings import RubricJudgeSettings
from jobs.evaluator.setup import EvaluationClient, EvaluationSetup
from jobs.evaluator.single_turn import (
    CaseMessage,
    JudgedMessage,
    SpreadOptions,
    TranslationSource,
    VariationSources,
    evaluate,
    most_parents,
    most_tests,
)
from jobs.evaluator.translation import CALLS

RULES = "1"
"""Incremented when the same settings would send other questions, or score or fail a reply differently."""


class SingleTurn(Evaluation):
    """Single-turn evaluation of a model under a system prompt: one question for each case of the group.

    The judge scores each reply. In each further layer, the cases that failed at the threshold (with
    `expand_on: all`, every case) are asked in `variations` other wordings, which the attacker, the translator
    or the mutators write. A test is a question to which the target has replied. Without a `setup` the kind
    only declares its axes.
    """

    name = "single_turn"
    axes = (
        MODELS,
        PROMPTS,
        GROUPS,
        THRESHOLDS,
        IntegerAxis(
            name="variations",
            field="variations",
            required=False,
            default=(1,),
            minimum=1,
            maximum=MOST_VARIATIONS,
            description="How many other wordings each failed case gets in a further layer.",
        ),
        IntegerAxis(
            name="maximum_iteration_layers",
            field="maximum_iteration_layers",
            required=False,
            default=(0,),
            minimum=0,
            maximum=2,
            description="How often failed cases are varied and asked again.",
        ),
    )

    def __init__(self, setup: EvaluationSetup | None = None) -> None:
        super().__init__(setup)
        self._sizes: dict[str, tuple[int, int]] = {}

    def provenance(self, labels: Mapping[str, Sequence[Any]]) -> Sequence[Fact]:
        facts = self.setup.facts
        return (
            *facts.of_all(RULES),
            *facts.of_groups(labels),
            *(facts.of_variations() if self.translates(labels) else ()),
        )

    def translates(self, labels: Mapping[str, Sequence[Any]]) -> bool:
        return any(labels["maximum_iteration_layers"])

    def folds_exactly(self, labels: Mapping[str, Any]) -> bool:
        """Whether one answer serves all thresholds: the threshold does not decide which questions are asked.

        So it is if replies of every score are expanded, or there are no further layers.
        """
        return self._expands_on_all or labels["maximum_iteration_layers"] == 0

    def cost_class(self, labels: Mapping[str, Any]) -> str:
        return f"{labels['group']}|{labels['variations']}|{labels['maximum_iteration_layers']}"

    def expected_tests(self, labels: Mapping[str, Any]) -> int:
        """The most questions to the target: all cases, and in each further layer all variations of all parents.

        Raises UsageError if there is no such group.
        """
        return most_tests(
            self.size(labels), labels["variations"], labels["maximum_iteration_layers"]
        )

    def question_counts(self, labels: Mapping[str, Any]) -> Mapping[str, int]:
        """The most: one of the target and the judge for each test, and of the attacker for each parent."""
        tests = self.expected_tests(labels)
        parents = most_parents(
            self.size(labels), labels["variations"], labels["maximum_iteration_layers"]
        )
        translated = 0 if self.setup.translator is None else CALLS
        return self.count_by_role(target=tests, judge=tests, attacker=parents * (1 + translated))

    def token_counts(self, parameters: Mapping[str, Any]) -> Mapping[str, tuple[int, int]]:
        """Known for the first layer only: the length of variations is not known in advance.

        So it is empty if the job has further layers; without any, the attacker is not asked.
        """
        if parameters["maximum_iteration_layers"]:
            return {}
        cases = self.size(parameters)
        reply = self.setup.settings.generation.max_tokens or 0
        messages, questions = self._token_counts_of(parameters["group"])
        found = {
            TARGET: (messages + cases * tokens_of([parameters["prompt"] or ""]), cases * reply)
        }
        judge = self.setup.settings.judge
        if isinstance(judge, RubricJudgeSettings):
            found[JUDGE] = (questions + cases * reply, cases * judge.max_tokens)
        return found

    def _token_counts_of(self, group: str) -> tuple[int, int]:
        """Tokens of a group's messages, and of the questions to a rubric judge about them."""
        if group not in self._sizes:
            judge, cases = self.setup.judge, self.setup.cases_of(group)
            questions = [
                message.content
                for case in cases
                if isinstance(judge, RubricJudge)
                for message in judge.prompt_for(case, case.user_input, "")
            ]
            messages = sum(tokens_of([case.user_input]) for case in cases)
            self._sizes[group] = messages, sum(tokens_of([text]) for text in questions)
        return self._sizes[group]

    async def run(self, job: Job, client: EvaluationClient, context: JobContext) -> Answer:
        parameters = job.parameters
        setup = self.setup

        async def ask(message: CaseMessage) -> Reply:
            messages = (Message(Role.USER, message.user_input),)
            return await self.ask(job, client, context, message.case, message.path, messages)

        async def judge(message: CaseMessage, reply: Reply) -> Judgement:
            return await client.judge.judge_reply(
                message.case, message.user_input, reply.text, context
            )

        async with client.caller.hold_turn(job, self.within_s(job.parameters)):
            found = await evaluate(
                setup.cases_of(parameters["group"]),
                judge,
                ask,
                SpreadOptions(
                    threshold=parameters["threshold"],
                    variations=parameters["variations"],
                    maximum_iteration_layers=parameters["maximum_iteration_layers"],
                    expand_on_all=self._expands_on_all,
                    seed=setup.settings.seed,
                    repeat=job.repeat,
                ),
                Tolerance.of(job),
                self._variation_sources(job, client, context),
                context.progress,
            )
        return single_turn_answer(
            job.key,
            found,
            setup.provenance,
            self.same_family_warning(parameters["model"]),
            is_layered=parameters["maximum_iteration_layers"] > 0 and not self._expands_on_all,
        )

    def _variation_sources(
        self, job: Job, client: EvaluationClient, context: JobContext
    ) -> VariationSources:
        attacker, translator = client.attacker, client.translator

        async def vary(parent: JudgedMessage) -> Sequence[str]:
            assert attacker is not None, "only called where there is one"
            message = parent.message
            return await attacker.variations(
                message.case,
                message.user_input,
                parent.reply.text,
                parent.judgement,
                written=message.written,
                seed=self.seed(job, message.case, message.path, Purpose.ATTACKER),
                context=context,
            )

        async def translate(
            message: CaseMessage, language: str, seed: int
        ) -> tuple[str, Translation] | None:
            assert translator is not None, "only called where there is one"
            return await translator.translate(
                message.case, message.user_input, language, seed=seed, context=context
            )

        return VariationSources(
            vary=None if attacker is None else vary,
            translations=None
            if translator is None
            else TranslationSource(translator.languages, translate),
        )

    @property
    def _expands_on_all(self) -> bool:
        return self.setup.settings.expand_on == "all"


class MultiTurn(Evaluation):
    """Multi-turn evaluation of a model under a system prompt: one conversation for each case of the group.

    The attacker, or a script of the package without one, plays the person; `max_turns` counts the messages of
    both sides. The judge looks for red flags in each turn and for items in the whole. A test is a
    conversation in which the target has replied. Without a `setup` the kind only declares its axes.
    """

    name = "multi_turn"
    axes = (
        MODELS,
        PROMPTS,
        GROUPS,
        THRESHOLDS,
        IntegerAxis(
            name="max_turns",
            field="max_turns",
            required=False,
            default=(4,),
            minimum=2,
            maximum=20,
            multiple_of=2,
            description="Messages of a conversation, those of both sides counted.",
        ),
    )

    def provenance(self, labels: Mapping[str, Sequence[Any]]) -> Sequence[Fact]:
        facts = self.setup.facts
        return (
            *facts.of_all(RULES),
            *facts.of_groups(labels),
            *facts.of_attacker(),
        )

    def folds_exactly(self, labels: Mapping[str, Any]) -> bool:
        """Always, since no conversation depends on the threshold."""
        return True

    def cost_class(self, labels: Mapping[str, Any]) -> str:
        return f"{labels['group']}|{labels['max_turns']}"

    def expected_tests(self, labels: Mapping[str, Any]) -> int:
        """One conversation for each case; raises UsageError if there is no such group."""
        return self.size(labels)

    def question_counts(self, labels: Mapping[str, Any]) -> Mapping[str, int]:
        """A conversation of E exchanges takes E calls of the target, E - 1 of the attacker, E + 1 of the judge."""
        exchanges = int(labels["max_turns"]) // 2
        cases = self.size(labels)
        return self.count_by_role(
            target=cases * exchanges,
            judge=cases * (exchanges + 1),
            attacker=cases * (exchanges - 1),
        )

    async def run(self, job: Job, client: EvaluationClient, context: JobContext) -> Answer:
        parameters = job.parameters
        setup = self.setup
        attacker = client.attacker
        scale, _ = read_scale()

        async def ask(turn: Turn) -> Reply:
            return await self.ask(job, client, context, turn.case, (turn.number,), turn.messages)

        async def lead(turn: Turn, strategy: str) -> str | None:
            assert attacker is not None, "only called where there is one"
            return await attacker.turn(
                turn.case,
                strategy,
                turn.messages,
                seed=self.seed(job, turn.case, (turn.number,), Purpose.ATTACKER),
                context=context,
            )

        async def flags(case: Case, messages: Sequence[Message]) -> tuple[Observation, ...]:
            return await client.judge.judge_turn(case, messages, context)

        async def items(case: Case, messages: Sequence[Message]) -> tuple[Observation, ...]:
            return await client.judge.judge_conversation(case, messages, context)

        async with client.caller.hold_turn(job, self.within_s(job.parameters)):
            found = await hold_conversations(
                setup.cases_of(parameters["group"]),
                Participants(
                    ask=ask,
                    flags=flags,
                    items=items,
                    scale=scale,
                    lead=None if attacker is None else lead,
                ),
                ConversationOptions(
                    threshold=parameters["threshold"],
                    max_turns=parameters["max_turns"],
                    seed=setup.settings.seed,
                    repeat=job.repeat,
                ),
                Tolerance.of(job),
                context.progress,
            )
        return multi_turn_answer(
            job.key, found, setup.provenance, self.same_family_warning(parameters["model"])
        )
