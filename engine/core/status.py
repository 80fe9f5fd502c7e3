"""The status of runs, stores and plans, for users and scripts: plain values, derived from rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.core.error_kinds import ErrorKind
from engine.core.lanes import LaneState
from engine.core.money import CostEstimate, Spending
from engine.core.pages import facts_html, lines_of
from engine.core.rows import Coverage
from engine.core.runs import RunState, StopReason, WaitReason


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """One run of a store, as `nightsweep runs` lists it. Times are seconds since the Unix epoch.

    `jobs` are counted by state; `reason` says why the run last stopped before it was finished.

    Example:
        >>> async def main() -> object:
        ...     async with open_engine("halves.db") as engine:
        ...         [info] = await engine.runs()
        ...         return info.name, str(info.state), info.jobs["succeeded"]
        >>> anyio.run(main)
        ('halves', 'finished', 3)
    """

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
    """Jobs of a lane that could be sent if it were not for `why`; `detail` explains it, the cause first.

    `until` is when they can be sent, in seconds since the Unix epoch, None if unknown; `zone` is the time
    zone of the sweep's window.
    """

    lane: str
    why: WaitReason
    jobs: int
    until: float | None = None
    zone: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaStatus:
    """A quota in one period, such as `2026-11`, in tests: used, reserved for jobs in flight, and allotted.

    Nothing is sent that could make `used` and `reserved` together exceed `allotted`.
    """

    name: str
    period: str
    used: int
    reserved: int
    allotted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReusedAnswers:
    """Answers to another run of the store that are reused here."""

    run: str | None
    """None if that run was deleted since."""
    cells: int
    answered_at: float
    """When the latest of them arrived, in seconds since the Unix epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One execution of a run in this process: what was there before, and what it asked for."""

    began_at: float
    """In seconds since the Unix epoch."""
    cells_before: int = 0
    """Cells of the run that had an answer when the session began."""
    attempts: int = 0
    """Jobs that were sent; a retried job counts each time."""
    calls: int = 0
    """Calls that jobs made or tried to make."""
    replies_kept: int = 0
    """Replies kept from before the session, which were not asked for again; each counts once."""
    replies_asked: int = 0
    """Replies that were asked for and received."""

    @property
    def has_sent(self) -> bool:
        """Whether any request was sent, which is not the case if all answers were there already."""
        return self.calls > 0 or (self.attempts > 0 and self.replies_kept == 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The status of a run at one moment, counted from the rows of the store.

    Jobs are counted by state, cells by what is known of them, and tests at one threshold. Times are seconds
    since the Unix epoch; what is unknown is None.

    Example:
        >>> status = run.status()
        >>> status.cells_done, status.cells, status.jobs["failed"]
        (3, 3, 0)
    """

    run: str
    state: RunState
    reason: StopReason | None
    message: str
    """What prevents the run from continuing, and what to do; empty if nothing does."""
    resume_at: float | None
    cells: int
    cells_done: int
    """Cells with an answer."""
    cells_failed: int
    """Cells whose job failed or was cancelled, or whose answer leaves too many questions unanswered."""
    jobs: Mapping[str, int]
    """pending, running, waiting, succeeded, failed, cancelled."""
    tests_passed: int
    """Tests that passed at `threshold`, each counted once, as in the rows of that threshold."""
    tests_failed: int
    requests_per_min: float | None
    """Requests started in the last 60 s; None if jobs send none."""
    rate_per_min: int | None
    """The rate limit of the service's key: the lowest that any live process has."""
    seconds_left: float | None
    """An estimate from the limit that takes longest; None while nothing is known."""
    binding: str
    """The limit from which `seconds_left` was computed; empty if nothing is left or known."""
    waiting: tuple[Waiting, ...] = ()
    quotas: tuple[QuotaStatus, ...] = ()
    errors: tuple[ErrorKind, ...] = ()
    """The most frequent kinds of errors that jobs failed with."""
    expanding: bool = False
    """True while cells are still being written to the store."""
    cells_cancelled: int = 0
    """Those of `cells_failed` whose job was cancelled."""
    at: float = 0.0
    """The time of this status, in seconds since the Unix epoch."""
    judge: str = ""
    """The judge that decides what passed; empty for the service itself."""
    identity: str | None = None
    """16 hexadecimal digits of what decides the answers; None if an earlier version began the run."""
    accepted: tuple[str, ...] = ()
    """Accepted changes of what decides the answers, in words: the answers are of several versions."""
    tests_unanswered: Mapping[str, int] = field(default_factory=dict)
    """Questions without an answer in answered jobs, by reason, counted like the tests."""
    questions_answered: int | None = None
    """Questions of the run with an answer, including those of jobs in flight; what jobs in other
    processes have answered is a second old."""
    questions: int | None = None
    """Questions of all jobs, answered or to come; None if a job does not say how many it asks."""
    questions_left: int | None = None
    """Questions still to be answered; None if a job does not say how many it asks."""
    questions_answered_in_flight: int = 0
    """Those of `questions_answered` whose job is in flight or will be tried again."""
    questions_in_flight: int = 0
    """Questions of these jobs, as far as they say how many they ask."""
    spending: tuple[Spending, ...] = ()
    """Tokens and costs of the run's calls, by role and model; replies of other runs cost nothing."""
    threshold: float | None = None
    """The threshold at which tests are counted: the highest that all cells have. None without thresholds."""
    cells_past: int = 0
    """Cells that only an earlier version of the sweep asked for; no other count includes them."""
    unattended: bool = False
    """True if no process works on the run: jobs that were in flight wait for `resume`."""
    is_rate_of_others: bool = False
    """True if `rate_per_min` is not the sweep's, but that of another process with the same key."""
    model_rates_of_others: Mapping[str, int] = field(default_factory=dict)
    """Rates per minute of lanes for which another process has a lower limit than the sweep, by lane."""
    trouble: str = ""
    """Why nothing can be saved at present, such as a full disk; empty if saving works."""
    trouble_since: float | None = None
    """When saving first failed, in seconds since the Unix epoch."""
    reused: tuple[ReusedAnswers, ...] = ()
    """Cells with an answer reused from another run, by that run."""
    cells_outdated: int = 0
    """Cells of a run started with `--fresh` that keep their old answer, because asking again failed."""
    fresh_at: float | None = None
    """The time from which answers and replies count, if everything was asked again with `--fresh`."""
    session: Session | None = None
    """The last execution of the run in this process; None if there was none."""

    @property
    def coverage(self) -> Coverage:
        """The cells by what is known of them."""
        return Coverage(
            answered=self.cells_done,
            failed=self.cells_failed - self.cells_cancelled,
            cancelled=self.cells_cancelled,
            to_come=self.cells - self.cells_done - self.cells_failed,
        )

    @property
    def share_done(self) -> float:
        """The part of the run that is done, from 0 to 1: of its questions if their number is known, else of its cells."""
        if self.questions and self.questions_left is not None:
            return 1.0 - self.questions_left / self.questions
        return (self.cells_done + self.cells_failed) / self.cells if self.cells else 0.0

    @property
    def question_counts(self) -> Mapping[str, str]:
        """The answered questions of all, or else of the jobs in flight, in words: `{"questions": "8 of 100 answered"}`.

        Empty if neither number is known.
        """
        if self.questions and self.questions_answered is not None:
            return {"questions": f"{self.questions_answered:,} of {self.questions:,} answered"}
        if self.questions_in_flight:
            answered = self.questions_answered_in_flight
            return {"questions in flight": f"{answered:,} of {self.questions_in_flight:,} answered"}
        return {}

    def _repr_html_(self) -> str:
        """What a notebook shows: a bar, counts, what jobs wait for, and what went wrong or holds the run."""
        left = "" if self.seconds_left is None else f"{self.seconds_left / 60:,.1f} minutes"
        return facts_html(
            f"{self.run}: {self.reason or self.state}",
            {
                "cells": f"{self.cells_done:,} of {self.cells:,} answered",
                **self.question_counts,
                "failed": f"{self.cells_failed:,}" if self.cells_failed else "",
                "tests": f"{self.tests_passed:,} passed, {self.tests_failed:,} failed"
                if self.tests_passed or self.tests_failed
                else "",
                "time left": left if self.state is RunState.ACTIVE else "",
                "waiting": lines_of(
                    _waiting_line(one) for one in self.waiting if one.why is not WaitReason.QUEUED
                ),
                "errors": lines_of(_error_line(one) for one in self.errors),
                "message": "\n".join(filter(None, (self.trouble, self.message))),
            },
            share=self.share_done,
        )


def _waiting_line(waiting: Waiting) -> str:
    why = waiting.detail or waiting.why.replace("_", " ")
    return (
        f"{waiting.jobs:,} x {waiting.lane}: {why}" if waiting.lane else f"{waiting.jobs:,}: {why}"
    )


def _error_line(error: ErrorKind) -> str:
    # A traceback is for `nightsweep show`, which keeps its lines.
    text = error.message if "\n" in error.example else error.text
    return f"{error.jobs:,} x {text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup of a store and its contents. `taken_at` is in seconds since the Unix epoch.

    Example:
        >>> async def main() -> object:
        ...     async with open_engine("halves.db") as engine:
        ...         backup = await engine.backup("copy.db")
        ...         return backup.runs, backup.answers, backup.in_flight
        >>> anyio.run(main)
        (1, 3, 0)
    """

    store: str
    path: str
    taken_at: float
    bytes: int
    runs: int
    answers: int
    in_flight: int
    """Jobs that were in flight; they are sent again when the copy is resumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """A deleted run, and what was deleted with it.

    Example:
        >>> async def main() -> object:
        ...     async with open_engine("halves.db") as engine:
        ...         await engine.submit(Sweep("old", half, matrix={"number": [8], "kind": ["a"]}))
        ...         deleted = await engine.delete("old")
        ...         return deleted.run, deleted.answers
        >>> anyio.run(main)
        ('old', 0)
    """

    run: str
    jobs: int
    answers: int
    answers_kept: int
    """Answers that stay because other runs reuse them."""
    documents: int
    bytes: int
    """Freed bytes in the store's file; new answers use them, or `prune` returns them to the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What `prune` removed from a store because no run refers to it.

    Example:
        >>> async def main() -> object:
        ...     async with open_engine("halves.db") as engine:
        ...         pruned = await engine.prune()
        ...         return pruned.documents, pruned.deleted
        >>> anyio.run(main)
        (0, ())
    """

    documents: int
    workers: int
    bytes: int
    """Bytes by which the store's file has shrunk."""
    compacted: bool
    """False if the file could not shrink because another process works on the store."""
    deleted: tuple[Deleted, ...] = ()
    """Runs whose interrupted deletion was completed, and what was deleted now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCells:
    """What a store already has of a sweep. The cells of all fields add up to those of the sweep."""

    cells_answered: int
    """Cells with an answer in the run of the sweep's name."""
    cells_failed: int
    """Cells that failed there; they are asked again only after `retry`."""
    cells_cancelled: int
    """Cells that were cancelled there; they are asked again only after `retry --cancelled`."""
    reused: tuple[ReusedAnswers, ...]
    """Cells that other runs have answers for."""
    left: "Plan"
    """What is still to be asked; its `money` is empty."""
    has_replies: bool
    """Whether replies of earlier calls are kept, which may reduce what is left."""

    @property
    def is_empty(self) -> bool:
        """Whether the store has nothing of the sweep."""
        return not (self.cells_answered or self.cells_failed or self.cells_cancelled or self.reused)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a sweep would send, computed before anything is sent.

    Requests, tests and money are the most that it may take without retries, unless a field says that it is an
    estimate; times are the earliest.

    Example:
        >>> plan = sweep.plan()
        >>> plan.cells, plan.requests, dict(plan.lanes)
        (3, 3, {'a': 3})
    """

    sweep: str
    cells: int
    jobs: int
    jobs_unfolded: int
    """Jobs without folding: `jobs_unfolded - jobs` requests are saved."""
    requests: int
    """The most requests that the sweep sends, not counting retries."""
    expected_tests: int | None
    """The quota that the sweep needs, in tests; None if only the service knows the cost."""
    hours: float | None
    """Hours at the limits of the file; None without a rate limit."""
    binding: str
    """The limit that takes longest, or the cap that ends the run early."""
    lanes: Mapping[str, int] = field(default_factory=dict)
    """Jobs per lane."""
    unknown: tuple[str, ...] = ()
    """What only the network can tell, such as `groups: all`."""
    calls: Mapping[str, int] = field(default_factory=dict)
    """The requests by role, if jobs make calls to several models."""
    money: tuple[CostEstimate, ...] = ()
    """The possible cost of the calls, by role and model, as far as a price or cost is known."""
    questions: int = 0
    """The most questions asked of a model in this process, which are no requests."""
    is_cut_short: bool = False
    """Whether `binding` is a cap that is used up before all cells are answered."""
    starts_at: float | None = None
    """The assumed start of the run, in seconds since the Unix epoch; None for a plan without a clock."""
    finish_at: float | None = None
    """The earliest end of a run that starts then; None without a rate, or if it is cut short."""
    window: str = ""
    """The hours in which requests start, such as `22:00-07:00 Europe/Berlin`; empty for all."""
    deadline: float | None = None
    """The time after which nothing starts, in seconds since the Unix epoch; None without one."""
    tests_learnt: bool = False
    """Whether `expected_tests` is an estimate from earlier answers, not the kind's own number."""
    most_tests: int | None = None
    """The most that the sweep may cost in quota; None if unknown."""
    most_tests_of_one: int | None = None
    """The most that one job may cost, which is reserved for each in flight; None if unknown."""
    stored: StoredCells | None = None
    """What the store has of it, and what is left; None without a store, or if that cannot be known."""

    def _repr_html_(self) -> str:
        """What a notebook shows: what would be sent, and how long it takes at least."""
        time = "" if self.hours is None else f"at least {self.hours:,.2f} hours"
        return facts_html(
            f"{self.sweep}: the plan",
            {
                "cells": f"{self.cells:,}",
                "jobs": f"{self.jobs:,}",
                "requests": f"{self.requests:,}",
                "time": " by ".join(filter(None, (time, self.binding))),
                "lanes": lines_of(f"{jobs:,} x {lane}" for lane, jobs in self.lanes.items()),
                "not known": lines_of(self.unknown),
            },
        )
