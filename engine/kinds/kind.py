"""A job kind: what it declares, and the coroutine that sends one job."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from engine.core.axes import Axis
from engine.core.model import Answer, CallLimit, Job, Measurement, Sends
from engine.core.money import CallSize
from engine.core.provenance import Fact
from engine.kinds.context import JobContext

JobFunction: TypeAlias = Callable[[Job, Any, JobContext], Awaitable[Answer]]
"""Does what `JobKind.run` does: called with a job, the service's client and the job's context."""


class JobKind(ABC):
    """One evaluation of a service against one sort of target.

    What it declares can be set on the class or on an instance. It holds no client and no state: a kind is made
    when a sweep is parsed, and `run` is given the client of the open service.
    """

    name: str
    """The evaluation, as written in a sweep file."""
    axes: Sequence[Axis]
    target: str = "system_prompt"
    folded_field: str | None = None
    """The threshold's field, where one answer can be read at several thresholds."""
    lane_field: str = "model"
    """The axis whose value names a job's lane: jobs of one lane share the limits of a model."""
    uses_quota: bool = False
    charged_by_reply: bool = False
    """Whether tests are charged one by one, as `JobContext.cached` stores the replies that open them.

    Otherwise a job is charged as a whole: what its answer says, or all that was reserved for it where it
    got none and may have been worked on.
    """
    deadline_s: float = 900.0
    """The most that one attempt may take, in seconds."""
    judge: str = ""
    """Who decides what passed, in words that are shown with the numbers; empty for the service itself."""
    sends: Sends = Sends.JOB
    """What a job sends: itself, calls each of which waits for a `permit`, or nothing that leaves."""

    def attempt_s(self, labels: Mapping[str, Any]) -> float:
        """The most that one attempt at a job may take; infinite where the kind bounds its own steps."""
        return self.deadline_s

    def unusable(self) -> str | None:
        """Why the service's settings do not allow this kind and what to do; None if they do."""
        return None

    def lane(self, labels: Mapping[str, Any]) -> str:
        """The lane of a job with these labels."""
        return str(labels[self.lane_field])

    def folds_exactly(self, labels: Mapping[str, Any]) -> bool:
        """Whether an answer at one threshold gives the very answer at each lower one."""
        return False

    async def prepare(self, client: Any) -> Self:
        """The kind that knows what only the open service can tell and `folds_exactly` depends on.

        Called before jobs are made, and again after a JobError; a sweep that is planned offline does
        without it. Most kinds return themselves.
        """
        return self

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
    async def run(self, job: Job, client: Any, context: JobContext) -> Answer:
        """Send one job and return its answer.

        `client` is what `Service.open` gives, `context` what the engine lends to a running job. Raises
        JobError where there is no answer; any other exception is a bug in the kind and fails the job.
        """


@dataclass(frozen=True, kw_only=True)
class FunctionKind(JobKind):
    """A job kind without a class of its own: `function` is called as `JobKind.run` is.

    `folds` says whether an answer at one threshold gives the very answer at each lower one.
    """

    name: str
    axes: Sequence[Axis]
    function: JobFunction
    target: str = JobKind.target
    folded_field: str | None = None
    folds: bool = False
    lane_field: str = JobKind.lane_field
    uses_quota: bool = False
    charged_by_reply: bool = False
    deadline_s: float = JobKind.deadline_s
    judge: str = ""
    sends: Sends = Sends.JOB

    def folds_exactly(self, labels: Mapping[str, Any]) -> bool:
        return self.folds

    async def run(self, job: Job, client: Any, context: JobContext) -> Answer:
        return await self.function(job, client, context)
