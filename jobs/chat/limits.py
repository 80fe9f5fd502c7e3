"""Limits on the calls to an endpoint: requests and tokens a minute, and calls at once."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Annotated, TypeAlias

import anyio
from pydantic import Field

from engine.kinds import (
    CallLimit,
    JobContext,
    JobError,
    KeyRenewed,
    Permit,
    RateLimited,
    Transient,
    canonical,
    starting_with,
)
from jobs.chat.pacing import CallPacer
from jobs.chat.target import Question, Reply

_BYTES_PER_TOKEN = 4
_SETTLING_S = 5.0
"""A permit that cannot be settled in this time, such as on a full disk, keeps its estimate."""

Ask: TypeAlias = Callable[[Question], Awaitable[Reply]]
TokensPerMin = Annotated[int, Field(ge=1, le=1_000_000_000)]


def check_max_tokens(max_tokens: int, tokens_per_min: int | None) -> None:
    """Raise ValueError if one reply may take more than a minute's tokens, because such a call could never start.

    None for `tokens_per_min` is no limit.
    """
    if tokens_per_min is not None and max_tokens > tokens_per_min:
        raise ValueError(
            f"{max_tokens} is above the endpoint's tokens_per_min, {tokens_per_min}: one reply could"
            " take more than a minute's tokens; lower max_tokens or raise tokens_per_min"
        )


class CallLimits:
    """Gets a permit before each call, and settles it with the tokens that the call took.

    A permit also obeys the sweep's own limits. After a model has rate limited a call, its calls are paced as
    well. Endpoints with the same `address` and `key` share their limits across processes, however the two
    are spelt. None means no limit for `rate_per_min`, `tokens_per_min` and `max_in_flight`, the number of
    calls at once; `max_tokens` is the longest reply.
    """

    def __init__(
        self,
        address: str,
        *,
        key: str = "",
        key_name: str = "",
        rate_per_min: int | None = None,
        tokens_per_min: int | None = None,
        max_tokens: int = 0,
        max_in_flight: int | None = None,
    ) -> None:
        self._address = address
        self._key = key
        self._key_name = key_name
        self._rate_per_min = rate_per_min
        self._tokens_per_min = tokens_per_min
        self._max_tokens = max_tokens
        self._max_in_flight = max_in_flight
        self._pacers: defaultdict[str, CallPacer] = defaultdict(CallPacer)

    @property
    def call_limit(self) -> CallLimit:
        """These limits as values from which a plan computes the time; the key is named by its reference."""
        return CallLimit(
            name=f"{canonical(self._address)} {self._key_name}".strip(),
            rate_per_min=self._rate_per_min,
            tokens_per_min=self._tokens_per_min,
            tokens=self._max_tokens,
        )

    async def reply(
        self, ask: Ask, question: Question, context: JobContext, *, to_model: bool = True
    ) -> Reply:
        """Ask a question as soon as the limits allow; `to_model` says that the model under test answers it.

        If the key was rejected and has been replaced since, the question is sent again, as another request.
        """
        try:
            return await self._reply(ask, question, context, to_model)
        except KeyRenewed:
            return await self._reply(ask, question, context, to_model)

    async def _reply(
        self, ask: Ask, question: Question, context: JobContext, to_model: bool
    ) -> Reply:
        pacer, clock = self._pacers[question.model], context.clock
        await pacer.wait(clock)
        async with self._slot(context):
            started = clock.now()
            try:
                reply = await self._ask_with_permit(ask, question, context, to_model)
            except RateLimited as error:
                if error.sent:
                    pacer.on_refusal(clock, error, started=started)
                raise
            except Transient as error:
                pacer.hold(clock, error)
                raise
        pacer.on_answer(clock, started=started)
        return reply

    def _slot(self, context: JobContext) -> AbstractAsyncContextManager[None]:
        if self._max_in_flight is None:
            return nullcontext()
        return context.slot(self._account(context), self._max_in_flight)

    def _account(self, context: JobContext) -> str:
        return f"target:{context.account(self._address, self._key)}"

    async def _ask_with_permit(
        self, ask: Ask, question: Question, context: JobContext, to_model: bool
    ) -> Reply:
        permit = await context.permit(
            self._account(context),
            rate_per_min=self._rate_per_min,
            tokens_per_min=self._tokens_per_min,
            tokens=estimate_tokens(question, self._max_tokens),
            to_model=to_model,
        )
        try:
            with starting_with(permit.start):
                reply = await ask(question)
        except JobError as error:
            if not error.sent:
                await _settle(permit, 0)
            raise
        if reply.total_tokens is not None:
            await _settle(permit, reply.total_tokens)
        return reply


async def _settle(permit: Permit, tokens: int) -> None:
    # Shielded, so that a paid reply is returned even while its evaluation is being cancelled.
    with anyio.move_on_after(_SETTLING_S, shield=True):
        await permit.settle(tokens)


def estimate_tokens(question: Question, max_tokens: int) -> int:
    """The tokens that a call may take: a quarter of the question's UTF-8 bytes, and the longest reply.

    Rounded up. `max_tokens` counts unless the question has its own. It is what a limit of tokens reserves
    until the call's usage is known.
    """
    longest = max_tokens if question.max_tokens is None else question.max_tokens
    return tokens_of(message.content for message in question.messages) + longest


def tokens_of(texts: Iterable[str]) -> int:
    """The tokens that texts may take together: a quarter of their UTF-8 bytes, rounded up once; 0 without texts."""
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    return -(-size // _BYTES_PER_TOKEN)
