"""What a person or a script is told about a run: plain values, derived from rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.core.error_kinds import ErrorKind
from engine.core.lanes import LaneState
from engine.core.money import CostEstimate, Spending
from engine.core.rows import Coverage
from engine.core.runs import RunState, StopReason, WaitReason


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """One line of `nightsweep runs`. Times are seconds since the Unix epoch."""

    name: str
    service: str
    evaluation: str
    state: RunState
    reason: StopReason | None
    created_at: float
    updated_at: float
    jobs: Mapping[str, int]
    lanes: tuple[LaneState, ...] = ()
    """What its lanes wait for, as the other processes that work on it have last reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Jobs that could be sent but for `why`; `detail` is what was said of that, the cause first.

    `until` is when they can be sent as far as that is known, and `zone` the one that the sweep tells it in.
    """

    lane: str
    why: WaitReason
    jobs: int
    until: float | None = None
    zone: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaStatus:
    """Tests used, held for what is in flight, and allotted in the period."""

    name: str
    period: str
    used: int
    reserved: int
    allotted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOver:
    """Answers that another run of the store was given, and that serve here as well."""

    run: str | None
    """None for one that was deleted since."""
    cells: int
    answered_at: float
    """When the latest of them came, in seconds since the Unix epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What one execution of a run in this process did."""

    began_at: float
    """In seconds since the Unix epoch."""
    cells_before: int
    """Cells that the run itself had an answer to when it began."""
    attempts: int = 0
    """Jobs that were sent, one that was tried again counted each time."""
    calls: int = 0
    """Calls within jobs that were to be made, whatever became of them."""
    replies_kept: int = 0
    """Replies that were there before it began, and needed not be asked for; each counts once."""
    replies_asked: int = 0
    """Replies that were asked for, and came."""

    @property
    def has_sent(self) -> bool:
        """Whether anybody was asked for anything."""
        return self.calls > 0 or (self.attempts > 0 and self.replies_kept == 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One look at a run. Job counts are by state; cell counts by what the user asked about."""

    run: str
    state: RunState
    reason: StopReason | None
    message: str
    """What stands in the way and what to do, for people; empty when nothing does."""
    resume_at: float | None
    cells: int
    cells_done: int
    """Cells with an answer."""
    cells_failed: int
    """Cells whose job has failed or was cancelled, or whose answer lacks more questions than may be."""
    jobs: Mapping[str, int]
    """pending, running, waiting, succeeded, failed, cancelled."""
    tests_passed: int
    """Tests that passed at `threshold`, each counted once; as the rows of that threshold say."""
    tests_failed: int
    requests_per_min: float | None
    """Requests started in the last 60 s; None where none leaves this process."""
    rate_per_min: int | None
    """The service key's limit: the lowest that any process at work was given for it."""
    seconds_left: float | None
    """Estimate from whichever limit binds; None while nothing is known."""
    binding: str
    """The limit that `seconds_left` was computed from; empty where nothing is left or known."""
    waiting: tuple[Waiting, ...] = ()
    quotas: tuple[QuotaStatus, ...] = ()
    errors: tuple[ErrorKind, ...] = ()
    """The most frequent kinds of errors that jobs failed with."""
    expanding: bool = False
    """True while cells are still being written to the store."""
    cells_cancelled: int = 0
    """Those of `cells_failed` whose job was cancelled."""
    at: float = 0.0
    """When this was looked at, in seconds since the Unix epoch."""
    judge: str = ""
    """Who says what passed; empty for the service itself."""
    identity: str | None = None
    """16 hexadecimal digits of what decides the answers; None where an earlier version began the run."""
    accepted: tuple[str, ...] = ()
    """What was accepted that changed what decides the answers, in words: they are of several versions."""
    tests_unanswered: Mapping[str, int] = field(default_factory=dict)
    """Questions without an answer in what was answered, by reason, counted like the tests."""
    questions_answered: int | None = None
    """Questions of the run that have an answer, those of jobs in flight included; None while another process
    works on it, which alone knows those."""
    questions: int | None = None
    """Questions of the jobs that are answered or to come; None where a job does not say how many it asks."""
    spending: tuple[Spending, ...] = ()
    """What the calls of the run took and cost, by role and model; replies of other runs cost nothing."""
    threshold: float | None = None
    """The highest threshold that the sweep has for all: tests are counted there. None without thresholds."""
    cells_past: int = 0
    """Cells that only an earlier version of the sweep asked for: in none of the other counts."""
    unattended: bool = False
    """True if no process is working on the run: what was in flight waits for `resume`."""
    is_rate_of_others: bool = False
    """True if `rate_per_min` was given to another process, which works with the same key, and not by the sweep."""
    model_rates_of_others: Mapping[str, int] = field(default_factory=dict)
    """Rates per minute of lanes that another process was given, where they are lower than the sweep's, by lane."""
    trouble: str = ""
    """Why nothing can be saved at present, such as a full disk; empty while all is well."""
    trouble_since: float | None = None
    """Since when that is so, in seconds since the Unix epoch."""
    taken_over: tuple[TakenOver, ...] = ()
    """The cells whose answer was given to another run, by that run."""
    cells_outdated: int = 0
    """Cells of a run that was asked afresh which keep their answer from before: asking again failed."""
    fresh_at: float | None = None
    """From when on answers and replies count, where everything was asked again."""
    session: Session | None = None
    """What this process did in its last execution of the run; None where it has not executed it."""

    @property
    def coverage(self) -> Coverage:
        """Its cells by what is known of them."""
        return Coverage(
            answered=self.cells_done,
            failed=self.cells_failed - self.cells_cancelled,
            cancelled=self.cells_cancelled,
            to_come=self.cells - self.cells_done - self.cells_failed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A copy of a store that was made, and what it holds. `taken_at` is in seconds since the Unix epoch."""

    store: str
    path: str
    taken_at: float
    bytes: int
    runs: int
    answers: int
    in_flight: int
    """Jobs that were in flight: they are sent again when the copy is resumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """A run that was deleted, and what went with it."""

    run: str
    jobs: int
    answers: int
    answers_kept: int
    """Answers that stay because other runs reuse them."""
    documents: int
    bytes: int
    """Space in the store's file that new answers use; `prune` gives it back to the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was removed from a store because no run refers to it."""

    documents: int
    workers: int
    bytes: int
    """By how much the store's file has become smaller."""
    compacted: bool
    """False if the file was left as large as it is: another process works on the store."""
    deleted: tuple[Deleted, ...] = ()
    """Runs whose deletion had been cut short, and what was left of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a store holds of a sweep already. The cells of all fields together are those of the sweep."""

    cells_answered: int
    """Cells that the run of its name has an answer to."""
    cells_failed: int
    """Cells that failed there: not asked for before `retry` puts them back in line."""
    cells_cancelled: int
    """Cells that were cancelled there: not asked for before `retry --cancelled` puts them back in line."""
    taken_over: tuple[TakenOver, ...]
    """Cells that would be answered from other runs."""
    left: "Plan"
    """What is still to be asked; its `money` is not told."""
    has_replies: bool
    """Whether replies of earlier calls are kept, which may make it less."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held."""
        return not (
            self.cells_answered or self.cells_failed or self.cells_cancelled or self.taken_over
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a sweep would ask for, before anything is sent."""

    sweep: str
    cells: int
    jobs: int
    jobs_unfolded: int
    """Jobs without folding: `jobs_unfolded - jobs` requests are saved."""
    requests: int
    """The most requests that the sweep sends, retries aside."""
    expected_tests: int | None
    """Quota that the sweep needs; None while the service alone knows its cost."""
    hours: float | None
    """At the limits of the file; None without a rate limit."""
    binding: str
    """The limit that takes longest, or the cap that ends the run before its time."""
    lanes: Mapping[str, int] = field(default_factory=dict)
    """Jobs per lane."""
    unknown: tuple[str, ...] = ()
    """What could not be known without the network, such as `groups: all`."""
    calls: Mapping[str, int] = field(default_factory=dict)
    """The requests by whom they go to, where a job asks several."""
    money: tuple[CostEstimate, ...] = ()
    """What the calls may cost, by role and model; of those alone whose price or cost is known."""
    questions: int = 0
    """The most that are asked of a model in this process: no requests."""
    is_cut_short: bool = False
    """Whether `binding` is a cap that is used up before the last cell is answered."""
    starts_at: float | None = None
    """When the run is taken to start, in seconds since the Unix epoch; None for a plan that was made without a clock."""
    finish_at: float | None = None
    """When it is done if it starts then, at the earliest; None without a rate, or where it is cut short."""
    window: str = ""
    """The hours in which requests start, such as `22:00-07:00 Europe/Berlin`; empty for all."""
    deadline: float | None = None
    """After which nothing starts; None without one."""
    tests_learnt: bool = False
    """Whether `expected_tests` is what earlier answers cost, and not the most that the kind can cost."""
    most_tests: int | None = None
    """The most that the sweep may cost in quota; None where nobody can tell."""
    most_tests_of_one: int | None = None
    """The most that one of its jobs may cost, which is held for each that is in flight; None where nobody can tell."""
    held: Held | None = None
    """What the store holds of it, and what is left; None without a store, or where that cannot be known."""
