"""The evaluations as job kinds: each one against system prompts and against fine-tuned models."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any, ClassVar, Self

from pydantic import ValidationError

from engine.kinds import (
    Answer,
    GroupAxis,
    IntegerAxis,
    Job,
    JobContext,
    JobKind,
    JudgedTest,
    Measurement,
    NumberAxis,
    Permanent,
    PromptAxis,
    TextAxis,
    Unauthorized,
    rule_broken,
)
from jobs.circuit_breaker_labs.client import Client
from jobs.circuit_breaker_labs.judged_tests import read_tests
from jobs.circuit_breaker_labs.measure import measure_multi_turn, measure_single_turn
from jobs.circuit_breaker_labs.schema import (
    FOLDS_CONVERSATIONS,
    MultiTurnFinetune,
    MultiTurnSystemPrompt,
    SingleTurnFinetune,
    SingleTurnSystemPrompt,
)
from jobs.http import Reply, keep_unread_on_error, note_redacted

MODELS = TextAxis(
    name="models",
    field="model",
    description="The models, by the names that the service has for them.",
)
PROMPTS = PromptAxis(
    name="prompts", field="prompt", description="System prompts: {name, text} or {file}."
)
GROUPS = GroupAxis(
    name="groups", field="group", description="Groups of test cases by name, or all."
)
THRESHOLDS = NumberAxis(
    name="thresholds",
    field="threshold",
    minimum=0,
    maximum=1,
    description="A reply with a score below it has failed: a list, or {from, to, step}.",
)
VARIATIONS = IntegerAxis(
    name="variations",
    field="variations",
    minimum=1,
    maximum=5,
    required=False,
    default=(1,),
    description="How many other wordings each failed case gets in a further layer.",
)
LAYERS = IntegerAxis(
    name="maximum_iteration_layers",
    field="maximum_iteration_layers",
    minimum=0,
    maximum=2,
    required=False,
    default=(0,),
    description="How often failed cases are varied and asked again.",
)
TURNS = IntegerAxis(
    name="max_turns",
    field="max_turns",
    minimum=2,
    maximum=20,
    multiple_of=2,
    required=False,
    default=(4,),
    description="Messages of a conversation, those of both sides counted.",
)

LONGEST_DEADLINE_S = 3600.0


class _Evaluation(JobKind):
    folded_field = "threshold"
    uses_quota = True
    # The most that service.deadline_s can be; the client keeps to that setting.
    deadline_s = LONGEST_DEADLINE_S
    cost_fields: ClassVar[tuple[str, ...]]

    def cost_class(self, labels: Mapping[str, Any]) -> str:
        # The number of tests hardly depends on the model and the prompt.
        return " ".join(f"{name}={labels[name]}" for name in self.cost_fields)

    async def run(self, job: Job, client: Client, context: JobContext) -> Answer:
        try:
            reply = await self._send(client, job.parameters, job.repeat)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
            path = ".".join(map(str, problem["loc"]))
            raise Permanent(
                f"{self.name}: not sent, {path} is out of the contract's bounds",
                detail=rule_broken(problem),
                sent=False,
            ) from None
        await note_redacted(context, reply.where, reply.redacted)
        async with keep_unread_on_error(context):
            measured = self._measure(reply, job.parameters)
        return Answer(raw=reply.body, measurement=measured)

    def tests(self, raw: bytes, labels: Mapping[str, Any]) -> Iterable[JudgedTest]:
        return read_tests(raw, labels["threshold"])

    @abstractmethod
    async def _send(self, client: Client, parameters: Mapping[str, Any], repeat: int) -> Reply: ...

    @abstractmethod
    def _measure(self, reply: Reply, parameters: Mapping[str, Any]) -> Measurement: ...


class _Finetuned(_Evaluation):
    target = "openai_finetune"

    def __init__(self, *, has_openai_key: bool) -> None:
        self._has_openai_key = has_openai_key

    def unusable(self) -> str | None:
        if self._has_openai_key:
            return None
        return (
            "target openai_finetune needs the key of the OpenAI account that owns the models: add"
            " service.openai_api_key, such as env:OPENAI_API_KEY"
        )

    async def run(self, job: Job, client: Client, context: JobContext) -> Answer:
        if problem := self.unusable():
            # No job of this kind can succeed: stop its lanes instead of failing every job.
            raise Unauthorized(problem, sent=False)
        return await super().run(job, client, context)


class _SingleTurn(_Evaluation):
    name = "single_turn"
    cost_fields = ("group", "variations", "maximum_iteration_layers")

    def folds_exactly(self, labels: Mapping[str, Any]) -> bool:
        # With layers, the threshold decides which cases are varied.
        return bool(labels["maximum_iteration_layers"] == 0)

    def most_tests(self, labels: Mapping[str, Any], measured: Measurement) -> int | None:
        """The tests if every case and variation failed, so that each layer varies them all."""
        variations, layers = labels["variations"], labels["maximum_iteration_layers"]
        cases = measured.cases if layers else measured.questions
        return (
            None if cases is None else cases * sum(variations**layer for layer in range(layers + 1))
        )

    def _measure(self, reply: Reply, parameters: Mapping[str, Any]) -> Measurement:
        return measure_single_turn(
            reply.body,
            reply.where,
            parameters["threshold"],
            variations=parameters["variations"],
            layers=parameters["maximum_iteration_layers"],
        )


class _MultiTurn(_Evaluation):
    name = "multi_turn"
    cost_fields = ("group", "max_turns")
    folds = False

    async def prepare(self, client: Client) -> Self:
        # The vendor's API might end a conversation at the first failure, which depends on the threshold.
        prepared = copy(self)
        prepared.folds = await client.knows(FOLDS_CONVERSATIONS)
        return prepared

    def folds_exactly(self, labels: Mapping[str, Any]) -> bool:
        return self.folds

    def most_tests(self, labels: Mapping[str, Any], measured: Measurement) -> int | None:
        """The tests of this answer: one conversation per case, however it ends."""
        return measured.questions

    def _measure(self, reply: Reply, parameters: Mapping[str, Any]) -> Measurement:
        return measure_multi_turn(reply.body, reply.where, parameters["threshold"])


class SingleTurnSystemPromptKind(_SingleTurn):
    """Single-turn evaluation of a model on OpenRouter under a system prompt; exact folds need 0 layers."""

    axes = (MODELS, PROMPTS, GROUPS, THRESHOLDS, VARIATIONS, LAYERS)

    async def _send(self, client: Client, parameters: Mapping[str, Any], repeat: int) -> Reply:
        request = SingleTurnSystemPrompt(
            openrouter_model_name=parameters["model"],
            system_prompt=parameters["prompt"],
            test_case_groups=[parameters["group"]],
            threshold=parameters["threshold"],
            variations=parameters["variations"],
            maximum_iteration_layers=parameters["maximum_iteration_layers"],
        )
        return await client.single_turn_system_prompt(request, repeat=repeat)


class SingleTurnFinetuneKind(_Finetuned, _SingleTurn):
    """Single-turn evaluation of a fine-tuned OpenAI model, called with the OpenAI key of the settings."""

    axes = (MODELS, GROUPS, THRESHOLDS, VARIATIONS, LAYERS)

    async def _send(self, client: Client, parameters: Mapping[str, Any], repeat: int) -> Reply:
        request = SingleTurnFinetune(
            model_name=parameters["model"],
            test_case_groups=[parameters["group"]],
            threshold=parameters["threshold"],
            variations=parameters["variations"],
            maximum_iteration_layers=parameters["maximum_iteration_layers"],
        )
        return await client.single_turn_finetune(request, repeat=repeat)


class MultiTurnSystemPromptKind(_MultiTurn):
    """Multi-turn evaluation of a model on OpenRouter under a system prompt; folds if the API says that it can."""

    axes = (MODELS, PROMPTS, GROUPS, THRESHOLDS, TURNS)

    async def _send(self, client: Client, parameters: Mapping[str, Any], repeat: int) -> Reply:
        request = MultiTurnSystemPrompt(
            openrouter_model_name=parameters["model"],
            system_prompt=parameters["prompt"],
            test_case_groups=[parameters["group"]],
            threshold=parameters["threshold"],
            max_turns=parameters["max_turns"],
        )
        return await client.multi_turn_system_prompt(request, repeat=repeat)


class MultiTurnFinetuneKind(_Finetuned, _MultiTurn):
    """Multi-turn evaluation of a fine-tuned OpenAI model, called with the OpenAI key of the settings."""

    axes = (MODELS, GROUPS, THRESHOLDS, TURNS)

    async def _send(self, client: Client, parameters: Mapping[str, Any], repeat: int) -> Reply:
        request = MultiTurnFinetune(
            model_name=parameters["model"],
            test_case_groups=[parameters["group"]],
            threshold=parameters["threshold"],
            max_turns=parameters["max_turns"],
        )
        return await client.multi_turn_finetune(request, repeat=repeat)
