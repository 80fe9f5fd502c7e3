"""The values that pass between the engine and the jobs."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from engine.core.policy import UnansweredPolicy
from engine.core.values import Value

_UNANSWERED = UnansweredPolicy()

TARGET = "target"
"""By which name calls go to the model of a job's lane."""


class Sends(Enum):
    """What reaches somebody else's server when a job runs: what a *request* of its kind is."""

    JOB = "job"
    """The job itself, once: its claim takes a start within the rates."""
    CALLS = "calls"
    """Calls, each of which waits for a permit; the claim takes nothing."""
    NOTHING = "nothing"
    """All is done in this process: no rate ever binds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimit:
    """What an endpoint allows the calls that go to it, under a name that others may share.

    `tokens` is the most that the reply to one call may take. A limit that is None does not bind.
    """

    name: str
    rate_per_min: int | None = None
    tokens_per_min: int | None = None
    tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The numbers read from one answer.

    `passed + failed` is what was measured at the job's own threshold. `scores` are the safety scores
    in 0..1 of everything below that threshold at least, ascending; None where the evaluation has no
    scores. `tests` is what the answer cost in quota where a job is charged as a whole. `unanswered` counts the questions that have no
    answer, by reason; they are in none of the other numbers. `cases` is how many the evaluation began with, where
    it went on to further layers and the answer tells: see `JobKind.most_tests`. `values` are whatever else is to stand
    in the rows of the answer, by names that are identifiers and no other column's; None is not known.
    """

    passed: int
    failed: int
    tests: int
    scores: tuple[float, ...] | None = None
    note: str | None = None
    unanswered: Mapping[str, int] = field(default_factory=dict)
    cases: int | None = None
    values: Mapping[str, Value | None] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All that was measured, passed or failed."""
        return self.passed + self.failed

    @property
    def questions(self) -> int:
        """All that was asked, answered or not."""
        return self.total + sum(self.unanswered.values())

    def failed_at(self, threshold: float) -> int:
        """How many fail at a threshold no higher than the measured one: score < threshold."""
        assert self.scores is not None, "only scored answers can be read at another threshold"
        return bisect_left(self.scores, threshold)


def describe_reasons(unanswered: Mapping[str, int]) -> str:
    """Reasons with their counts, such as `moderated 2, empty 1`."""
    return ", ".join(f"{reason} {count:,}" for reason, count in unanswered.items())


def counted_unanswered(unanswered: Mapping[str, int], answered: int) -> str:
    """How many questions of an evaluation have no answer, and why."""
    count = sum(unanswered.values())
    return (
        f"{count:,} of {answered + count:,} questions unanswered ({describe_reasons(unanswered)})"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a succeeded job returns: the raw bytes, kept whole, and the numbers read from them."""

    raw: bytes
    measurement: Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One unit of work as its coroutine sees it.

    `parameters` maps each axis' field to what is sent (a prompt's text, not its name); `labels` maps
    it to what rows show. `key` is the job's identity (64 hex digits), `attempt` counts from 1 to
    `attempts`. `unanswered` says how many questions may have no answer in the end; `waits_out_outages`, that
    an attempt which finds the service away is made again when it is back, be it the last one.
    """

    id: int
    key: str
    run: str
    parameters: Mapping[str, Any]
    labels: Mapping[str, Any]
    repeat: int
    attempt: int
    attempts: int = 1
    unanswered: UnansweredPolicy = _UNANSWERED
    waits_out_outages: bool = False

    @property
    def is_last_attempt(self) -> bool:
        """Whether there is no other attempt after this one."""
        return self.attempt >= self.attempts


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A test-case group that a service offers."""

    name: str
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Allotment:
    """A service's monthly quota of tests: `used` of `allotted`."""

    used: int
    allotted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What a health gate says of one model."""

    healthy: bool
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of `nightsweep check`: what was looked at, whether it is right, what was seen."""

    name: str
    ok: bool
    message: str
    data: Mapping[str, Any] = field(default_factory=dict)
