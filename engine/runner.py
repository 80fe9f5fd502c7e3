"""One attempt: run a job's coroutine under its deadline and say what it came to."""

import logging
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio
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
from engine.core.model import Answer, Job, counted_unanswered
from engine.core.policy import Retry
from engine.core.retry import (
    Blame,
    Fail,
    GiveBack,
    RetryLater,
    Succeed,
    Verdict,
    interruption,
    judge,
)
from engine.core.rows import Row
from engine.core.settlement import Ended
from engine.core.values import check_values
from engine.kinds import JobContext, JobKind, machine_fault, without_secrets

logger = logging.getLogger(__name__)

_TEXT_MAX = 2000


class Runner:
    """Runs attempts of one kind through the client of its open service, under one retry policy."""

    def __init__(self, kind: JobKind, client: Any, retry: Retry) -> None:
        self._kind = kind
        self._client = client
        self._retry = retry
        # tenacity's wait strategies decide the delays; the waiting itself is done by the store, where
        # it holds no slot and survives a restart.
        self._wait = wait_exponential(
            multiplier=retry.base_delay_s, max=retry.max_delay_s
        ) + wait_random(0, retry.base_delay_s / 2)
        self._retrying = Retrying()

    def delay_s(self, attempt: int) -> float:
        """How long to wait after attempt number `attempt` (from 1): exponential, with jitter."""
        state = RetryCallState(self._retrying, fn=None, args=(), kwargs={})
        state.attempt_number = attempt
        return min(self._wait(state), self._retry.max_delay_s)

    async def attempt(
        self,
        job: Job,
        context: JobContext,
        throttled: int = 0,
        blame: Callable[[JobError], Blame] = lambda _: Blame.UNKNOWN,
    ) -> Ended:
        """Run one attempt to its end. Only cancellation is ever raised.

        `throttled` is how often in a row the job's lane has met a 429: the waits grow with it. `blame` is
        asked at the end of the attempt for whom its failure is put down to.
        """
        try:
            answer = await self._with_values(job, await self._run(job, context), context)
            answer = await _covering(job, answer, context)
        except JobError as error:
            return self._ended(job, error, throttled, blame(error))
        except Exception as error:
            if is_of_store(error):
                # The store is full, locked or gone: not the job's fault, so no attempt is used.
                told = "; ".join(sorted({str(leaf) for leaf in leaves(error)}))
                return Ended(_clean(replace(interruption(), error=told)))
            if (fault := machine_fault(error)) is not None:
                return self._ended(job, fault, throttled, Blame.UNKNOWN)
            where, name = _where(error), type(error).__name__
            # Without the message, which may hold anything: it is kept with the attempt, cleaned.
            logger.error("a bug in the job kind %s: %s\n%s", self._kind.name, name, where)
            return Ended(_clean(self._judge(job, error, throttled, Blame.UNKNOWN)), None, where)
        verdict = judge(answer, attempt=job.attempt, attempts=self._retry.attempts, delay_s=0.0)
        return Ended(_clean(verdict))

    def _ended(self, job: Job, error: JobError, throttled: int, blame: Blame) -> Ended:
        detail = _kept(error.detail) or None
        verdict = self._judge(job, error, throttled, blame)
        # Without the service's own words, which may quote what it was asked.
        logger.info(
            "attempt %d of %d: %s; %s",
            job.attempt,
            job.attempts,
            error.message,
            _what_next(verdict),
            extra={"run": job.run},
        )
        return Ended(_clean(verdict), error.status, detail)

    async def _run(self, job: Job, context: JobContext) -> Answer:
        deadline_s = self._kind.attempt_s(job.labels)
        with anyio.move_on_after(deadline_s) as scope:
            return await self._kind.run(job, self._client, context)
        assert scope.cancelled_caught, "only the deadline ends the block without an answer"
        raise TimedOut(f"no answer within {deadline_s:g} s")

    async def _with_values(self, job: Job, answer: Answer, context: JobContext) -> Answer:
        """The answer with its values as they are kept; where the job kind made a mistake, its bytes are kept alone."""
        measured = answer.measurement
        if not measured.values:
            return answer
        try:
            checked = check_values(measured.values, Row.column_names(job.labels.keys()))
        except ValueError as error:
            message = f"a bug in the job kind {self._kind.name}: {error}"
            await context.keep_unread(message, answer.raw)
            raise Permanent(message) from error
        values = {
            name: _kept(value) if isinstance(value, str) else value
            for name, value in checked.items()
        }
        return replace(answer, measurement=replace(measured, values=values))

    def _judge(self, job: Job, error: Exception, throttled: int, blame: Blame) -> Verdict:
        tries = job.attempt
        if isinstance(error, RateLimited):
            tries = throttled + 1
        elif isinstance(error, Unreachable | MachineFault):
            # The lane, or the whole run, waits: the job itself is due as soon as that is over.
            tries = 1
        return judge(
            error,
            attempt=job.attempt,
            attempts=self._retry.attempts,
            delay_s=self.delay_s(tries),
            blame=blame,
        )


async def _covering(job: Job, answer: Answer, context: JobContext) -> Answer:
    """The answer, unless more of its questions are unanswered than the sweep allows.

    Then its bytes are kept with the attempt: it was paid for.
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
    """The verdict with texts that can be kept: a job kind may put anything into them."""
    match verdict:
        case RetryLater() | Fail():
            error, fingerprint = _kept(verdict.error), _kept(verdict.fingerprint)
            return replace(verdict, error=error, fingerprint=fingerprint)
        case GiveBack():
            error, fingerprint = _kept(verdict.error), _kept(verdict.fingerprint)
            return replace(verdict, error=error, fingerprint=fingerprint)
        case Succeed():
            measured = verdict.answer.measurement
            if measured.note is None:
                return verdict
            measured = replace(measured, note=_kept(measured.note))
            return replace(verdict, answer=replace(verdict.answer, measurement=measured))


def _kept(text: str) -> str:
    """A text as the store takes it: no keys, no lone surrogates, no more than is ever looked at."""
    cleaned = without_secrets(text)
    if len(cleaned) > _TEXT_MAX:
        cleaned = cleaned[: _TEXT_MAX - 1] + "…"
    return cleaned.encode("utf-8", "replace").decode("utf-8")


def _where(error: Exception) -> str:
    """The innermost lines of a traceback: where, without the values that a message may carry."""
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    return "\n".join(f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)
