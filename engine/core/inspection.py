"""Plain values that describe single jobs, for finding out why a run is stuck."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from engine.core.states import AttemptOutcome, State


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events of a run are wanted; without conditions, all."""

    kinds: tuple[str, ...] = ()
    lane: str | None = None
    """A pattern with `*` and `?` in any case; events of no lane match none."""
    since: float | None = None
    """Not before this time, in seconds since the Unix epoch."""
    until: float | None = None
    """Before this time, in seconds since the Unix epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInfo:
    """One job of a run, as `nightsweep jobs` lists it. Times are seconds since the Unix epoch."""

    id: int
    """Its number in the store, by which `Run.job` and `nightsweep show` find it."""
    key: str
    """What it asks for, as 64 hexadecimal digits: equal in every run and store that asks for the same."""
    state: State
    lane: str
    labels: Mapping[str, Any]
    """The evaluation's axes by field, in the order of the kind, then `repeat`."""
    cells: tuple[float, ...]
    """The thresholds that it answers; empty where the evaluation has none."""
    asked: bool | None
    """Whether the sweep asks for it; None as long as that is not known of a sweep that has changed."""
    attempts: int
    """Attempts that count against the sweep's `retry.attempts`."""
    due_at: float | None
    """When a waiting job may be sent again; None for other states."""
    outcome: AttemptOutcome | None
    """What its last attempt came to; None where it was never sent."""
    status: int | None
    """The HTTP status of the last attempt."""
    sent_at: float | None
    """When the last attempt was sent."""
    ended_at: float | None
    """When the last attempt ended; None while it is in flight."""
    error: str | None
    """What last went wrong; None where nothing did, or where it was answered since."""
    error_kind: str | None
    """The same without numbers and ids, which is how `status` counts causes."""
    detail: str | None
    """What the service said to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs are wanted; without conditions, all that the sweep asks for."""

    states: Collection[State] = ()
    where: Mapping[str, str] = field(default_factory=dict)
    """Patterns by the field of an axis, such as `{"model": "anthropic/*"}`, or by `lane`; with `*` and `?`, in any case."""
    error: str = ""
    """A part of the error, its kind or its detail, in any case."""
    past: bool = False
    """Also those that only an earlier version of the sweep asked for."""

    def wants(self, job: JobInfo) -> bool:
        """Whether a job meets the conditions on its labels and its error; the states are not looked at."""
        return all(_matches(job, name, text) for name, text in self.where.items()) and (
            not self.error or self._has_error(job)
        )

    def _has_error(self, job: JobInfo) -> bool:
        wanted = self.error.casefold()
        return any(
            wanted in text.casefold() for text in (job.error, job.error_kind, job.detail) if text
        )


def _matches(job: JobInfo, name: str, pattern: str) -> bool:
    values: tuple[Any, ...] = (job.lane,) if name == "lane" else (job.labels.get(name),)
    if name == "threshold" and job.cells:
        values = job.cells
    return any(_is_like(value, pattern) for value in values)


def _is_like(value: Any, pattern: str) -> bool:
    if isinstance(value, bool):
        # As it is shown.
        return pattern.lower() == str(value).lower()
    if isinstance(value, int | float):
        try:
            return float(value) == float(pattern)
        except ValueError:
            return False
    text = "" if value is None else str(value)
    # Only `*` and `?` are special, as in patterns of lanes: names of models have brackets, too.
    return fnmatchcase(text.casefold(), pattern.casefold().replace("[", "[[]"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt at a job. Times are seconds since the Unix epoch."""

    number: int
    """It rises from attempt to attempt of a job; not every number is used."""
    sent_at: float
    ended_at: float | None
    """None while it is in flight."""
    outcome: AttemptOutcome
    status: int | None
    """The HTTP status that it got, where there was one."""
    error: str | None
    detail: str | None
    """What the service said."""
    worker: str
    """The process that sent it: its host and number, or its id once the store has forgotten those."""

    @property
    def duration_s(self) -> float | None:
        """How long it took in seconds; None while it is in flight."""
        return None if self.ended_at is None else max(0.0, self.ended_at - self.sent_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadReply:
    """What a service sent that could not be read as an answer; it is kept because it was paid for."""

    attempt: int
    """The number of the attempt that it came to."""
    at: float
    """When it came, in seconds since the Unix epoch."""
    place: str
    """What it was the reply to, in words."""
    size: int
    """Its size in bytes; `raw` may be only its beginning."""
    raw: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """The numbers of a job's answer, at the threshold that was sent."""

    passed: int
    failed: int
    tests: int
    """What the answer cost in quota."""
    unanswered: Mapping[str, int]
    """Questions without an answer, by reason."""
    values: Mapping[str, Any]
    """What the job kind measured besides, by name."""
    note: str | None
    recorded_at: float
    """When it was kept, in seconds since the Unix epoch."""
    reused_from: int | None
    """The job of another run whose answer this is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDetails:
    """All that a store knows of one job."""

    run: str
    job: JobInfo
    documents: Mapping[str, Any]
    """Its prompt and other documents in full, by field."""
    attempts: tuple[Attempt, ...]
    """Every attempt, the first one first."""
    result: JobResult | None
    answer: bytes | None = field(repr=False)
    """The answer as it came; None where there is none."""
    is_in_side_file: bool
    """Whether the answer is not in the store yet, such as after a full disk: the next `resume` takes it in."""
    unread: tuple[UnreadReply, ...]
    """Replies that could not be read, the first one first."""
