"""What arrives while a job is being executed: replies, their usage, and answers that cannot be read."""

from collections.abc import (
    Mapping,
    Sequence,
)
from typing import Any

from engine.clock import Clock
from engine.core.money import Usage
from engine.core.progress import AttemptProgress
from engine.store.queries import (
    calls,
    charges,
    progress,
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
    """Stores what an attempt receives before it has an outcome: replies, their usage, unreadable answers.

    Each change is durable when its method returns. All methods raise StoreError if they cannot commit.
    """

    def __init__(self, clock: Clock, writer: Writer) -> None:
        self._clock = clock
        self._writer = writer

    async def keep_unread(
        self, run_id: int, job_id: int, fence: int, *, where: str, body: bytes
    ) -> None:
        """Store the bytes of an answer that cannot be read, with the attempt of `fence`.

        At most 32 MiB of an answer are stored, and at most 20 answers of a job.
        """
        now = self._clock.now()
        await self._writer.write(
            lambda connection: unread.keep(
                connection, run_id, job_id, fence, where=where, body=body, now=now
            )
        )

    async def record_progress(self, reports: Sequence[AttemptProgress]) -> None:
        """Store how far attempts in flight are, so that other processes can show it."""
        await self._writer.write(lambda connection: progress.record(connection, reports))

    async def hold_more(self, job_id: int, fence: int, tests: int) -> bool:
        """Reserve quota for `tests` more of an attempt that is in flight.

        Returns False, and reserves nothing, if the quota does not cover them.
        """
        return await self._writer.write(
            lambda connection: charges.hold_more(connection, job_id, fence, tests)
        )

    async def keep_usage(self, run_id: int, took: Sequence[Usage]) -> None:
        """Store the usage of calls that gave no reply, so that the run's cost includes it.

        Returns once that is committed; without calls in `took` nothing is written.
        """
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
        """Store a response under `key` in a run, and charge the tests that it opens. Durable on return.

        If the run already has a response that counts, that one stays; this returns False and charges nothing. `took`
        is the usage of the call's requests, of which the last one gave this response; it is stored in either case.

        Raises StoreLost, once the reply is in the side file, if the store has vanished.
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
