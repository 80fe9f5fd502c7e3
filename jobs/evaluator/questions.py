"""Ask the questions of an evaluation concurrently, and decide whether too many are unanswered."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import anyio

from engine.kinds import (
    Job,
    JobError,
    MachineFault,
    NotNow,
    Permanent,
    QuotaExceeded,
    RateLimited,
    TimedOut,
    Transient,
    UnansweredPolicy,
    Unauthorized,
    Unhealthy,
    Unreachable,
    is_away,
)
from jobs.http import Unanswered

_AT_ONCE = 32
"""Questions of one evaluation that are looked up or in flight at the same time."""

# The next question would fail with the same error, so no more are asked.
_STOPS = (
    Unauthorized,
    QuotaExceeded,
    Unhealthy,
    MachineFault,
    Unreachable,
    RateLimited,
    NotNow,
)
# The first of these that occurred decides how the job continues.
_GRAVEST_FIRST = (*_STOPS, Permanent, Transient)

Thing = TypeVar("Thing")
Result = TypeVar("Result")
Outcome: TypeAlias = Result | JobError
Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of answered questions and the total."""


def ignore_progress(answered: int, total: int) -> None:
    """Do nothing with the progress."""


@dataclass(frozen=True, slots=True)
class MissingAnswer:
    """A question without an answer: its case, and the error that it ended in."""

    case: str
    error: JobError

    @property
    def reason(self) -> str:
        """The reason that is recorded for the missing answer."""
        if self.error.reason is not None:
            return self.error.reason
        is_late = isinstance(self.error, TimedOut)
        return Unanswered.TIMED_OUT if is_late else Unanswered.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How many questions of a job may stay unanswered.

    A question that may succeed next time is asked again as long as the job has another attempt.
    """

    policy: UnansweredPolicy
    is_last_attempt: bool
    waits_out_outages: bool = False

    @classmethod
    def of(cls, job: Job) -> "Tolerance":
        """The tolerance of a job's current attempt."""
        return cls(
            policy=job.unanswered,
            is_last_attempt=job.is_last_attempt,
            waits_out_outages=job.waits_out_outages,
        )

    def check(self, missing: Sequence[MissingAnswer], answered: int) -> None:
        """Raise the most serious error if the answers do not suffice for a result.

        `answered` is the number of questions with an answer. They do not if a later attempt can still
        answer a question; those that none can answer are weighed by the policy. The error's detail says how
        many are missing, and its `sent` whether any request of the job left.
        """
        asked = answered + len(missing)
        final = [one for one in missing if self._is_final(one.error)]
        others = [one for one in missing if not self._is_final(one.error)]
        of_all = [one for one in others if not isinstance(one.error, Permanent | Transient)]
        is_enough = self.policy.allows(asked - len(final), len(final))
        away = [one for one in missing if one.error.sent and is_away(one.error)]
        if of_all and away and all(_is_held(one.error) for one in of_all):
            # Those were never sent, because the service asked to wait; report the outage instead.
            raise _decisive_error(away, missing, asked)
        if of_all:
            # The error concerns the whole service; the questions can still be answered later.
            raise _mark_sent(_worst(of_all).error, missing, asked)
        if not is_enough and final:
            raise _decisive_error(final, missing, asked, ", more than allowed")
        if others:
            raise _decisive_error(others, missing, asked)

    def _is_final(self, error: JobError) -> bool:
        """Whether no further attempt can answer the question."""
        if not error.sent:
            # The request never left, so this tells us nothing about the question.
            return False
        if self.waits_out_outages and is_away(error):
            # The service may have been down, and the job waits until it is back.
            return False
        return isinstance(error, Permanent) or (
            isinstance(error, Transient) and self.is_last_attempt
        )


def _is_held(error: JobError) -> bool:
    """Whether a question was held back because the service had asked to wait."""
    return isinstance(error, RateLimited) and not error.sent


@contextmanager
def blame(reason: Unanswered) -> Iterator[None]:
    """Record `reason` on every JobError raised within the block, in place of its own, and raise it again."""
    try:
        yield
    except JobError as error:
        error.reason = reason
        raise


async def map_concurrently(
    things: Sequence[Thing], work: Callable[[Thing], Awaitable[Result]]
) -> list[Outcome[Result]]:
    """Run `work` on each thing concurrently; return its result or JobError, in the order of `things`.

    After an error that would hit every other question too, such as a rejected key, no further work is
    started: the things that were not started get that error.
    """
    outcomes: dict[int, Outcome[Result]] = {}
    at_once = anyio.CapacityLimiter(_AT_ONCE)
    stopped: list[JobError] = []

    async def one(place: int, thing: Thing) -> None:
        async with at_once:
            if stopped:
                return
            try:
                outcomes[place] = await work(thing)
            except JobError as error:
                outcomes[place] = error
                if isinstance(error, _STOPS):
                    stopped.append(error)

    async with anyio.create_task_group() as group:
        for place, thing in enumerate(things):
            group.start_soon(one, place, thing, name=f"question {place}")
    return [outcomes[place] if place in outcomes else stopped[0] for place in range(len(things))]


def _decisive_error(
    decisive: Sequence[MissingAnswer], missing: Sequence[MissingAnswer], asked: int, limit: str = ""
) -> JobError:
    """The most serious error, with the number of unanswered questions in its detail."""
    worst = _worst(decisive)
    error = worst.error
    summary = f"{len(missing)} of {asked} questions unanswered{limit}, such as {worst.case}"
    error.detail = f"{error.detail.rstrip('.')}; {summary}" if error.detail else summary
    if not is_away(error) and len(missing) < asked / 2:
        # Most questions were answered, so the service itself is up.
        error.service_answers = True
    return _mark_sent(error, missing, asked)


def _mark_sent(error: JobError, missing: Sequence[MissingAnswer], asked: int) -> JobError:
    # The job is charged if any of its requests left.
    error.sent = asked > len(missing) or any(one.error.sent for one in missing)
    return error


def _worst(missing: Sequence[MissingAnswer]) -> MissingAnswer:
    def rank(one: MissingAnswer) -> tuple[int, bool]:
        kinds = [n for n, kind in enumerate(_GRAVEST_FIRST) if isinstance(one.error, kind)]
        return min(kinds, default=len(_GRAVEST_FIRST)), not is_away(one.error)

    return min(missing, key=rank)
