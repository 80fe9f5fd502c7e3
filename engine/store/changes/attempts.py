"""What comes in while a job is worked on: replies, their cost, and answers that cannot be read."""

from collections.abc import (
    Mapping,
    Sequence,
)
from typing import Any

from engine.clock import Clock
from engine.core.money import Usage
from engine.store.queries import (
    calls,
    charges,
    unread,
    usage,
)
from engine.store.queries.runs import RunRow
from engine.store.requests import (
    CallReply,
    Charge,
)
from engine.store.writer import Writer


class AttemptChanges:
    """What is kept of an attempt before it has an outcome."""

    def __init__(self, clock: Clock, writer: Writer) -> None:
        self._clock = clock
        self._writer = writer

    async def keep_unread(
        self, run_id: int, job_id: int, fence: int, *, where: str, body: bytes
    ) -> None:
        """Keep the bytes of an answer that cannot be read with the attempt of `fence`.

        Of one answer at most 32 MiB are kept, of one job at most 20 answers.
        """
        now = self._clock.now()
        await self._writer.write(
            lambda connection: unread.keep(
                connection, run_id, job_id, fence, where=where, body=body, now=now
            )
        )

    async def hold_more(self, job_id: int, fence: int, tests: int) -> bool:
        """Hold quota for `tests` besides what was reserved for an attempt; whether there was room."""
        return await self._writer.write(
            lambda connection: charges.hold_more(connection, job_id, fence, tests)
        )

    async def keep_usage(self, run_id: int, took: Sequence[Usage]) -> None:
        """Keep what calls took that gave no reply, each."""
        if took:
            now = self._clock.now()
            await self._writer.write(
                lambda connection: usage.keep_without_reply(connection, run_id, took, now=now)
            )

    async def keep_call(
        self,
        of: RunRow,
        key: Mapping[str, Any],
        response: bytes,
        charge: Charge | None = None,
        took: Sequence[Usage] = (),
    ) -> bool:
        """Keep a response under `key` in a run, and charge the tests that it opens. Durable when this returns.

        The first one stays, unless the run has begun to ask everything again since: False, and nothing
        charged, where there is one. What calls `took` is kept whatever becomes of their responses; the
        last one gave this. Where the store is lost, StoreLost is raised once the reply is in the side file.
        """
        return await self._writer.keep(
            CallReply(
                run_id=of.id,
                run_created_at=of.created_at,
                digest=calls.digest(key),
                response=response,
                recorded_at=self._clock.now(),
                charge=charge,
                took=tuple(took),
            )
        )
