"""What the author of a job kind sees: everything under `jobs/` is written against this module.

A *service* is an evaluation API. It is declared by a `Service` subclass under the entry point group
`nightsweep.services`, has a pydantic model for the `service:` part of a sweep file, and offers job
kinds: one per evaluation and target. A *job kind* declares its axes, its lane, when thresholds fold,
and the coroutine that sends one job.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from pydantic import BaseModel, ConfigDict

from engine.clock import Clock
from engine.core.accounts import Accounts, canonical
from engine.core.axes import (
    Axis,
    AxisValue,
    DocumentAxis,
    GroupAxis,
    IntegerAxis,
    NumberAxis,
    PromptAxis,
    TextAxis,
)
from engine.core.errors import (
    Disconnected,
    JobError,
    KeyRenewed,
    LimitReached,
    MachineFault,
    NightsweepError,
    NotNow,
    OutOfCredit,
    Permanent,
    QuotaExceeded,
    RateLimited,
    TimedOut,
    Transient,
    Unauthorized,
    Unhealthy,
    Unreachable,
    UsageError,
)
from engine.core.model import (
    TARGET,
    Allotment,
    Answer,
    CallLimit,
    Finding,
    Group,
    Health,
    Job,
    Measurement,
    Sends,
    counted_unanswered,
)
from engine.core.money import CallSize, Price, Took, Usage
from engine.core.nearest import nearest, suggestion
from engine.core.pace import Pace
from engine.core.permits import PermitLimit
from engine.core.policy import UnansweredPolicy, UnansweredRule
from engine.core.provenance import Fact, hashed
from engine.core.retry import is_away
from engine.documents.validation import rule_broken
from engine.in_flight import hold_bytes
from engine.machine import connections_allowed, machine_fault
from engine.permits import Permit
from engine.secrets import (
    REDACTED,
    SecretReference,
    checked_reference,
    is_reference,
    key_spellings,
    resolve_secret,
    spellings,
    without_secrets,
)
from engine.starts import start_request, starting_with

__all__ = [
    "REDACTED",
    "TARGET",
    "Accounts",
    "Allotment",
    "Answer",
    "Axis",
    "AxisValue",
    "CallLimit",
    "CallSize",
    "Clock",
    "Disconnected",
    "DocumentAxis",
    "Fact",
    "Finding",
    "Group",
    "GroupAxis",
    "Health",
    "HealthGate",
    "IntegerAxis",
    "Job",
    "JobContext",
    "JobError",
    "JobKind",
    "KeyRenewed",
    "LimitReached",
    "MachineFault",
    "Measurement",
    "NightsweepError",
    "NotNow",
    "NumberAxis",
    "OutOfCredit",
    "Pace",
    "Permanent",
    "Permit",
    "PermitLimit",
    "Price",
    "PromptAxis",
    "QuotaExceeded",
    "RateLimited",
    "SecretReference",
    "Sends",
    "Service",
    "ServiceSettings",
    "TextAxis",
    "TimedOut",
    "Took",
    "Transient",
    "UnansweredPolicy",
    "UnansweredRule",
    "Unauthorized",
    "Unhealthy",
    "Unreachable",
    "Usage",
    "UsageError",
    "canonical",
    "checked_reference",
    "connections_allowed",
    "counted_unanswered",
    "hashed",
    "hold_bytes",
    "is_away",
    "is_reference",
    "key_spellings",
    "machine_fault",
    "nearest",
    "packaged_yaml",
    "resolve_secret",
    "rule_broken",
    "spellings",
    "start_request",
    "starting_with",
    "suggestion",
    "without_secrets",
]


class ServiceSettings(BaseModel):
    """The `service:` part of a sweep file; each service adds fields of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: str


class JobContext(Protocol):
    """What the engine lends to a running job."""

    @property
    def clock(self) -> Clock:
        """The engine's clock: jobs use no other."""
        ...

    async def permit(
        self,
        name: str,
        *,
        rate_per_min: int | None = None,
        tokens_per_min: int | None = None,
        tokens: int = 0,
        to_model: bool = False,
    ) -> Permit:
        """Wait until one request may start, within the limits given here, such as those of an endpoint.

        Where the kind `sends` calls, the sweep's own limits bind it as well: its rate and, if it goes
        `to_model` (the model of the job's lane), that of the model; it takes one of `limits.requests`,
        and starts in the run's window. All of them are granted at once, durable, and shared by all
        processes on the store. `tokens` is what the call is estimated at; `settle` the permit with what
        it really took, 0 if it was never made. Raises LimitReached or NotNow where none may start.
        """
        ...

    def account(self, address: str, key: str = "") -> str:
        """The name of the limits that a key has at an address, for `permit` and `slot`.

        It is the same however the address is spelt and wherever the key was read from, and does not tell the key.
        """
        ...

    def slot(self, name: str, max_in_flight: int) -> AbstractAsyncContextManager[None]:
        """One of at most `max_in_flight` calls that are under way at something behind the service.

        Waits for it; shared by all processes on the store.
        """
        ...

    async def cached(
        self,
        key: Mapping[str, Any],
        call: Callable[[], Awaitable[bytes]],
        *,
        tests: int = 0,
        usage: Callable[[], Sequence[Usage]] | None = None,
    ) -> bytes:
        """The bytes stored under `key`, or what `call` returns, stored before returning.

        An evaluation that is killed half-way finds there the calls it has already paid for, and so does
        another run of the service, unless its sweep has `reuse: false`. `key` must hold all that decides
        the answer, as JSON values. `tests` is how many tests the call opens: a kind that is
        `charged_by_reply` is charged them as the response is stored, and nothing for one that was stored
        before. Raises QuotaExceeded where there is no quota left for them. `usage`, asked once `call` has
        ended, says what each of its requests took, as far as that is known, that of the response last: all are stored, where a
        JobError is raised, too.
        """
        ...

    def progress(self, answered: int, total: int) -> None:
        """Say that so many of the job's questions are answered, of `total` that it asks as far as known.

        A display shows it and takes the time left from it; it is kept in memory only. A question whose
        reply was kept counts as answered like any other.
        """
        ...

    async def note(self, kind: str, message: str) -> None:
        """Add a line to the run's event log, where the job and its lane stand beside it."""
        ...

    async def keep_unread(self, where: str, body: bytes) -> None:
        """Keep the bytes of an answer that came and cannot be used, beside the attempt.

        `where` says what was asked and what is wrong. The bytes must hold no key.
        """
        ...


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


def packaged_yaml(package: str, folder: str) -> dict[str, str]:
    """The texts of the YAML files that travel in a folder of a package, by their names without ending."""
    from importlib.resources import files  # slow to import, and not always needed

    return {
        file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8")
        for file in (files(package) / folder).iterdir()
        if file.name.endswith(".yaml")
    }


class _Remote:
    """What a service and a health gate of a sweep file have in common."""

    folder: Path = Path()
    """The folder of the sweep file: the files that its settings name are looked for there."""

    def secret(self, reference: str) -> str:
        """The key that a reference points to; raises UsageError, naming the reference, if none."""
        return resolve_secret(reference, self.folder)

    def notices(self) -> Sequence[str]:
        """What to know before requests leave, such as that they go through a proxy; sends nothing."""
        return ()


class Service(_Remote, ABC):
    """An evaluation API, seen through its adapter.

    Made without touching network or secrets; `async with service:` opens it, which sends nothing: it is
    tried before a run is written down, so that a missing key leaves nothing behind.
    """

    settings_model: ClassVar[type[ServiceSettings]]

    def __init__(self, settings: Any, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock

    @property
    @abstractmethod
    def identity(self) -> str:
        """Who is asked, in few words, such as the service's base URL; part of every job's key.

        What else decides answers is told by `JobKind.provenance`.
        """

    @property
    def address(self) -> str:
        """Where requests go: with the key, whose rates and quota they use. Spellings of a URL do not matter."""
        return self.identity

    @property
    def credential(self) -> str:
        """The reference of the key that is charged."""
        return ""

    @property
    def key(self) -> str:
        """The key that is charged, which names an account only as a hash; raises UsageError where there is none."""
        reference = self.credential
        return self.secret(reference) if is_reference(reference) else reference

    @classmethod
    def templates(cls) -> Mapping[str, str]:
        """Sweeps over the service to begin with, which `nightsweep init` writes: YAML texts by their names.

        Each is valid as it stands and begins with a comment that says in a few words what it is for. Its
        `name` is replaced by that of the file.
        """
        return {}

    @classmethod
    def advice_for(cls, kind: str) -> str | None:
        """What to write in place of an unknown `kind`, if this service can stand for it."""
        return None

    def mistakes(self) -> Mapping[str, str]:
        """What is wrong with settings, by their names, that only a look at files can tell.

        Asked when a sweep is read; nothing is sent.
        """
        return {}

    @classmethod
    def judging_again(
        cls, settings: ServiceSettings, judging: Mapping[str, Any], *, asks_missing: bool
    ) -> Mapping[str, Any]:
        """The settings, as a sweep file has them, of a run that judges replies which are kept.

        `judging` holds those that change. Nothing is asked but judges unless it `asks_missing` replies.
        Raises UsageError where the service judges its answers itself.
        """
        raise UsageError(f"{settings.kind} judges its answers itself: no reply can be judged again")

    @abstractmethod
    def kinds(self) -> Sequence[JobKind]:
        """The job kinds of this service."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    async def groups(self) -> Sequence[Group]:
        """The test-case groups that `groups: all` stands for."""
        return ()

    async def quota(self) -> Allotment | None:
        """The monthly quota of the key, where the service offers it."""
        return None

    async def accepts_key(self) -> bool | None:
        """Whether the service says that the key is valid; None where it has no such question.

        Asked before a run is stopped for a key that was refused; nothing that costs.
        """
        return None

    def price(self, role: str, endpoint: str, model: str) -> Price | None:
        """What the tokens of a model cost in a role, where the sweep file says so of that endpoint."""
        return None

    async def check(self) -> Sequence[Finding]:
        """Whether the service can be used: reached, key accepted, versions. Sends nothing that costs."""
        return ()

    async def check_models(self, models: Sequence[str], *, ask: bool) -> Sequence[Finding]:
        """Whether the models of a sweep, by the names of its lanes, would answer.

        With `ask`, each may be asked one short question, which may cost a little; without, nothing
        that costs is sent.
        """
        return ()


class HealthGate(_Remote, ABC):
    """Says whether a model can answer before its lane opens."""

    settings_model: ClassVar[type[BaseModel]]

    def __init__(self, settings: Any, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    @abstractmethod
    async def check(self, lane: str) -> Health:
        """Ask about one model once; raises JobError when no answer could be had."""
