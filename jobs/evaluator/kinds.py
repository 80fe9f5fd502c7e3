"""The job kinds of the self-hosted evaluator."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from engine.job import (
    Answer,
    Axis,
    GroupAxis,
    IntegerAxis,
    Job,
    JobContext,
    JobKind,
    NumberAxis,
    PromptAxis,
    TextAxis,
)
from jobs.chat.target import Message, Question, Reply, Role
from jobs.evaluator.answers import multi_turn_answer, single_turn_answer
from jobs.evaluator.asking import Asker
from jobs.evaluator.attacker import Attacker
from jobs.evaluator.families import kinship
from jobs.evaluator.groups import Case
from jobs.evaluator.judge.items import Finding, Judgement
from jobs.evaluator.judge.protocol import Judge
from jobs.evaluator.judge.scoring import read_scale
from jobs.evaluator.multi_turn import Talk, Turn, Voices, converse
from jobs.evaluator.mutators import MOST_VARIATIONS, Translation
from jobs.evaluator.seeds import Purpose, derive
from jobs.evaluator.settings import LocalSettings
from jobs.evaluator.single_turn import (
    Asked,
    Judged,
    Layers,
    Translations,
    Variers,
    evaluate,
    most_parents,
    most_tests,
)
from jobs.evaluator.translation import CALLS, Translator

_FOUR_HOURS_S = 4 * 3600.0


_MODELS = TextAxis(name="models", field="model")
_PROMPTS = PromptAxis(name="prompts", field="prompt")
_GROUPS = GroupAxis(name="groups", field="group")
_THRESHOLDS = NumberAxis(name="thresholds", field="threshold", minimum=0.0, maximum=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all evaluations of one service share.

    `cases_of` gives the cases of a group, `judge_model` is the model that judges, if one does;
    `provenance` goes into every answer. There is a `translator` only where there is an `attacker`.
    """

    settings: LocalSettings
    cases_of: Callable[[str], Sequence[Case]]
    judge: Judge
    judge_model: str | None
    asker: Asker
    attacker: Attacker | None
    translator: Translator | None
    provenance: Mapping[str, Any]


class _Evaluation(JobKind):
    target: ClassVar[str] = "system_prompt"
    folded_field: ClassVar[str | None] = "threshold"
    uses_quota: ClassVar[bool] = True
    # Hundreds of questions on two cores; each has a deadline of its own.
    deadline_s: ClassVar[float] = _FOUR_HOURS_S

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def _size(self, labels: Mapping[str, Any]) -> int:
        """How many cases the group has; raises UsageError for a group that does not exist."""
        return len(self._bench.cases_of(labels["group"]))

    def warnings(self, labels: Mapping[str, Sequence[Any]]) -> Sequence[str]:
        """Where the judge is of a target's family."""
        found = (self._warning(str(model)) for model in labels["models"])
        return [warning for warning in found if warning is not None]

    def _warning(self, model: str) -> str | None:
        judge = self._bench.judge_model
        return None if judge is None else kinship(judge, model)

    async def _ask(
        self,
        job: Job,
        context: JobContext,
        case: Case,
        path: tuple[int, ...],
        messages: Sequence[Message],
    ) -> Reply:
        prompt = job.parameters["prompt"]
        # A fine-tuned model may be asked as it is, without any.
        system = () if prompt is None else (Message(Role.SYSTEM, prompt),)
        question = Question(
            model=job.parameters["model"],
            messages=(*system, *messages),
            seed=self._seed(job, case, path, Purpose.TARGET),
        )
        return await self._bench.asker.ask(question, context)

    def _seed(self, job: Job, case: Case, path: tuple[int, ...], purpose: Purpose) -> int:
        return derive(
            self._bench.settings.seed,
            case=case.id,
            path=path,
            purpose=purpose,
            repeat=job.repeat,
        )


class SingleTurn(_Evaluation):
    """Single-turn evaluation of a model under a system prompt."""

    name: ClassVar[str] = "single_turn"
    axes: ClassVar[tuple[Axis, ...]] = (
        _MODELS,
        _PROMPTS,
        _GROUPS,
        _THRESHOLDS,
        IntegerAxis(
            name="variations",
            field="variations",
            required=False,
            default=(1,),
            minimum=1,
            maximum=MOST_VARIATIONS,
        ),
        IntegerAxis(
            name="maximum_iteration_layers",
            field="maximum_iteration_layers",
            required=False,
            default=(0,),
            minimum=0,
            maximum=2,
        ),
    )

    def folds_exactly(self, labels: Mapping[str, Any]) -> bool:
        """Where the threshold does not steer which questions are asked."""
        return self._expands_on_all or labels["maximum_iteration_layers"] == 0

    def cost_class(self, labels: Mapping[str, Any]) -> str:
        return f"{labels['group']}|{labels['variations']}|{labels['maximum_iteration_layers']}"

    def expected_tests(self, labels: Mapping[str, Any]) -> int:
        """The most questions; raises UsageError for a group that does not exist."""
        return most_tests(
            self._size(labels), labels["variations"], labels["maximum_iteration_layers"]
        )

    def requests(self, labels: Mapping[str, Any]) -> int:
        """The most calls: of the target, of a judge for each reply, of an attacker for each parent."""
        tests = self.expected_tests(labels)
        parents = most_parents(
            self._size(labels), labels["variations"], labels["maximum_iteration_layers"]
        )
        judged = tests if self._bench.judge.calls_a_model else 0
        written = 0 if self._bench.attacker is None else 1
        translated = 0 if self._bench.translator is None else CALLS
        return tests + judged + parents * (written + translated)

    async def run(self, job: Job, context: JobContext) -> Answer:
        parameters = job.parameters
        bench = self._bench

        async def ask(asked: Asked) -> Reply:
            said = (Message(Role.USER, asked.user_input),)
            return await self._ask(job, context, asked.case, asked.path, said)

        async def judge(asked: Asked, reply: Reply) -> Judgement:
            return await bench.judge.reply(asked.case, asked.user_input, reply.text, context)

        async with bench.asker.turn():
            layers = await evaluate(
                bench.cases_of(parameters["group"]),
                judge,
                ask,
                Layers(
                    threshold=parameters["threshold"],
                    variations=parameters["variations"],
                    maximum_iteration_layers=parameters["maximum_iteration_layers"],
                    expand_on_all=self._expands_on_all,
                    seed=bench.settings.seed,
                    repeat=job.repeat,
                ),
                self._variers(job, context),
            )
        return single_turn_answer(
            job.key, layers, bench.provenance, self._warning(parameters["model"])
        )

    def _variers(self, job: Job, context: JobContext) -> Variers:
        attacker, translator = self._bench.attacker, self._bench.translator

        async def vary(parent: Judged) -> Sequence[str]:
            assert attacker is not None, "only called where there is one"
            asked = parent.asked
            return await attacker.variations(
                asked.case,
                asked.user_input,
                parent.reply.text,
                parent.judgement,
                seed=self._seed(job, asked.case, asked.path, Purpose.ATTACKER),
                context=context,
            )

        async def into(asked: Asked, language: str, seed: int) -> tuple[str, Translation] | None:
            assert translator is not None, "only called where there is one"
            return await translator.translation(
                asked.case, asked.user_input, language, seed=seed, context=context
            )

        return Variers(
            vary=None if attacker is None else vary,
            translations=None if translator is None else Translations(translator.languages, into),
        )

    @property
    def _expands_on_all(self) -> bool:
        return self._bench.settings.expand_on == "all"


class MultiTurn(_Evaluation):
    """Conversations with a model under a system prompt; `max_turns` counts messages."""

    name: ClassVar[str] = "multi_turn"
    axes: ClassVar[tuple[Axis, ...]] = (
        _MODELS,
        _PROMPTS,
        _GROUPS,
        _THRESHOLDS,
        IntegerAxis(
            name="max_turns",
            field="max_turns",
            required=False,
            default=(4,),
            minimum=2,
            maximum=20,
            multiple_of=2,
        ),
    )

    def folds_exactly(self, labels: Mapping[str, Any]) -> bool:
        """Always: no conversation depends on the threshold."""
        return True

    def cost_class(self, labels: Mapping[str, Any]) -> str:
        return f"{labels['group']}|{labels['max_turns']}"

    def expected_tests(self, labels: Mapping[str, Any]) -> int:
        """One conversation a case; raises UsageError for a group that does not exist."""
        return self._size(labels)

    def requests(self, labels: Mapping[str, Any]) -> int:
        """With E exchanges a conversation takes E calls of the target, E - 1 of an attacker, E + 1 of a judge."""
        exchanges = int(labels["max_turns"]) // 2
        judged = exchanges + 1 if self._bench.judge.calls_a_model else 0
        led = 0 if self._bench.attacker is None else exchanges - 1
        return self._size(labels) * (exchanges + judged + led)

    async def run(self, job: Job, context: JobContext) -> Answer:
        parameters = job.parameters
        bench = self._bench
        attacker = bench.attacker
        scale, _ = read_scale()

        async def ask(turn: Turn) -> Reply:
            return await self._ask(job, context, turn.case, (turn.number,), turn.messages)

        async def lead(turn: Turn, strategy: str) -> str | None:
            assert attacker is not None, "only called where there is one"
            return await attacker.turn(
                turn.case,
                strategy,
                turn.messages,
                seed=self._seed(job, turn.case, (turn.number,), Purpose.ATTACKER),
                context=context,
            )

        async def flags(case: Case, messages: Sequence[Message]) -> tuple[Finding, ...]:
            return await bench.judge.turn(case, messages, context)

        async def items(case: Case, messages: Sequence[Message]) -> tuple[Finding, ...]:
            return await bench.judge.conversation(case, messages, context)

        async with bench.asker.turn():
            conversations = await converse(
                bench.cases_of(parameters["group"]),
                Voices(
                    ask=ask,
                    flags=flags,
                    items=items,
                    scale=scale,
                    lead=None if attacker is None else lead,
                ),
                Talk(
                    threshold=parameters["threshold"],
                    max_turns=parameters["max_turns"],
                    seed=bench.settings.seed,
                    repeat=job.repeat,
                ),
            )
        return multi_turn_answer(
            job.key, conversations, bench.provenance, self._warning(parameters["model"])
        )


def kinds_of(model: str | None) -> tuple[type[_Evaluation], ...]:
    """The kinds; for a target that has one model another name is a mistake in the sweep file."""
    if model is None:
        return (SingleTurn, MultiTurn)
    models = TextAxis(name="models", field="model", choices=(model,))

    class SingleTurnOfOneModel(SingleTurn):
        axes: ClassVar[tuple[Axis, ...]] = (models, *SingleTurn.axes[1:])

    class MultiTurnOfOneModel(MultiTurn):
        axes: ClassVar[tuple[Axis, ...]] = (models, *MultiTurn.axes[1:])

    return (SingleTurnOfOneModel, MultiTurnOfOneModel)
