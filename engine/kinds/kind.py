"""A job kind: what it declares, and the coroutine that sends one job."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from engine.core.axes import Axis
from engine.core.model import Answer, CallLimit, Job, Measurement, Sends
from engine.core.money import CallSize
from engine.core.provenance import Fact
from engine.kinds.context import JobContext


class JobKind(ABC):
    """One evaluation of a service against one sort of target."""

    name: ClassVar[str]
    """The evaluation, as written in a sweep file."""
    target: ClassVar[str] = "system_prompt"
    axes: ClassVar[tuple[Axis, ...]]
    folded_field: ClassVar[str | None] = None
    """The threshold's field, where one answer can be read at several thresholds."""
    uses_quota: ClassVar[bool] = False
    charged_by_reply: ClassVar[bool] = False
    """Whether tests are charged one by one, as `JobContext.cached` stores the replies that open them.

    Otherwise a job is charged as a whole: what its answer says, or all that was reserved for it where it
    got none and may have been worked on.
    """
    deadline_s: ClassVar[float] = 900.0
    """The most that one attempt may take, whatever the other side does."""

    def attempt_s(self, labels: Mapping[str, Any]) -> float:
        """The most that one attempt at a job may take; infinite where the kind bounds its own steps."""
        return self.deadline_s

    @property
    def judge(self) -> str:
        """Who says what passed, in words that are shown beside the numbers; empty for the service itself."""
        return ""

    def unusable(self) -> str | None:
        """Why the service's settings do not allow this kind and what to do; None if they do."""
        return None

    def lane(self, labels: Mapping[str, Any]) -> str:
        """Jobs of one lane share the limits of a model."""
        return str(labels["model"])

    def folds_exactly(self, labels: Mapping[str, Any]) -> bool:
        """Whether an answer at one threshold gives the very answer at each lower one."""
        return False

    async def prepare(self) -> None:  # noqa: B027 (most kinds have nothing to learn)
        """Learn from the opened service what `folds_exactly` depends on; raises JobError.

        Called before jobs are made. A sweep that is only planned offline does without.
        """

    def cost_class(self, labels: Mapping[str, Any]) -> str:
        """Jobs of one class cost the same quota, as far as can be known beforehand."""
        return ""

    def expected_tests(self, labels: Mapping[str, Any]) -> int | None:
        """The most that a job may cost in quota; None where only an answer can tell."""
        return None

    def most_tests(self, labels: Mapping[str, Any], measured: Measurement) -> int | None:
        """The most that any job of the class of these labels may cost, as one answer tells; None if it does not.

        Asked where `expected_tests` is None. With a bound as many are in flight as fit into the quota at their
        bounds, which is then never exceeded. Without one a margin is held, and the last go one at a time.
        """
        return None

    @property
    def sends(self) -> Sends:
        """What a job sends: itself, calls each of which waits for a `permit`, or nothing that leaves."""
        return Sends.JOB

    def requests(self, labels: Mapping[str, Any]) -> int:
        """The most requests that one job sends, further tries aside, for `plan`."""
        return 1

    def calls(self, labels: Mapping[str, Any]) -> Mapping[str, int]:
        """These requests by whom they go to, where a job asks several, such as a model and a judge.

        Those to the model of the job's lane stand under TARGET.
        """
        return {}

    def questions(self, labels: Mapping[str, Any]) -> int:
        """The most questions that one job asks of a model in this process: no requests, for `plan`."""
        return 0

    def call_limits(self) -> Mapping[str, CallLimit]:
        """The limits of those whom `calls` go to, by the same names, where they have some."""
        return {}

    def call_sizes(self, parameters: Mapping[str, Any]) -> Sequence[CallSize]:
        """The calls of a job by model, with the most tokens that they may take, for the cost in `plan`."""
        return ()

    def group_names(self) -> Sequence[str] | None:
        """The groups that a sweep can name; None where only the service can tell, when it is asked."""
        return None

    def warnings(self, labels: Mapping[str, Sequence[Any]]) -> Sequence[str]:
        """What to know before a sweep over these labels, by axis, is run; none of it a mistake."""
        return ()

    def provenance(self, labels: Mapping[str, Sequence[Any]]) -> Sequence[Fact]:
        """What decides the answers over these labels, by axis, besides them and the service's identity.

        Such as the cases of each group, settings, and versions of rules in the code. A run that would
        go on with other facts is refused until that is accepted, and only answers of equal facts are
        reused. Facts of more labels are those of each of them, together.
        """
        return ()

    @abstractmethod
    async def run(self, job: Job, context: JobContext) -> Answer:
        """Send one job and return its answer, or raise a JobError; anything else raised is a bug."""
