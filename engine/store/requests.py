"""The values that the scheduler and the store exchange."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.core.lanes import LaneState
from engine.core.model import Answer
from engine.core.money import Usage
from engine.core.runs import WaitReason
from engine.core.states import AttemptOutcome, Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A rate row and its limit; without a limit, the row only has `blocked_until`.

    The lowest `rate_per_min` of all live processes applies to all. `pace_per_min`, which was learned from refusals,
    applies to this claim only.
    """

    name: str
    rate_per_min: int | None = None
    pace_per_min: int | None = None


@dataclass(frozen=True, slots=True, order=True)
class Blocked:
    """Until when a rate row is blocked, and whether the service named that time itself (Retry-After)."""

    until: float
    has_retry_after: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaKey:
    """A quota row: its name, and its period such as `2026-11`."""

    name: str
    period: str
    counts_requests: bool = False
    """Whether it counts requests and not tests: each job costs one."""
    is_own: bool = False
    """Whether it is the sweep's own cap, so that no job is sent that may exceed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneClaim:
    """A claim of up to `count` jobs of one lane, the first ones in its cost classes, within its rates."""

    lane: str
    classes: tuple[str, ...]
    count: int
    buckets: tuple[Bucket, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim over several lanes, in one transaction."""

    run_id: int
    worker_id: str
    service: str
    """The service's identity and evaluation, by which known costs are found."""
    now: float
    lead_s: float = 0.0
    """Seconds from now until the first slot of a rate, because the claim must commit before the slot can be used."""
    horizon_s: float
    """Seconds after that until the last slot."""
    lanes: tuple[LaneClaim, ...]
    quotas: tuple[QuotaKey, ...] = ()
    charged_by_reply: bool = False
    """Whether tests are charged when their replies are stored, and not with the job's answer."""
    lane_states: tuple[LaneState, ...] = ()
    """The lanes whose state has changed, to be shown to other processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A claimed job, held under `fence`; its request may start at `start_at`, or later by a small tolerance."""

    id: int
    fence: int
    attempt: int
    key: bytes
    lane: str
    cost_class: str
    labels: Mapping[str, Any]
    documents: Mapping[str, str]
    repeat: int
    start_at: float
    is_rated: bool
    """Whether `start_at` is a slot of a rate, which a late start would exceed."""
    expected_tests: int | None
    reserved: int | None
    """Tests reserved for it; None if no quota of tests applies."""
    is_alone: bool = False
    """Whether it holds all the quota that is left, because it may cost more or its cost is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """Tests that a reply opens, to be charged to its job; `quotas` are those that apply to the run."""

    job_id: int
    tests: int
    quotas: tuple[QuotaKey, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CallReply:
    """A reply to a call within a job, to be stored under the `digest` of what determines it."""

    run_id: int
    run_created_at: float
    """With `run_id`, distinguishes the run from those of other stores and from later runs with the same id."""
    digest: bytes
    response: bytes
    recorded_at: float
    charge: Charge | None = None
    took: tuple[Usage, ...] = ()
    """The usage of each request of the call; the last one gave the response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneGrant:
    """The jobs that a lane was granted at `asked_at`; `next_at` and `why` say when to ask again and what it waits for."""

    lane: str
    asked_at: float
    jobs: tuple[Claimed, ...] = ()
    next_at: float | None = None
    why: WaitReason = WaitReason.QUEUED
    empty_classes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of one attempt."""

    job_id: int
    run_id: int
    fence: int
    event: Event
    attempt_outcome: AttemptOutcome
    ended_at: float
    service: str
    cost_class: str
    reserved: bool = False
    """Whether quota was reserved for the attempt."""
    answer: Answer | None = None
    most_tests: int | None = None
    """The most that any answer of the class can cost, as this answer shows; None if it does not."""
    provenance: str | None = None
    """The digest of what determined the answer."""
    charged: bool = True
    """Whether the attempt may have cost quota; False releases what was reserved for it."""
    sent: bool = True
    """Whether a request may have left; False releases the request that was reserved for it."""
    keeps_attempt: bool = True
    """Whether the attempt counts against the limit of attempts; False gives it back."""
    due_at: float = 0.0
    status: int | None = None
    error: str | None = None
    detail: str | None = None
    blocked: Mapping[str, Blocked] = field(default_factory=dict)
    """Rate rows that no process may use before a time, because the service refused a request as too many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A row of `job` as the matrix asks for it."""

    key: bytes
    family: bytes | None
    """The key without the threshold: jobs of one family can serve each other's cells."""
    lane: str
    cost_class: str
    expected_tests: int | None
    labels: Mapping[str, Any]
    documents: Mapping[str, str]
    repeat: int
    place: int
    """The position of the job in the file, among the jobs of its repeat."""
    threshold: float | None
    cells: tuple[float, ...]
    """The thresholds that it answers."""
    provenance: str
    """The digest of what would determine its answer; only answers with the same digest are reused."""
    folds: bool = True
    """Whether existing answers of its family serve its cells; if not, it measures each cell itself."""
    past_cells: tuple[float, ...] = ()
    """The thresholds that only earlier sweeps asked of it."""
