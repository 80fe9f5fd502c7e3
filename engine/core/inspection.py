"""Plain values that describe single jobs, for finding out why a run is stuck."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from engine.core.states import AttemptOutcome, State


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Selects events of a run for `Run.all_events`; without conditions, all.

    An event must meet every condition; `kinds` are EventKinds or words of a job kind's own.

    Example:
        >>> async def main() -> object:
        ...     async with open_engine("halves.db") as engine:
        ...         run = await engine.run("halves")
        ...         wanted = EventFilter(kinds=("interrupted",), lane="a*")
        ...         return [event.message async for event in run.all_events(wanted)]
        >>> anyio.run(main)
        []
    """

    kinds: tuple[str, ...] = ()
    lane: str | None = None
    """A pattern with `*` and `?`, in any case; an event without a lane matches none."""
    since: float | None = None
    """Not before this time, in seconds since the Unix epoch."""
    until: float | None = None
    """Before this time, in seconds since the Unix epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInfo:
    """One job of a run, as `nightsweep jobs` lists it. Times are seconds since the Unix epoch.

    Example:
        >>> [(info.labels["number"], str(info.state)) for info in run.jobs()]
        [(1, 'succeeded'), (2, 'succeeded'), (3, 'succeeded')]
    """

    id: int
    """Its number in the store, by which `Run.job` and `nightsweep show` find it."""
    key: str
    """The digest of what it asks, as 64 hexadecimal digits: equal in every run and store."""
    state: State
    lane: str
    labels: Mapping[str, Any]
    """The evaluation's axes by field, in the order of the kind, then `repeat`."""
    cells: tuple[float, ...]
    """The thresholds that it answers; empty if the evaluation has none."""
    asked: bool | None
    """Whether the sweep asks for it; None while that is unknown after a change of the sweep."""
    attempts: int
    """Attempts that count against the sweep's `retry.attempts`."""
    due_at: float | None
    """When a waiting job may be sent again; None for other states."""
    outcome: AttemptOutcome | None
    """The outcome of its last attempt; None if it was never sent."""
    status: int | None
    """The HTTP status of the last attempt."""
    sent_at: float | None
    """When the last attempt was sent."""
    ended_at: float | None
    """When the last attempt ended; None while it is in flight."""
    error: str | None
    """The last error; None if there was none, or if the job was answered since."""
    error_kind: str | None
    """The error without numbers and ids, by which `status` counts causes."""
    detail: str | None
    """The service's explanation of the error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Selects jobs for `Run.jobs`; without conditions, all that the sweep asks for.

    A job must meet every condition.

    Example:
        >>> [info.labels["number"] for info in run.jobs(JobFilter(where={"number": "3"}))]
        [3]
    """

    states: Collection[State] = ()
    where: Mapping[str, str] = field(default_factory=dict)
    """Patterns by the field of an axis, such as `{"model": "anthropic/*"}`, or by `lane`; with `*` and `?`, in any case."""
    error: str = ""
    """A part of the error, its kind or its detail, in any case."""
    past: bool = False
    """Whether to include jobs that only an earlier version of the sweep asked for."""

    def wants(self, job: JobInfo) -> bool:
        """Whether a job meets the conditions on its labels and its error; `states` are not checked."""
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
    return any(is_like(value, pattern) for value in values)


def is_like(value: Any, pattern: str) -> bool:
    """Whether a label or lane is like a pattern of `JobFilter.where`."""
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
    """One attempt at a job. Times are seconds since the Unix epoch.

    Example:
        >>> job_id = next(run.jobs()).id
        >>> [str(attempt.outcome) for attempt in run.job(job_id).attempts]
        ['succeeded']
    """

    number: int
    """Ascending over the attempts of a job, possibly with gaps."""
    sent_at: float
    ended_at: float | None
    """None while it is in flight."""
    outcome: AttemptOutcome
    status: int | None
    """The HTTP status of the reply, if there was one."""
    error: str | None
    detail: str | None
    """The service's explanation of the error."""
    worker: str
    """The process that sent it: its host and number, or its id once the store has deleted those."""

    @property
    def duration_s(self) -> float | None:
        """Its duration in seconds; None while it is in flight."""
        return None if self.ended_at is None else max(0.0, self.ended_at - self.sent_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadReply:
    """A reply that could not be read as an answer; it is kept because it was paid for.

    Example:
        >>> run.job(next(run.jobs()).id).unread
        ()
    """

    attempt: int
    """The number of the attempt that received it."""
    at: float
    """When it was received, in seconds since the Unix epoch."""
    place: str
    """What it is the reply to, in words."""
    size: int
    """Its size in bytes; `raw` may be only its beginning."""
    raw: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """The numbers of a job's answer, at the threshold that was sent.

    Example:
        >>> run.job(next(run.jobs()).id).result.values
        {'value': 0.5}
    """

    passed: int
    failed: int
    tests: int
    """The cost of the answer in quota."""
    unanswered: Mapping[str, int]
    """Questions without an answer, by reason."""
    values: Mapping[str, Any]
    """Further values of the job kind, by name."""
    note: str | None
    recorded_at: float
    """When it was stored, in seconds since the Unix epoch."""
    reused_from: int | None
    """The job of another run whose answer was reused; None for an answer of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDetails:
    """Everything that a store knows about one job, as `Run.job` and `nightsweep show` give it.

    Example:
        >>> details = run.job(next(run.jobs()).id)
        >>> details.run, details.job.labels["number"], len(details.attempts)
        ('halves', 1, 1)
    """

    run: str
    job: JobInfo
    documents: Mapping[str, Any]
    """Its prompt and other documents in full, by field."""
    attempts: tuple[Attempt, ...]
    """All attempts, in order."""
    result: JobResult | None
    answer: bytes | None = field(repr=False)
    """The answer as it was received; None without one."""
    is_in_side_file: bool
    """Whether the answer is in a side file, as after a full disk; the next `resume` moves it to the store."""
    unread: tuple[UnreadReply, ...]
    """Replies that could not be read, in order."""
