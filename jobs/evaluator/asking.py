"""Questions to a target from inside an evaluation: bounded, within its rate, and paid for once."""

import anyio

from engine.job import JobContext
from jobs.chat.target import Question, Reply, Target


class Asker:
    """Asks one target on behalf of every evaluation of a service.

    At most `max_in_flight` questions are under way at once, first come, first served: evaluations end
    one after the other instead of all together at the end.
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
        self._limit = limit
        self._rate_per_min = rate_per_min

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
