"""What an endpoint allows in a minute: requests, and the tokens that they take."""

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
from jobs.chat.pacing import Turns
from jobs.chat.target import Question, Reply

_BYTES_PER_TOKEN = 4
_SETTLING_S = 5.0
"""What is not settled by then stays as it was estimated: the disk is full, say."""

Ask: TypeAlias = Callable[[Question], Awaitable[Reply]]
TokensPerMin = Annotated[int, Field(ge=1, le=1_000_000_000)]


def fits_a_minute(max_tokens: int, tokens_per_min: int | None) -> None:
    """Raise ValueError where one reply may take more tokens than there are in a minute."""
    if tokens_per_min is not None and max_tokens > tokens_per_min:
        raise ValueError(
            f"{max_tokens} is above the endpoint's tokens_per_min, {tokens_per_min}: one reply could"
            " take more than a minute has; lower max_tokens or raise tokens_per_min"
        )


class CallLimits:
    """Asks for a permit before each call, and settles it with what the call really took.

    The permit keeps the sweep's own limits as well. Calls to a model that has refused some wait for their
    turn, too, whatever the limits are. Endpoints of one `address` and `key` share their limits, over all
    processes, however the address is spelt and whatever the key is called.
    None of `rate_per_min` and `tokens_per_min` does not bind; `max_tokens` bounds each reply; at most
    `max_in_flight` are under way at once, where it is not None.
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
        self._turns: defaultdict[str, Turns] = defaultdict(Turns)

    @property
    def told(self) -> CallLimit:
        """The limits, for the plan of a sweep."""
        return CallLimit(
            name=f"{canonical(self._address)} {self._key_name}".strip(),
            rate_per_min=self._rate_per_min,
            tokens_per_min=self._tokens_per_min,
            tokens=self._max_tokens,
        )

    async def reply(
        self, ask: Ask, question: Question, context: JobContext, *, to_model: bool = True
    ) -> Reply:
        """The reply to a question, asked when it may be; `to_model`: of the model under test.

        Where its key was refused and is another one by now, the question is a request once more.
        """
        try:
            return await self._reply(ask, question, context, to_model)
        except KeyRenewed:
            return await self._reply(ask, question, context, to_model)

    async def _reply(
        self, ask: Ask, question: Question, context: JobContext, to_model: bool
    ) -> Reply:
        turns, clock = self._turns[question.model], context.clock
        await turns.wait(clock)
        async with self._slot(context):
            started = clock.now()
            try:
                reply = await self._permitted(ask, question, context, to_model)
            except RateLimited as error:
                if error.sent:
                    turns.refused(clock, error, started=started)
                raise
            except Transient as error:
                turns.hold(clock, error)
                raise
        turns.answered(clock, started=started)
        return reply

    def _slot(self, context: JobContext) -> AbstractAsyncContextManager[None]:
        if self._max_in_flight is None:
            return nullcontext()
        return context.slot(self._account(context), self._max_in_flight)

    def _account(self, context: JobContext) -> str:
        return f"target:{context.account(self._address, self._key)}"

    async def _permitted(
        self, ask: Ask, question: Question, context: JobContext, to_model: bool
    ) -> Reply:
        permit = await context.permit(
            self._account(context),
            rate_per_min=self._rate_per_min,
            tokens_per_min=self._tokens_per_min,
            tokens=estimated_tokens(question, self._max_tokens),
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
    # A reply that was paid for reaches whoever keeps it, even while its evaluation is being cancelled.
    with anyio.move_on_after(_SETTLING_S, shield=True):
        await permit.settle(tokens)


def estimated_tokens(question: Question, max_tokens: int) -> int:
    """What a call may take: a quarter of the question's bytes (UTF-8), and the longest reply."""
    return tokens_of(message.content for message in question.messages) + max_tokens


def tokens_of(texts: Iterable[str]) -> int:
    """What texts may take together: a quarter of their bytes."""
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    return -(-size // _BYTES_PER_TOKEN)
