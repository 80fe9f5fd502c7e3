"""The values that pass between the engine and the jobs."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from engine.core.listed_tests import Listing
from engine.core.policy import UnansweredPolicy
from engine.core.values import Value

_UNANSWERED = UnansweredPolicy()

TARGET = "target"
"""The name under which calls go to the model of a job's lane."""


class Sends(Enum):
    """What leaves this process when a job runs, which is what counts as a request.

    Rates, `limits.requests` and windows bind that: the job itself, its calls, or nothing.
    """

    JOB = "job"
    """The job itself, once: its claim takes a start within the rates."""
    CALLS = "calls"
    """Calls, each of which waits for a permit; the claim takes nothing."""
    NOTHING = "nothing"
    """Nothing: the job is done in this process, and no rate applies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimit:
    """The limits of an endpoint; endpoints with the same name share them.

    `tokens` is the most that one reply may take. A limit of None does not apply.
    """

    name: str
    rate_per_min: int | None = None
    tokens_per_min: int | None = None
    tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The numbers read from one answer.

    `passed` and `failed` count at the job's own threshold. `scores` are the safety scores in 0..1 of
    at least everything below that threshold, ascending; None if the evaluation has no scores. `tests`
    is the cost in quota, for jobs that are charged as a whole. `unanswered` counts questions without
    an answer, by reason; no other number includes them. `cases` is the number of cases before any
    further layers, if the answer says so: see `JobKind.most_tests`. `listing` has the tests that the
    answer lists; without it, each test is taken for the one answer to a case without a name. `values`
    are further columns of the answer's rows; their names are identifiers that no other column has, and
    None is unknown.

    Example:
        >>> @job
        ... def check_length(text: str) -> Measurement:
        ...     is_short = len(text) < 10
        ...     length = {"length": len(text)}
        ...     return Measurement(passed=int(is_short), failed=int(not is_short), values=length)
        >>> checked = Sweep("checked", check_length, matrix={"text": ["Hi", "Hello, world"]})
        >>> [row.failure_rate for row in checked.run("other.db", progress=False).rows()]
        [0.0, 1.0]
    """

    passed: int
    failed: int
    tests: int = 0
    scores: tuple[float, ...] | None = None
    note: str | None = None
    unanswered: Mapping[str, int] = field(default_factory=dict)
    cases: int | None = None
    listing: Listing | None = None
    values: Mapping[str, Value | None] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """The number of measured questions, passed or failed."""
        return self.passed + self.failed

    @property
    def questions(self) -> int:
        """The number of questions that were asked, answered or not."""
        return self.total + sum(self.unanswered.values())

    def failed_at(self, threshold: float) -> int:
        """The number of failures at another threshold, at most the measured one.

        A score below the threshold is a failure. Only for measurements with scores.
        """
        assert self.scores is not None, "only scored answers can be read at another threshold"
        return count_failed(self.scores, threshold)


def count_failed(scores: Sequence[float], threshold: float) -> int:
    """The number of these ascending scores that are below a threshold, and so failures."""
    return bisect_left(scores, threshold)


def describe_reasons(unanswered: Mapping[str, int]) -> str:
    """The reasons with their counts, in the given order, such as `moderated 2, empty 1`; empty without any."""
    return ", ".join(f"{reason} {count:,}" for reason, count in unanswered.items())


def counted_unanswered(unanswered: Mapping[str, int], answered: int) -> str:
    """Say how many of an evaluation's questions have no answer, and why; `answered` is the number of the others."""
    count = sum(unanswered.values())
    return (
        f"{count:,} of {answered + count:,} questions unanswered ({describe_reasons(unanswered)})"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The result of a job: `raw`, the answer's bytes, and `measurement`, the numbers in it.

    The bytes are kept whole in the store, so that numbers can be traced and read again. They must not contain
    a key.
    """

    raw: bytes
    measurement: Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One unit of work, as it is passed to its coroutine.

    By each axis' field, `parameters` has what is sent (a prompt's text) and `labels` what rows show
    (its name). `key` is the job's identity (64 hexadecimal digits); `attempt` counts from 1 to
    `attempts`. `unanswered` is the policy on questions without an answer. `waits_out_outages` says
    that an attempt that finds the service away is repeated once it is back, even the last one.
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
        """Whether no attempt follows this one."""
        return self.attempt >= self.attempts


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A test-case group that a service offers."""

    name: str
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Allotment:
    """A service's monthly quota of tests: `used` of `allotted`, as the service reports it."""

    used: int
    allotted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The verdict of a health gate on one model: whether it can answer, and what was found.

    `message` is shown for a lane that waits because its model is unhealthy.
    """

    healthy: bool
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of `nightsweep check`: what was checked, whether it is right, and what was found.

    `data` has further facts for `--json`. The exit code is 1 if any check is not `ok`.
    """

    name: str
    ok: bool
    message: str
    data: Mapping[str, Any] = field(default_factory=dict)
