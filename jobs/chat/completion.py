"""The job kind of chat sweeps: one question to a model, and what the scorers say of the reply."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from math import inf
from typing import Any

from engine.kinds import (
    TARGET,
    Answer,
    Axis,
    CallLimit,
    CallSize,
    Fact,
    IntegerAxis,
    Job,
    JobContext,
    JobKind,
    JudgedTest,
    NumberAxis,
    PromptAxis,
    RecordAxis,
    Sends,
    TextAxis,
)
from engine.kinds import Message as Said
from jobs.chat.built_in import LocalModel
from jobs.chat.completions import Completion, read_conversation, read_test
from jobs.chat.families import same_family_warning
from jobs.chat.inputs import MESSAGES, TEXT, messages_of, read_input
from jobs.chat.limits import tokens_of
from jobs.chat.model_caller import READINGS_MAX
from jobs.chat.prices import price_of
from jobs.chat.scorers.judge import judge_question
from jobs.chat.scorers.scoring import Exchange
from jobs.chat.scorers.settings import EXPECTED
from jobs.chat.settings import ChatSettings, describe_deciding
from jobs.chat.setup import ChatSetup, OpenChat
from jobs.chat.shaping import SystemRole
from jobs.chat.target import Message, Question, Role

RULES = "1"
"""Incremented when the same settings would send another question, or score a reply differently."""
_WITHIN_MIN_S = 900.0
_CALL_S = 600.0
"""The time limit in seconds of a call of a model on this machine."""
_SEEDS_MAX = 2**53 - 1
_TOKENS_MAX = 1_000_000
_OTHER_MODELS = (
    "this sweep asks {} in this process; for other models write service.base_url, such as"
    " https://openrouter.ai/api/v1, with its api_key"
)
_UNPROMPTED = (
    "service.system_role: none: no system prompt is sent, so cells that differ only in theirs send the"
    " same requests"
)


def _axes(settings: ChatSettings | None, local: LocalModel | None) -> tuple[Axis, ...]:
    """The axes of a sweep with these settings; without settings, for any."""
    scorers = () if settings is None else settings.scorers
    tokens_per_min = None if settings is None else settings.tokens_per_min
    return (
        TextAxis(
            name="models",
            field="model",
            description="The models, as the endpoint calls them.",
            choices=() if local is None else (local.name,),
            otherwise="" if local is None else _OTHER_MODELS.format(local.name),
        ),
        PromptAxis(
            name="system_prompts",
            field="system_prompt",
            required=False,
            description="System prompts: {name, text} or {file}. Without any, none is sent.",
            absent=True,
        ),
        RecordAxis(
            name="inputs",
            field="input",
            description="What is asked: texts, {id, text, expected, ...}, or {file} for a table or lines.",
            read=partial(read_input, checks=[one.check_input for one in scorers]),
            schema=_input_schema,
        ),
        NumberAxis(
            name="temperatures",
            field="temperature",
            required=False,
            minimum=0,
            maximum=2,
            description="Without any, it is left to the endpoint.",
        ),
        NumberAxis(
            name="top_p",
            field="top_p",
            required=False,
            minimum=0,
            maximum=1,
            description="Without any, it is left to the endpoint.",
        ),
        IntegerAxis(
            name="max_tokens",
            field="max_tokens",
            required=False,
            minimum=1,
            maximum=min(_TOKENS_MAX, tokens_per_min or _TOKENS_MAX),
            description="The most tokens of a reply.",
        ),
        IntegerAxis(
            name="seeds",
            field="seed",
            required=False,
            minimum=0,
            maximum=_SEEDS_MAX,
            description="Sent unchanged in each repeat. Without any, no seed is sent.",
        ),
    )


def _input_schema() -> Mapping[str, Any]:
    text = {"type": "string", "minLength": 1}
    return {
        "type": "object",
        "not": {"required": ["file"]},
        "properties": {
            TEXT: {**text, "description": "What is asked."},
            MESSAGES: {
                "type": "array",
                "minItems": 1,
                "items": _message_schema(),
                "description": "A conversation that ends with a message of the user, in place of a text.",
            },
            "id": {"type": ["string", "number"], "description": "What rows call the input."},
            EXPECTED: {"description": "What scorers compare the reply with."},
        },
    }


def _message_schema() -> Mapping[str, Any]:
    return {
        "type": "object",
        "required": ["role", "content"],
        "properties": {
            "role": {"enum": [Role.USER.value, Role.ASSISTANT.value]},
            "content": {"type": "string", "minLength": 1},
        },
    }


class CompletionKind(JobKind):
    """One question for each model, system prompt, input and setting, and the verdicts on its reply.

    A reply is one test if a scorer decides, and passes if all that decide let it pass. Without a `setup` the
    kind only declares its axes.
    """

    name = "completion"
    target = "model"

    def __init__(self, setup: ChatSetup | None = None) -> None:
        self._setup = setup
        if setup is None:
            self.axes = _axes(None, None)
            return
        target = setup.target
        self.axes = _axes(setup.settings, target if isinstance(target, LocalModel) else None)
        self.judge = describe_deciding(setup.settings.scorers) or "no scorer"
        self.sends = Sends.CALLS if self.call_limits() else Sends.NOTHING

    @property
    def setup(self) -> ChatSetup:
        """The setup of its service."""
        assert self._setup is not None, "a kind that is only declared asks nothing"
        return self._setup

    def attempt_s(self, labels: Mapping[str, Any]) -> float:
        """Unlimited: a job may wait for a permit indefinitely, and its calls have limits of their own."""
        return inf

    def expected_tests(self, labels: Mapping[str, Any]) -> int:
        """0, because completions use no quota."""
        return 0

    def call_limits(self) -> Mapping[str, CallLimit]:
        return self.setup.call_limits

    def calls(self, labels: Mapping[str, Any]) -> Mapping[str, int]:
        return dict.fromkeys(self.call_limits(), 1)

    def requests(self, labels: Mapping[str, Any]) -> int:
        return len(self.call_limits())

    def questions(self, labels: Mapping[str, Any]) -> int:
        return int(self.setup.settings.asks and isinstance(self.setup.target, LocalModel))

    def call_sizes(self, parameters: Mapping[str, Any]) -> Sequence[CallSize]:
        settings, found = self.setup.settings, []
        record, messages = parameters["input"], _messages(parameters)
        most = parameters.get("max_tokens") or settings.generation.max_tokens
        if settings.asks and (endpoint := self.setup.endpoint) is not None:
            found.append(
                CallSize(
                    role=TARGET,
                    endpoint=endpoint.address,
                    model=parameters["model"],
                    calls=1,
                    input_tokens=tokens_of(message.content for message in messages),
                    output_tokens=most,
                    price=price_of(parameters["model"], endpoint.prices),
                )
            )
        for role, judge, endpoint in self.setup.judges:
            question = judge_question(judge, messages, "", record.get(EXPECTED))
            asked = tokens_of(message.content for message in question.messages)
            found.append(
                CallSize(
                    role=role,
                    endpoint=endpoint.address,
                    model=judge.model,
                    calls=1,
                    input_tokens=None if most is None else asked + most,
                    output_tokens=judge.max_tokens,
                    price=price_of(judge.model, endpoint.prices),
                )
            )
        return found

    def warnings(self, labels: Mapping[str, Sequence[Any]]) -> Sequence[str]:
        is_omitted = self.setup.settings.system_role is SystemRole.NONE
        found = (
            same_family_warning(judge.model, str(model))
            for _, judge, _ in self.setup.judges
            for model in labels["models"]
        )
        return [
            *([_UNPROMPTED] if is_omitted and labels.get("system_prompts") else []),
            *dict.fromkeys(warning for warning in found if warning is not None),
        ]

    def provenance(self, labels: Mapping[str, Sequence[Any]]) -> Sequence[Fact]:
        return (
            Fact(name="rules of the completion", value=RULES),
            Fact(name="settings of the target", value=self.setup.target.settings),
            Fact(name="scorers", value=self.setup.scorers_fact, judging=True),
        )

    def tests(self, raw: bytes, labels: Mapping[str, Any]) -> Iterable[JudgedTest]:
        return read_test(raw)

    def conversation(self, raw: bytes, labels: Mapping[str, Any]) -> Iterable[Said]:
        return read_conversation(raw)

    async def run(self, job: Job, client: OpenChat, context: JobContext) -> Answer:
        parameters = job.parameters
        question = _question(parameters)
        label = str(job.labels["input"])
        async with client.caller.hold_turn(job, self._within_s):
            reply = await client.caller.ask(
                question,
                context,
                about=label,
                # Repeats of one question are asked each on its own, also with the same seed.
                sample={"repeat": job.repeat},
            )
            exchange = Exchange(
                label=label,
                messages=question.messages,
                record=parameters["input"],
                reply=reply.text,
            )
            verdicts = await client.scorers.score(exchange, context)
        endpoint = self.setup.endpoint
        price = None if endpoint is None else price_of(parameters["model"], endpoint.prices)
        return Completion(
            job=job, messages=question.messages, reply=reply, verdicts=verdicts, price=price
        ).to_answer()

    @property
    def _within_s(self) -> float:
        """The time in seconds that a job's calls may take in total: as if each took its limit."""
        endpoint = self.setup.endpoint
        asked_s = _CALL_S if endpoint is None else endpoint.timeout_s
        judged_s = sum(endpoint.timeout_s for _, _, endpoint in self.setup.judges)
        return max(_WITHIN_MIN_S, asked_s + READINGS_MAX * judged_s)


def _messages(parameters: Mapping[str, Any]) -> tuple[Message, ...]:
    """What is sent for a job: its system prompt, if it has one, and the messages of its input."""
    prompt = parameters.get("system_prompt")
    system = () if prompt is None else (Message(Role.SYSTEM, prompt),)
    return (*system, *messages_of(parameters["input"]))


def _question(parameters: Mapping[str, Any]) -> Question:
    seed = parameters.get("seed")
    return Question(
        model=parameters["model"],
        messages=_messages(parameters),
        seed=seed or 0,
        has_seed=seed is not None,
        temperature=parameters.get("temperature"),
        top_p=parameters.get("top_p"),
        max_tokens=parameters.get("max_tokens"),
    )
