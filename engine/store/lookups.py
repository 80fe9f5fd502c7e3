"""Looks up the stored replies to calls, all that are wanted at a time in one question.

An evaluation begins dozens of calls at once and each looks for its reply. A question of its own for each would take
more time than most other work of a call.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import anyio
from sqlalchemy.engine import Connection

from engine.core.errors import StoreError
from engine.store.database import Database
from engine.store.queries import calls
from engine.store.queries.calls import KeptReply


@dataclass(eq=False, slots=True)
class _Lookup:
    run_id: int
    service: str | None
    digest: bytes
    is_answered: bool = False
    found: KeptReply | None = None
    error: StoreError | None = None

    def result(self) -> KeptReply | None:
        if self.error is not None:
            raise self.error
        return self.found


class ReplyLookups:
    """Finds replies. A reply that was stored before `find` is called is found, whichever process stored it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Lookup] = []
        self._asking = anyio.Lock()

    async def find(self, run_id: int, digest: bytes, *, service: str | None) -> KeptReply | None:
        """The reply of a run; with a `service`, else the latest of its other runs. None if there is none.

        Raises StoreError if the database cannot be read.
        """
        lookup = _Lookup(run_id, service, digest)
        self._waiting.append(lookup)
        # Even a free lock lets other tasks run first, so calls that begin together are looked up together.
        async with self._asking:
            if not lookup.is_answered:
                # The others wait for this answer even if this call is cancelled.
                with anyio.CancelScope(shield=True):
                    await self._answer()
        return lookup.result()

    async def _answer(self) -> None:
        """Answer all that are waiting."""
        waiting = tuple(self._waiting)
        try:
            found = await self._database.ask(lambda connection: _find(connection, waiting))
            for lookup in waiting:
                lookup.found = found.get((lookup.run_id, lookup.service, lookup.digest))
        except StoreError as error:
            for lookup in waiting:
                lookup.error = error
        for lookup in waiting:
            lookup.is_answered = True
        del self._waiting[: len(waiting)]


def _find(
    connection: Connection, lookups: Sequence[_Lookup]
) -> dict[tuple[int, str | None, bytes], KeptReply]:
    wanted = defaultdict(set)
    for lookup in lookups:
        wanted[lookup.run_id, lookup.service].add(lookup.digest)
    return {
        (run_id, service, digest): reply
        for (run_id, service), digests in wanted.items()
        for digest, reply in calls.find(connection, run_id, digests, service).items()
    }
