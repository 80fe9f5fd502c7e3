"""The base of the evaluations: their axes, and what is known about a job before it runs."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any

from engine.kinds import (
    TARGET,
    CallLimit,
    CallSize,
    GroupAxis,
    Job,
    JobContext,
    JobKind,
    JudgedTest,
    NumberAxis,
    PromptAxis,
    Sends,
    TextAxis,
    UsageError,
)
from jobs.chat.built_in import LocalModel
from jobs.chat.endpoint import Endpoint
from jobs.chat.families import same_family_warning
from jobs.chat.model_caller import ATTACKER, JUDGE
from jobs.chat.prices import price_of
from jobs.chat.shaping import SystemRole
from jobs.chat.target import Message, Question, Reply, Role
from jobs.circuit_breaker_labs.judged_tests import read_tests
from jobs.evaluator.groups import Case, CaseSet
from jobs.evaluator.seeds import Purpose, derive_seed
from jobs.evaluator.settings import RubricJudgeSettings
from jobs.evaluator.setup import EvaluationClient, EvaluationSetup

_WITHIN_MIN_S, _WITHIN_MAX_S = 900.0, 24 * 3600.0
_CALL_S = 600.0
"""The time limit in seconds that we assume for a call of a callable or of a model on this machine."""
_OTHER_MODELS = (
    "this sweep evaluates {} in this process; for other models set service.endpoint, such as {{base_url:"
    " https://openrouter.ai/api/v1, api_key: env:OPENROUTER_API_KEY}}"
)
_UNTRANSLATED = (
    "service.attacker.translations has no effect: only variations of a single_turn evaluation are"
    " translated (maximum_iteration_layers: 1 or 2)"
)
_UNPROMPTED = (
    "service.endpoint.system_role: none: no system prompt is sent, so cells that differ only in their"
    " prompt send the same requests"
)

MODELS = TextAxis(
    name="models", field="model", description="The models, as the endpoint calls them."
)
PROMPTS = PromptAxis(
    name="prompts",
    field="prompt",
    description="System prompts: {name, text} or {file}.",
    absent=True,
)
GROUPS = GroupAxis(
    name="groups",
    field="group",
    description="Groups of test cases by name, or all.",
    usual=lambda: CaseSet().names,
)
THRESHOLDS = NumberAxis(
    name="thresholds",
    field="threshold",
    minimum=0.0,
    maximum=1.0,
    description="A reply with a score below it has failed: a list, or {from, to, step}.",
)


class Evaluation(JobKind):
    """Common to all evaluations; without a `setup` it only declares its axes, for any settings."""

    folded_field = "threshold"
    uses_quota = True
    charged_by_reply = True
    # For all calls of an evaluation together; each call has its own limit.
    deadline_s = _WITHIN_MAX_S

    def __init__(self, setup: EvaluationSetup | None = None) -> None:
        self._setup = setup
        if setup is None:
            return
        self.judge = f"the {setup.judge.name} judge, a {setup.judge.label}"
        self.sends = Sends.CALLS if any(self.call_limits().values()) else Sends.NOTHING
        if isinstance(setup.target, LocalModel):
            name = setup.target.name
            only = replace(MODELS, choices=(name,), otherwise=_OTHER_MODELS.format(name))
            self.axes = tuple(only if axis is MODELS else axis for axis in self.axes)

    @property
    def setup(self) -> EvaluationSetup:
        """The setup of its service."""
        assert self._setup is not None, "a kind that is only declared evaluates nothing"
        return self._setup

    def size(self, labels: Mapping[str, Any]) -> int:
        """The number of cases in the group; raises UsageError if there is no such group."""
        return len(self.setup.cases_of(labels["group"]))

    def within_s(self, labels: Mapping[str, Any]) -> float:
        """The time that a job's calls may take in total: as if each took its limit, one after the other.

        In seconds, between a minimum and the kind's deadline. Waiting for a turn or for a rate does not
        count.
        """
        settings = self.setup.settings
        asked = (settings, settings.judge, settings.attacker)
        endpoints = (getattr(one, "endpoint", None) for one in asked)
        call_s = max(_CALL_S if one is None else one.timeout_s for one in endpoints)
        calls = self.requests(labels) + self.questions(labels)
        return min(self.deadline_s, max(_WITHIN_MIN_S, calls * call_s))

    def attempt_s(self, labels: Mapping[str, Any]) -> float:
        """Unlimited: a job may wait for its turn indefinitely, and `within_s` limits its calls."""
        return inf

    def call_limits(self) -> Mapping[str, CallLimit]:
        limits = self.setup.call_limits()
        asked = limits if self.setup.settings.asks else {JUDGE: limits[JUDGE]}
        return {role: limit for role, limit in asked.items() if limit is not None}

    def requests(self, labels: Mapping[str, Any]) -> int:
        return sum(self.calls(labels).values())

    def calls(self, labels: Mapping[str, Any]) -> Mapping[str, int]:
        limits = self.call_limits()
        return {
            role: count for role, count in self.question_counts(labels).items() if role in limits
        }

    def questions(self, labels: Mapping[str, Any]) -> int:
        limits = self.call_limits()
        return sum(
            count for role, count in self.question_counts(labels).items() if role not in limits
        )

    def tests(self, raw: bytes, labels: Mapping[str, Any]) -> Iterable[JudgedTest]:
        return read_tests(raw, labels["threshold"])

    @abstractmethod
    def question_counts(self, labels: Mapping[str, Any]) -> Mapping[str, int]:
        """The most questions of a job, by the role that they go to; roles that are never asked are left out.

        Raises UsageError if there is no such group.
        """

    def count_by_role(self, *, target: int, judge: int, attacker: int) -> Mapping[str, int]:
        """The counts of the roles that are models and may be asked.

        A judge by rules is left out, as are target and attacker if the run only judges again.
        """
        asks = self.setup.settings.asks
        calls = {TARGET: target} if asks else {}
        if self.setup.judge.calls_a_model:
            calls[JUDGE] = judge
        if self.setup.attacker is not None and asks:
            calls[ATTACKER] = attacker
        return calls

    def call_sizes(self, parameters: Mapping[str, Any]) -> Sequence[CallSize]:
        settings, calls = self.setup.settings, self.calls(parameters)
        asked: list[tuple[str, str, Endpoint]] = []
        if settings.endpoint is not None:
            asked.append((TARGET, parameters["model"], settings.endpoint))
        if isinstance(settings.judge, RubricJudgeSettings):
            asked.append((JUDGE, settings.judge.model, settings.judge.endpoint))
        if settings.attacker is not None:
            asked.append((ATTACKER, settings.attacker.model, settings.attacker.endpoint))
        tokens = self.token_counts(parameters)
        found = []
        for role, model, endpoint in asked:
            read, written = tokens.get(role, (None, None))
            size = CallSize(
                role=role,
                endpoint=endpoint.address,
                model=model,
                calls=calls.get(role, 0),
                input_tokens=read,
                output_tokens=written,
                price=price_of(model, endpoint.prices),
            )
            found.append(size)
        return [size for size in found if size.calls]

    def token_counts(self, parameters: Mapping[str, Any]) -> Mapping[str, tuple[int, int]]:
        """The most input and output tokens of a job's calls by role, as far as its parameters determine them.

        A role that is missing has an unknown number.
        """
        return {}

    def group_names(self) -> Sequence[str] | None:
        return None if self._setup is None else self._setup.group_names()

    def warnings(self, labels: Mapping[str, Sequence[Any]]) -> Sequence[str]:
        """Warnings, such as that the judge is of a target's family or cannot read a group's language.

        `labels` holds the values of each axis of the sweep, not of one job. Raises UsageError if there is
        no such group.
        """
        found = (self.same_family_warning(str(model)) for model in labels["models"])
        return [
            *(warning for warning in found if warning is not None),
            *(warning for group in labels["groups"] for warning in self._language_warnings(group)),
            *([] if self.setup.translator is None or self.translates(labels) else [_UNTRANSLATED]),
            *([_UNPROMPTED] if self._omits_prompts else []),
        ]

    @property
    def _omits_prompts(self) -> bool:
        endpoint = self.setup.settings.endpoint
        return endpoint is not None and endpoint.system_role is SystemRole.NONE

    def translates(self, labels: Mapping[str, Sequence[Any]]) -> bool:
        """Whether any job over these labels may translate a message."""
        return False

    def _language_warnings(self, group: str) -> Sequence[str]:
        """Warnings about the group's cases in languages other than English, if it has any."""
        try:
            cases = self.setup.cases_of(group)
        except UsageError:
            # `all`, or a group with mistakes, which are reported when it is read.
            return ()
        others = [case.locale for case in cases if not case.is_english]
        if not others:
            return ()
        which = f"{len(others)} of {len(cases)} cases of {group} ({', '.join(sorted(set(others)))})"
        warnings = []
        if not self.setup.judge.calls_a_model:
            judge = f"the {self.setup.judge.name} judge"
            warnings.append(f"{judge} reads English only: its scores of {which} mean nothing")
        if self.setup.attacker is not None:
            warnings.append(f"the attacker writes English only: it is not used for {which}")
        return warnings

    def same_family_warning(self, model: str) -> str | None:
        """A warning if the judge's model is of this target's family, else None."""
        judge = self.setup.judge_model
        return None if judge is None else same_family_warning(judge, model)

    async def ask(
        self,
        job: Job,
        client: EvaluationClient,
        context: JobContext,
        case: Case,
        path: tuple[int, ...],
        messages: Sequence[Message],
    ) -> Reply:
        """The target's reply to `messages` under the job's prompt.

        A request opens a test if it holds the first message of its person.
        """
        prompt = job.parameters["prompt"]
        # No prompt: the baseline, or a fine-tuned model that needs none.
        system = () if prompt is None else (Message(Role.SYSTEM, prompt),)
        question = Question(
            model=job.parameters["model"],
            messages=(*system, *messages),
            seed=self.seed(job, case, path, Purpose.TARGET),
        )
        from_person = [message for message in messages if message.role is Role.USER]
        opens = 1 if len(from_person) == 1 else 0
        return await client.caller.ask(question, context, about=case.id, tests=opens)

    def seed(self, job: Job, case: Case, path: tuple[int, ...], purpose: Purpose) -> int:
        """A seed for one question of the job, the same in every run; see `derive_seed`."""
        return derive_seed(
            self.setup.settings.seed,
            case=case.id,
            path=path,
            purpose=purpose,
            repeat=job.repeat,
        )
