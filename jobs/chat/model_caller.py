"""Calls to a model from inside a job: bounded, within its rate, and paid for once."""

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import anyio

from engine.kinds import (
    TARGET,
    Job,
    JobContext,
    JobError,
    LimitReached,
    NotNow,
    Permanent,
    TimedOut,
    Took,
    Transient,
    Usage,
    is_away,
)
from jobs.chat.built_in import LocalModel
from jobs.chat.endpoint import ChatClient, ChatTarget
from jobs.chat.limiters import FairLimiter, SlowStartLimiter
from jobs.chat.limits import CallLimits
from jobs.chat.stopwatch import Stopwatch, time_call
from jobs.chat.target import Message, OpenTarget, Question, Reply, Role, Target, digest
from jobs.chat.unanswerable import Unanswerable, call_unless_unanswerable
from jobs.http import Unanswered, keep_unread_on_error, note_redacted

JUDGE, ATTACKER = "judge", "attacker"
"""The roles of models other than the model under test, whose role is TARGET."""

SHORT_QUESTION = (
    Message(Role.SYSTEM, "You are a helpful assistant."),
    Message(Role.USER, "Please reply with the word yes."),
)
"""A question that any model can answer with a few tokens."""

_CALLS_AT_ONCE = 8
"""The most calls of a callable at once."""
_EVALUATIONS_MIN = 2
_CASES_MIN = 5
READINGS_MAX = 3
"""How often a question is asked at most until its answer can be read."""
_NO_SAMPLE: Mapping[str, Any] = {}
_CUT_OFF = "; the token limit cut it short: raise max_tokens"


class Unreadable(Exception):
    """The answer is not in the required form; the text of the error says what is wrong and is sent to the model."""


Read = Callable[[str], object]
"""Checks an answer; raises Unreadable if it cannot be used."""


@dataclass(slots=True)
class _Ping:
    """The last short question to a model; `count` is the number of those sent."""

    count: int = 0
    is_answered: bool = False
    lock: anyio.Lock = field(default_factory=anyio.Lock)


class ModelCaller:
    """Calls the models of one target, in one `role`, for all evaluations of a service.

    At most `max_in_flight` calls are made at the same time. Without `limits` the model is in this process and
    calls are not requests. At most `jobs_at_once` jobs have their turn. By default, only as many evaluations
    run as keep those calls busy, plus one for each model, so that they finish one after the other rather than
    all at the end. Without a `client`, only stored replies are returned. If a call fails as if the service
    were down, a short question checks whether it is.
    """

    def __init__(
        self,
        target: Target,
        client: OpenTarget | None,
        *,
        role: str = TARGET,
        max_in_flight: int,
        limits: CallLimits | None = None,
        jobs_at_once: int | None = None,
    ) -> None:
        self._client = client
        self._role = role
        self._address = target.address
        self._identity = target.identity
        self._in_flight = FairLimiter(max_in_flight)
        self._without_permit: defaultdict[str, SlowStartLimiter] = defaultdict(
            partial(SlowStartLimiter, max_in_flight)
        )
        self._evaluations = FairLimiter(
            jobs_at_once or max(_EVALUATIONS_MIN, max_in_flight // _CASES_MIN), most=max_in_flight
        )
        self._limits = limits
        self._pings: defaultdict[str, _Ping] = defaultdict(_Ping)
        self._unanswerable = Unanswerable()

    @asynccontextmanager
    async def hold_turn(self, job: Job, within_s: float) -> AsyncIterator[None]:
        """Wait for the job's turn and hold it within the block, for calls that may take `within_s` seconds in total.

        Raises TimedOut in the block once they took that long; the wait for the turn and for permits does
        not count. Errors of unanswerable questions are remembered for the job's next attempt.
        """
        async with self._evaluations.hold(str(job.parameters["model"])):
            with self._unanswerable.remember(job), Stopwatch(within_s).watch():
                yield

    async def ask(
        self,
        question: Question,
        context: JobContext,
        *,
        read: Read | None = None,
        about: str = "",
        tests: int = 0,
        sample: Mapping[str, Any] = _NO_SAMPLE,
    ) -> Reply:
        """The reply to a question, from the run's cache if it has been answered before.

        If `read` cannot use a reply, the question is asked again with the reason, at most twice. `about`
        names the case for the event log; `tests` is the number of tests that the question opens. Equal questions
        with another `sample` (JSON values) are asked each on its own. Raises JobError if no usable reply
        came; nothing is cached then.
        """

        took: list[Usage] = []
        redacted: set[str] = set()

        async def ask_once(question: Question) -> Reply:
            try:
                reply = await self._ask_once(question, context, took)
            except JobError as error:
                if error.took is not None:
                    took.append(self._usage(question, error.took))
                raise
            took.append(self._usage(question, reply))
            redacted.update(reply.redacted)
            return reply

        async def call() -> bytes:
            if self._client is None:
                # The run that the replies come from may have had no reply either: count it as unanswered.
                raise Permanent(
                    f"the {self._role} {question.model}: {Unanswered.NOT_KEPT.words}",
                    reason=Unanswered.NOT_KEPT,
                )
            async with keep_unread_on_error(context):
                reply = await ask_once(question)
                if read is not None:
                    reply = await self._read(question, reply, read, ask_once)
            return reply.to_bytes()

        key = {"call": self._role, "target": self._identity, **question.as_json(), **sample}
        once_in_a_job = partial(call_unless_unanswerable, digest(key), call)
        try:
            kept = await context.cached(
                key,
                once_in_a_job,
                tests=tests,
                usage=lambda: took,
            )
        finally:
            # Store the reply first: it is paid for, and writing the note may fail.
            about_what = f" about {about}" if about else ""
            where = f"the {self._role} {question.model}{about_what}"
            await note_redacted(context, where, redacted)
        return Reply.from_bytes(kept)

    def _usage(self, question: Question, source: Reply | Took) -> Usage:
        return Usage(
            role=self._role,
            endpoint=self._address,
            model=question.model,
            input_tokens=source.input_tokens,
            output_tokens=source.output_tokens,
            cost=source.cost,
        )

    async def _ask_once(self, question: Question, context: JobContext, took: list[Usage]) -> Reply:
        try:
            return await self._call_within_limits(question, context)
        except JobError as error:
            if is_away(error):
                error.service_answers = await self._is_answering(question.model, context, took)
            if self._role != TARGET and not isinstance(error, LimitReached | NotNow):
                # An endpoint may serve several models: name the one that failed.
                error.message = f"the {self._role} {question.model}: {error.message}"
                error.args = (error.message,)
            raise

    async def _is_answering(self, model: str, context: JobContext, took: list[Usage]) -> bool:
        """Whether the model answers a short question, after another one failed.

        One short question serves all calls that failed before it was sent. Its usage is added to `took`.
        """
        ping = self._pings[model]
        count = ping.count
        async with ping.lock:
            if ping.count == count:
                ping.count += 1
                ping.is_answered = await self._ping(model, context, took)
            return ping.is_answered

    async def _ping(self, model: str, context: JobContext, took: list[Usage]) -> bool:
        question = Question(model=model, messages=SHORT_QUESTION, seed=0)
        try:
            took.append(self._usage(question, await self._call_within_limits(question, context)))
        except JobError as error:
            return error.sent and not is_away(error) and not isinstance(error, TimedOut)
        return True

    async def _call_within_limits(self, question: Question, context: JobContext) -> Reply:
        if self._limits is None:
            async with self._in_flight.hold(question.model):
                return await self._call(question)
        start = self._without_permit[question.model]
        async with AsyncExitStack() as waiting:
            await waiting.enter_async_context(start.hold())
            async with self._in_flight.hold(question.model):
                since = context.clock.now()

                async def call(question: Question) -> Reply:
                    start.learn(context.clock.now() - since)
                    await waiting.aclose()
                    return await self._call(question)

                return await self._limits.reply(
                    call, question, context, to_model=self._role == TARGET
                )

    async def _call(self, question: Question) -> Reply:
        assert self._client is not None, "a caller without a client returns stored replies only"
        with time_call():
            return await self._client.reply(question)

    async def _read(
        self,
        question: Question,
        reply: Reply,
        read: Read,
        ask_once: Callable[[Question], Awaitable[Reply]],
    ) -> Reply:
        for left in reversed(range(READINGS_MAX)):
            try:
                read(reply.text)
                break
            except Unreadable as error:
                if not left:
                    raise Transient(
                        f"the {self._role} {question.model} gave no answer that can be used in"
                        f" {READINGS_MAX} tries",
                        detail=f"{error}{_CUT_OFF}" if reply.truncated else str(error),
                        unread=reply.text.encode(),
                    ) from None
                problem = f"Your answer could not be used: {error}. Answer again, in full."
            again = (*question.messages, Message(Role.USER, problem))
            reply = await ask_once(replace(question, messages=again))
        return reply


def model_caller_for(
    target: Target,
    client: OpenTarget | None,
    role: str = TARGET,
    *,
    jobs_at_once: int | None = None,
) -> ModelCaller:
    """A caller that keeps the limits of the target's endpoint.

    Roles that share an endpoint and a key share its rate. Without a `client`, only stored replies are
    returned. See ModelCaller for `jobs_at_once`.
    """
    if isinstance(target, LocalModel):
        return ModelCaller(
            target, client, role=role, max_in_flight=target.slots, jobs_at_once=jobs_at_once
        )
    return ModelCaller(
        target,
        client,
        role=role,
        max_in_flight=target.endpoint.max_in_flight
        if isinstance(target, ChatTarget)
        else _CALLS_AT_ONCE,
        limits=client.limits if isinstance(client, ChatClient) else limits_for(target),
        jobs_at_once=jobs_at_once,
    )


def limits_for(target: Target) -> CallLimits | None:
    """The limits of a target's calls; None if the model is in this process, so that calls are not requests."""
    if isinstance(target, LocalModel):
        return None
    # A callable may reach a server, so its calls count as requests.
    return target.limits() if isinstance(target, ChatTarget) else CallLimits(target.address)
