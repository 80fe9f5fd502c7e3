"""Questions to a target from inside an evaluation: bounded, within its rate, and paid for once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from engine.job import JobContext
from jobs.chat.target import Question, Reply, Target

_EVALUATIONS_MIN = 2
_CASES_MIN = 5


class Asker:
    """Asks one target on behalf of every evaluation of a service.

    At most `max_in_flight` questions are under way at once. Only as many evaluations ask as it takes to
    keep them busy, so that evaluations end one after the other and not all together at the end.
    """

    def __init__(
        self,
        target: Target,
        *,
        max_in_flight: int,
        limit: str = "",
        rate_per_min: int | None = None,
    ) -> None:
        self._target = target
        self._identity = target.identity
        self._in_flight = anyio.CapacityLimiter(max_in_flight)
        self._evaluations = anyio.CapacityLimiter(
            max(_EVALUATIONS_MIN, max_in_flight // _CASES_MIN)
        )
        self._limit = limit
        self._rate_per_min = rate_per_min

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """An evaluation's turn to ask."""
        async with self._evaluations:
            yield

    async def ask(self, question: Question, context: JobContext) -> Reply:
        """The reply, from the run's cache where this question has been answered before.

        Raises JobError where there is none; nothing is cached then.
        """

        async def call() -> bytes:
            async with self._in_flight:
                if self._rate_per_min is not None:
                    await context.permit(self._limit, rate_per_min=self._rate_per_min)
                reply = await self._target.reply(question)
            return reply.to_bytes()

        key = {"call": "target", "target": self._identity, **question.as_json()}
        return Reply.from_bytes(await context.cached(key, call))
