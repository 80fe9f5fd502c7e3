"""One attempt: run a job's coroutine under its deadline and say what it came to."""

import logging
import traceback
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from math import isnan
from typing import Any

from tenacity import RetryCallState, Retrying, wait_exponential, wait_random

from engine.core.errors import (
    JobError,
    MachineFault,
    Permanent,
    RateLimited,
    TimedOut,
    Unreachable,
    is_of_store,
    leaves,
)
from engine.core.listed_tests import ListedTest, Listing
from engine.core.model import Answer, Job, Measurement, counted_unanswered
from engine.core.policy import Retry
from engine.core.retry import (
    Blame,
    Fail,
    GiveBack,
    RetryLater,
    Succeed,
    Verdict,
    describe_bug,
    interruption,
    judge,
)
from engine.core.rows import Row
from engine.core.settlement import AttemptEnd
from engine.core.values import check_values
from engine.kinds import JobContext, JobKind, machine_fault, without_secrets

logger = logging.getLogger(__name__)

_TEXT_MAX = 2000
_MOST_TESTS = 2**63 - 1
"""What a database holds in an integer column."""


class Runner:
    """Runs attempts of one kind through the client of its open service, under one retry policy."""

    def __init__(self, kind: JobKind, client: Any, retry: Retry) -> None:
        self._kind = kind
        self._client = client
        self._retry = retry
        # tenacity only computes the delays: a job waits in the store, where it holds no slot and survives
        # a restart.
        self._wait = wait_exponential(
            multiplier=retry.base_delay_s, max=retry.max_delay_s
        ) + wait_random(0, retry.base_delay_s / 2)
        self._retrying = Retrying()

    def delay_s(self, attempt: int) -> float:
        """Return how many seconds to wait after attempt number `attempt` (from 1): exponential, with jitter."""
        state = RetryCallState(self._retrying, fn=None, args=(), kwargs={})
        state.attempt_number = attempt
        return min(self._wait(state), self._retry.max_delay_s)

    async def attempt(
        self,
        job: Job,
        context: JobContext,
        throttled: int = 0,
        blame: Callable[[JobError], Blame] = lambda _: Blame.UNKNOWN,
    ) -> AttemptEnd:
        """Run one attempt and return its end. Raises nothing but cancellation.

        `throttled` is the number of 429s in a row that the job's lane has met: the waits grow with it. `blame`
        is called with an error at the end of the attempt and says what caused it.
        """
        try:
            answer = await self._check_answer(await self._run(job, context), context)
            answer = await self._check_values(job, answer, context)
            answer = await _check_coverage(job, answer, context)
        except JobError as error:
            return self._end(job, error, throttled, blame(error))
        except Exception as error:
            if is_of_store(error):
                # The store is full, locked or gone. That is not the job's fault and uses no attempt.
                message = "; ".join(sorted({str(leaf) for leaf in leaves(error)}))
                return AttemptEnd(_clean(replace(interruption(), error=message)))
            if (fault := machine_fault(error)) is not None:
                return self._end(job, fault, throttled, Blame.UNKNOWN)
            where, name = _innermost_lines(error), type(error).__name__
            # The message may hold secrets: it is kept with the attempt, cleaned, and not logged.
            logger.error("a bug in the job kind %s: %s\n%s", self._kind.name, name, where)
            return AttemptEnd(
                _clean(self._judge(job, error, delay_s=self.delay_s(job.attempt))), None, where
            )
        return AttemptEnd(_clean(self._judge(job, answer, delay_s=0.0)))

    def _end(self, job: Job, error: JobError, throttled: int, blame: Blame) -> AttemptEnd:
        detail = _to_stored_text(error.trace or error.detail) or None
        tries = job.attempt
        if isinstance(error, RateLimited):
            tries = throttled + 1
        elif isinstance(error, Unreachable | MachineFault):
            # The lane or the whole run waits; the job itself is due as soon as that is over.
            tries = 1
        verdict = self._judge(job, error, delay_s=self.delay_s(tries), blame=blame)
        # Without the service's own words, which may quote what it was asked.
        logger.info(
            "attempt %d of %d: %s; %s",
            job.attempt,
            job.attempts,
            error.message,
            _what_next(verdict),
            extra={"run": job.run},
        )
        return AttemptEnd(_clean(verdict), error.status, detail)

    async def _run(self, job: Job, context: JobContext) -> Answer:
        deadline_s = self._kind.attempt_s(job.labels)
        with context.clock.move_on_after(deadline_s) as scope:
            return await self._kind.run(job, self._client, context)
        assert scope.cancelled_caught, "only the deadline ends the block without an answer"
        raise TimedOut(f"no answer within {deadline_s:g} s")

    async def _check_answer(self, answer: Answer, context: JobContext) -> Answer:
        """Return what the job kind returned; raises Permanent if it is no answer that can be stored.

        Its bytes, if it has any, are then kept with the attempt.
        """
        mistake = _mistake_in(answer)
        if mistake is None:
            return answer
        message = describe_bug(self._kind.name, mistake)
        if isinstance(raw := getattr(answer, "raw", None), bytes):
            await context.keep_unread(message, raw)
        raise Permanent(message)

    async def _check_values(self, job: Job, answer: Answer, context: JobContext) -> Answer:
        """Return the answer with its values as they are stored.

        Values that the job kind must not return raise Permanent; then only the answer's bytes are kept.
        """
        measured = answer.measurement
        if not measured.values:
            return answer
        try:
            checked = check_values(measured.values, Row.column_names(job.labels.keys()))
        except ValueError as error:
            message = describe_bug(self._kind.name, str(error))
            await context.keep_unread(message, answer.raw)
            raise Permanent(message) from error
        values = {
            name: _without_secrets(value) if isinstance(value, str) else value
            for name, value in checked.items()
        }
        return replace(answer, measurement=replace(measured, values=values))

    def _judge(
        self,
        job: Job,
        end: Answer | Exception,
        *,
        delay_s: float,
        blame: Blame = Blame.UNKNOWN,
    ) -> Verdict:
        return judge(
            end,
            kind=self._kind.name,
            attempt=job.attempt,
            attempts=self._retry.attempts,
            delay_s=delay_s,
            blame=blame,
        )


def _mistake_in(answer: object) -> str | None:
    """What keeps an answer from being stored, or would make its numbers wrong; None if nothing does.

    The author of a job kind need not check types, so an answer is not what its annotation says.
    """
    if not isinstance(answer, Answer):
        return f"it returned {type(answer).__name__}, not an engine.kinds.Answer"
    measured: object = answer.measurement
    if not isinstance(measured, Measurement):
        return f"Answer.measurement must be a Measurement, not {type(measured).__name__}"
    if not isinstance(answer.raw, bytes):
        return f"Answer.raw must be bytes, not {type(answer.raw).__name__}"
    counts = {
        **{name: getattr(measured, name) for name in ("passed", "failed", "tests")},
        **{f"unanswered[{reason!r}]": count for reason, count in measured.unanswered.items()},
    }
    for name, count in counts.items():
        if not isinstance(count, int) or count < 0:
            return f"Measurement.{name} must be an int that is not negative, not {count!r}"
        if count > _MOST_TESTS:
            return f"Measurement.{name} must be at most {_MOST_TESTS}, not {count!r:.40}"
    for score in measured.scores or ():
        if not isinstance(score, int | float) or isnan(score):
            return f"Measurement.scores must be numbers, not {score!r}"
    if any(score > following for score, following in pairwise(measured.scores or ())):
        return "Measurement.scores must be in ascending order: sort them"
    return None if measured.listing is None else _mistake_in_listing(measured.listing)


def _mistake_in_listing(listing: object) -> str | None:
    if not isinstance(listing, Listing):
        return f"Measurement.listing must be a Listing, not {type(listing).__name__}"
    for test in listing.tests:
        if not isinstance(test, ListedTest):
            return f"Listing.tests must be ListedTests, not {test!r:.80}"
        if not isinstance(test.case, str | None):
            return f"ListedTest.case must be text or None, not {test.case!r:.80}"
        if not isinstance(test.layer, int | None):
            return f"ListedTest.layer must be an int or None, not {test.layer!r:.80}"
        if not isinstance(test.score, int | float | None) or (test.score and isnan(test.score)):
            return f"ListedTest.score must be a number or None, not {test.score!r:.80}"
    return None


async def _check_coverage(job: Job, answer: Answer, context: JobContext) -> Answer:
    """Return the answer; raises Permanent if more of its questions are unanswered than the sweep allows.

    Its bytes are then kept with the attempt, since it was paid for.
    """
    measured = answer.measurement
    unanswered = sum(measured.unanswered.values())
    if job.unanswered.allows(measured.total, unanswered):
        return answer
    lacking = counted_unanswered(measured.unanswered, measured.total)
    message = f"{lacking}, more than the sweep allows"
    await context.keep_unread(message, answer.raw)
    error = Permanent(message, detail=measured.note or "")
    error.service_answers = True
    raise error


def _what_next(verdict: Verdict) -> str:
    """What becomes of a job whose attempt did not succeed, in words for the log."""
    match verdict:
        case RetryLater():
            return f"tried again in {verdict.delay_s:.1f} s"
        case GiveBack():
            return f"given back ({verdict.hold}), due in {verdict.delay_s:.1f} s"
        case _:
            return "failed"


def _clean(verdict: Verdict) -> Verdict:
    """Return the verdict with texts that can be stored: a job kind may put anything into them."""
    match verdict:
        case RetryLater() | GiveBack() | Fail():
            error, fingerprint = map(_to_stored_text, (verdict.error, verdict.fingerprint))
            return replace(verdict, error=error, fingerprint=fingerprint)
        case Succeed():
            measured = verdict.answer.measurement
            if measured.note is None:
                return verdict
            measured = replace(measured, note=_to_stored_text(measured.note))
            return replace(verdict, answer=replace(verdict.answer, measurement=measured))


def _to_stored_text(text: str) -> str:
    """Return a text as it is stored: without keys and lone surrogates, and not too long."""
    cleaned = _without_secrets(text)
    return cleaned if len(cleaned) <= _TEXT_MAX else cleaned[: _TEXT_MAX - 1] + "…"


def _without_secrets(text: str) -> str:
    """Return a text without keys and lone surrogates."""
    return without_secrets(text).encode("utf-8", "replace").decode("utf-8")


def _innermost_lines(error: Exception) -> str:
    """Return the innermost lines of a traceback, without the message and its values."""
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    return "\n".join(f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)
