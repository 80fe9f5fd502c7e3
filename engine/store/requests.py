"""What the scheduler asks of the store, and what it is told: plain values."""

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
    """A rate row by name, and its limit; without one the row only carries `blocked_until`.

    The lowest `rate_per_min` that a live process was given holds for all; `pace_per_min`, which was learnt
    from refusals, holds for this claim alone.
    """

    name: str
    rate_per_min: int | None = None
    pace_per_min: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaKey:
    """A quota row: whose it is and for which period, such as `2026-11`."""

    name: str
    period: str
    counts_requests: bool = False
    """A cap on requests: each job costs one, whatever tests it makes."""
    is_own: bool = False
    """A cap of the sweep's: nothing is sent that may exceed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneClaim:
    """Up to `count` jobs of one lane, the first ones of its cost classes, within its rates."""

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
    """Whose known costs apply: the service's identity and evaluation."""
    now: float
    lead_s: float = 0.0
    """How far ahead of now the first slot of a rate is taken: what it takes until it can be used."""
    horizon_s: float
    """How far after that the last one may be."""
    lanes: tuple[LaneClaim, ...]
    quotas: tuple[QuotaKey, ...] = ()
    charged_by_reply: bool = False
    """Whether tests are charged as their replies are kept, and not with the job's answer."""
    lane_states: tuple[LaneState, ...] = ()
    """What lanes wait for, where that has changed: for other processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A job that is now ours under `fence`; its request may start within a guard of `start_at`."""

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
    """Whether a rate gave it this start: late, it would be one too many."""
    expected_tests: int | None
    reserved: int | None
    """Tests that are held for it; None where no quota of tests applies."""
    is_alone: bool = False
    """Whether it holds all that is left: it may cost more, or nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """Tests that a reply opens, for its job; `quotas` are those that apply to the run."""

    job_id: int
    tests: int
    quotas: tuple[QuotaKey, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CallReply:
    """A reply to a call within a job, to be kept under the `digest` of what decides it."""

    run_id: int
    run_created_at: float
    """With `run_id`, tells the run from those of other stores, and from later ones of the same id."""
    digest: bytes
    response: bytes
    recorded_at: float
    charge: Charge | None = None
    took: tuple[Usage, ...] = ()
    """What each request of the call took; the last one gave the response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneGrant:
    """What a lane got at `asked_at`; `next_at` and `why` say when asking again makes sense, and what it waits for."""

    lane: str
    asked_at: float
    jobs: tuple[Claimed, ...] = ()
    next_at: float | None = None
    why: WaitReason = WaitReason.QUEUED
    empty_classes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one attempt came to, to be recorded once and for all."""

    job_id: int
    run_id: int
    fence: int
    event: Event
    attempt_outcome: AttemptOutcome
    ended_at: float
    service: str
    cost_class: str
    reserved: bool = False
    """Whether quota was held for the attempt."""
    answer: Answer | None = None
    most_tests: int | None = None
    """The most that any answer of the class may cost, as this one tells."""
    provenance: str | None = None
    """The digest of what decided the answer."""
    charged: bool = True
    """Whether the attempt may have cost quota; False gives back what was reserved for it."""
    sent: bool = True
    """Whether a request may have left; False gives back the one that was reserved for it."""
    keeps_attempt: bool = True
    """False gives the attempt back: nobody's fault."""
    due_at: float = 0.0
    status: int | None = None
    error: str | None = None
    detail: str | None = None
    blocked: Mapping[str, float] = field(default_factory=dict)
    """Rate rows that nobody may use before a time: Retry-After, for all processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A row of `job` as the matrix asks for it.

    `cells` are the thresholds that it answers, `past_cells` those that an earlier sweep asked of it. Within a family (the key without the threshold) answers
    that are here already serve the cells that they can, unless `folds` is False: then each cell has to
    be measured by the job that asks for it. `provenance` is the digest of what would decide its answer:
    only an answer of another run that has the same is reused. `place` is where the file has the job among
    those of its repeat.
    """

    key: bytes
    family: bytes | None
    lane: str
    cost_class: str
    expected_tests: int | None
    labels: Mapping[str, Any]
    documents: Mapping[str, str]
    repeat: int
    place: int
    threshold: float | None
    cells: tuple[float, ...]
    provenance: str
    folds: bool = True
    past_cells: tuple[float, ...] = ()
