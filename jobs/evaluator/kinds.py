"""The job kinds of the self-hosted evaluator."""

from collections.abc import Mapping
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
from jobs.evaluator.answers import single_turn_answer
from jobs.evaluator.asking import Asker
from jobs.evaluator.groups import CaseSet
from jobs.evaluator.judge.rules import RulesJudge
from jobs.evaluator.seeds import Purpose, derive
from jobs.evaluator.settings import LocalSettings
from jobs.evaluator.single_turn import Asked, Layers, evaluate, most_tests

_FOUR_HOURS_S = 4 * 3600.0


class SingleTurn(JobKind):
    """Single-turn evaluation of a model under a system prompt."""

    name: ClassVar[str] = "single_turn"
    target: ClassVar[str] = "system_prompt"
    axes: ClassVar[tuple[Axis, ...]] = (
        TextAxis(name="models", field="model"),
        PromptAxis(name="prompts", field="prompt"),
        GroupAxis(name="groups", field="group"),
        NumberAxis(name="thresholds", field="threshold", minimum=0.0, maximum=1.0),
        IntegerAxis(
            name="variations",
            field="variations",
            required=False,
            default=(1,),
            minimum=1,
            maximum=5,
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
    folded_field: ClassVar[str | None] = "threshold"
    uses_quota: ClassVar[bool] = True
    # Hundreds of questions on two cores; each has a deadline of its own.
    deadline_s: ClassVar[float] = _FOUR_HOURS_S

    def __init__(
        self,
        settings: LocalSettings,
        cases: CaseSet,
        judge: RulesJudge,
        asker: Asker,
        provenance: Mapping[str, Any],
    ) -> None:
        self._settings = settings
        self._cases = cases
        self._judge = judge
        self._asker = asker
        self._provenance = provenance

    def folds_exactly(self, labels: Mapping[str, Any]) -> bool:
        """Where the threshold does not steer which questions are asked."""
        return self._expands_on_all or labels["maximum_iteration_layers"] == 0

    def cost_class(self, labels: Mapping[str, Any]) -> str:
        return f"{labels['group']}|{labels['variations']}|{labels['maximum_iteration_layers']}"

    def expected_tests(self, labels: Mapping[str, Any]) -> int:
        """The most questions; raises UsageError for a group that does not exist."""
        cases = len(self._cases.group(labels["group"]).cases)
        return most_tests(cases, labels["variations"], labels["maximum_iteration_layers"])

    def requests(self, labels: Mapping[str, Any]) -> int:
        return self.expected_tests(labels)

    async def run(self, job: Job, context: JobContext) -> Answer:
        parameters = job.parameters
        group = self._cases.group(parameters["group"])

        async def ask(asked: Asked) -> Reply:
            return await self._asker.ask(self._question(job, asked), context)

        async with self._asker.turn():
            layers = await evaluate(
                group.cases,
                self._judge,
                ask,
                Layers(
                    threshold=parameters["threshold"],
                    variations=parameters["variations"],
                    maximum_iteration_layers=parameters["maximum_iteration_layers"],
                    expand_on_all=self._expands_on_all,
                    seed=self._settings.seed,
                    repeat=job.repeat,
                ),
            )
        return single_turn_answer(job.key, layers, self._provenance)

    @property
    def _expands_on_all(self) -> bool:
        return self._settings.expand_on == "all"

    def _question(self, job: Job, asked: Asked) -> Question:
        return Question(
            model=job.parameters["model"],
            messages=(
                Message(Role.SYSTEM, job.parameters["prompt"]),
                Message(Role.USER, asked.user_input),
            ),
            seed=derive(
                self._settings.seed,
                case=asked.case.id,
                path=asked.path,
                purpose=Purpose.TARGET,
                repeat=job.repeat,
            ),
        )


def single_turn_of(model: str) -> type[SingleTurn]:
    """The kind for a target that has one model: another name is a mistake in the sweep file."""

    class SingleTurnOfOneModel(SingleTurn):
        axes: ClassVar[tuple[Axis, ...]] = (
            TextAxis(name="models", field="model", choices=(model,)),
            *SingleTurn.axes[1:],
        )

    return SingleTurnOfOneModel
