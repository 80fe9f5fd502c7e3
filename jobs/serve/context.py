"""The JobContext of the service's evaluations, on top of the ledger."""

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
    """A JobContext with rates that hold across restarts, and responses that are paid for once per scope.

    A response that generates a test case is charged to the reservation.
    """

    def __init__(self, ledger: Ledger, clock: Clock, scope: str, reservation: Reservation) -> None:
        self._ledger = ledger
        self._clock = clock
        self._scope = scope
        self._reservation = reservation
        self._known: set[str] | None = None
        self._target_errors: set[JobError] = set()

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
        call_digest = digest(key)
        if self._known is None:
            # A scope is usually empty, so one query for all of it saves one per call.
            self._known = await self._ledger.list_digests(self._scope)
        if call_digest in self._known:
            saved = await self._ledger.find_response(self._scope, call_digest)
            assert saved is not None, "a scope is deleted only after its evaluation"
            return saved
        try:
            response = await call()
        except JobError as error:
            if key.get("call") == _TARGET:
                self._target_errors.add(error)
            raise
        reservation = self._reservation if tests else None
        await self._ledger.save_response(self._scope, call_digest, response, reservation)
        self._known.add(call_digest)
        return response

    def progress(self, done: int, total: int) -> None:
        return None

    async def note(self, kind: str, message: str) -> None:
        logger.warning(kind, extra={"cause": message})

    async def keep_unread(self, where: str, body: bytes) -> None:
        logger.warning("unread", extra={"cause": f"{where} ({len(body)} bytes)"})

    def is_from_target(self, error: JobError) -> bool:
        """Whether the model under test caused an error of this evaluation, and not a judge or an attacker.

        `error` must be the object that was raised: equal ones are not recognised.
        """
        return error in self._target_errors
