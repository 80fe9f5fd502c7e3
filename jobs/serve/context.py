"""What the service lends to a running evaluation, on top of the ledger."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from engine.kinds import Clock, JobError, Permit, PermitLimit, Usage
from jobs.chat.target import digest
from jobs.serve.ledger import Ledger
from jobs.serve.ledger.service import Reservation

logger = logging.getLogger(__name__)

_TARGET = "target"


class EvaluationContext:
    """A JobContext: rates that outlast the process, and replies that are paid for once in a scope.

    A reply that opens a test spends one of the reservation.
    """

    def __init__(self, ledger: Ledger, clock: Clock, scope: str, reservation: Reservation) -> None:
        self._ledger = ledger
        self._clock = clock
        self._scope = scope
        self._reservation = reservation
        self._known: set[str] | None = None
        self._of_target: set[JobError] = set()

    @property
    def clock(self) -> Clock:
        return self._clock

    async def permit(
        self,
        name: str,
        *,
        rate_per_min: int | None = None,
        tokens_per_min: int | None = None,
        tokens: int = 0,
        to_model: bool = False,
    ) -> Permit:
        limit = PermitLimit(name=name, rate_per_min=rate_per_min, tokens_per_min=tokens_per_min)
        return await self._ledger.permits.wait([limit], tokens=tokens)

    def account(self, address: str, key: str = "") -> str:
        return self._ledger.accounts.name(address, key)

    def slot(self, name: str, max_in_flight: int) -> AbstractAsyncContextManager[None]:
        return self._ledger.slots.hold(name, max_in_flight)

    async def cached(
        self,
        key: Mapping[str, Any],
        call: Callable[[], Awaitable[bytes]],
        *,
        tests: int = 0,
        usage: Callable[[], Sequence[Usage]] | None = None,
    ) -> bytes:
        found = digest(key)
        if self._known is None:
            # Mostly there is nothing: one look at the whole scope saves one for each call.
            self._known = await self._ledger.list_digests(self._scope)
        if found in self._known:
            kept = await self._ledger.find_response(self._scope, found)
            assert kept is not None, "a scope is dropped after its evaluation"
            return kept
        try:
            response = await call()
        except JobError as error:
            if key.get("call") == _TARGET:
                self._of_target.add(error)
            raise
        spends = self._reservation if tests else None
        await self._ledger.save_response(self._scope, found, response, spends)
        self._known.add(found)
        return response

    def progress(self, answered: int, total: int) -> None:
        return None

    async def note(self, kind: str, message: str) -> None:
        logger.warning(kind, extra={"cause": message})

    async def keep_unread(self, where: str, body: bytes) -> None:
        logger.warning("unread", extra={"cause": f"{where} ({len(body)} bytes)"})

    def came_of_target(self, error: JobError) -> bool:
        """Whether an error is the model's under test, and not a judge's or an attacker's."""
        return error in self._of_target
