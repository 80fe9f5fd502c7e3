"""A job kind: what it declares, and the coroutine that sends one job."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from engine.core.axes import Axis
from engine.core.findings import JudgedTest, Message
from engine.core.model import Answer, CallLimit, Job, Measurement, Sends
from engine.core.money import CallSize
from engine.core.provenance import Fact
from engine.kinds.context import JobContext

JobFunction: TypeAlias = Callable[[Job, Any, JobContext], Awaitable[Answer]]
"""Does what `JobKind.run` does: called with a job, the service's client and the job's context."""


class JobKind(ABC):
    """One evaluation of a service against one sort of target.

    Its fields can be set on the class or on an instance. A kind is created when a sweep is parsed, so it
    holds no client: `run` gets that of the open service.
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
        """The most seconds that one attempt may take; infinite if the kind limits its steps itself."""
        return self.deadline_s

    def unusable(self) -> str | None:
        """Why the service's settings rule this kind out, and what to do; None if they allow it.

        Called when a sweep that names the kind is parsed; the text becomes the message of its SweepError.
        """
        return None

    def lane(self, labels: Mapping[str, Any]) -> str:
        """The lane of a job with these labels, by axis: jobs of one lane share limits, breaker and health.

        By default the value of `lane_field`, as text.
        """
        return str(labels[self.lane_field])

    def folds_exactly(self, labels: Mapping[str, Any]) -> bool:
        """Whether an answer at one threshold contains the exact answer at every lower one.

        Then one job at the highest threshold answers all cells that differ only in `folded_field`, and
        `Measurement.scores` must list every score below the job's threshold.
        """
        return False

    async def prepare(self, client: Any) -> Self:
        """The kind with what `folds_exactly` needs to know from the open service.

        Called before jobs are created, and again after a JobError, but not for a plan made offline. Most
        kinds return themselves.
        """
        return self

    def cost_class(self, labels: Mapping[str, Any]) -> str:
        """The name of the jobs that are expected to cost the same quota as this one.

        While the cost of a class is unknown, one job of it is sent first, and the others wait for its answer.
        """
        return ""

    def expected_tests(self, labels: Mapping[str, Any]) -> int | None:
        """The most tests that a job with these labels can cost; None if only an answer shows it.

        That many are reserved before the job is sent, and what it did not cost is given back afterwards.
        """
        return None

    def most_tests(self, labels: Mapping[str, Any], measured: Measurement) -> int | None:
        """The most tests that any job of this cost class can cost, judging by one answer; None if unknown.

        Called if `expected_tests` is None. With a bound, as many jobs are in flight as the quota covers at
        that bound, so it is never exceeded. Without one, a margin is reserved for each job, and the last
        jobs are sent one at a time.
        """
        return None

    def requests(self, labels: Mapping[str, Any]) -> int:
        """The most requests that a job with these labels sends, without retries.

        `plan` adds them up, and computes from them how long the sweep takes within its rates.
        """
        return 1

    def calls(self, labels: Mapping[str, Any]) -> Mapping[str, int]:
        """The same requests by recipient, if a job calls several, such as a model and a judge.

        Requests to the model of the job's lane are counted under TARGET.
        """
        return {}

    def questions(self, labels: Mapping[str, Any]) -> int:
        """The most questions that a job asks of a model in this process; they are no requests.

        `plan` shows them in place of requests.
        """
        return 0

    def call_limits(self) -> Mapping[str, CallLimit]:
        """The limits of the recipients in `calls`, by the same names, for those that have limits."""
        return {}

    def call_sizes(self, parameters: Mapping[str, Any]) -> Sequence[CallSize]:
        """The calls of a job with these parameters, by role and model, with the most tokens that they take.

        `plan` computes the possible cost of the sweep from them and `Service.price`.
        """
        return ()

    def group_names(self) -> Sequence[str] | None:
        """The groups that a sweep can name; None if only the open service knows them.

        With names, `groups: all` is resolved and misspelt groups are found without asking the service.
        """
        return None

    def warnings(self, labels: Mapping[str, Sequence[Any]]) -> Sequence[str]:
        """Warnings, which are not mistakes, about a sweep over these labels by axis."""
        return ()

    def provenance(self, labels: Mapping[str, Sequence[Any]]) -> Sequence[Fact]:
        """What decides the answers for these labels by axis, apart from the labels and the service's identity.

        For example the cases of each group, settings, and versions of rules in the code. A run does not
        resume with other facts until they are accepted, and only answers with equal facts are reused. The
        facts of several labels are the union of the facts of each.
        """
        return ()

    def tests(self, raw: bytes, labels: Mapping[str, Any]) -> Iterable[JudgedTest]:
        """The tests that a stored answer lists, passed or failed, in the order of the answer.

        `raw` is `Answer.raw`, and `labels` are those of the job by axis, with the threshold that was sent, at
        which `JudgedTest.failed` is judged. An answer that lists only its failed tests gives only these.
        Nothing is sent. What cannot be read is left out or None: an odd answer is no error. By default none,
        for kinds whose answers do not list tests.
        """
        return ()

    def conversation(self, raw: bytes, labels: Mapping[str, Any]) -> Iterable[Message]:
        """The messages of a stored answer that counts no test, such as a reply that no scorer judges.

        What cannot be read is left out. By default none. The messages of tests come with `tests`.
        """
        return ()

    @abstractmethod
    async def run(self, job: Job, client: Any, context: JobContext) -> Answer:
        """Send one job and return its answer.

        `client` is what `Service.open` yields, and `context` what the engine lends to a running job. Await
        `start_request` before a request is written, use only `context.clock` for time, and let cancellation
        pass. Never retry or count rates: raise a JobError, whose class says what the engine does next. Any
        other exception is a bug in the kind and fails the job.
        """


@dataclass(frozen=True, kw_only=True)
class FunctionKind(JobKind):
    """A job kind without a class of its own: `function` is called as `JobKind.run` is.

    `folds` says whether an answer at one threshold contains the exact answer at every lower one, for all
    labels. Where anything depends on the labels of a job, write a subclass of JobKind.
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
