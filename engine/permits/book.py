"""What grants permits, and what is granted."""

from collections.abc import Collection
from typing import Protocol

from engine.clock import Clock
from engine.core import permit_rows, permits
from engine.core.permits import PermitGrant, PermitRequest, PermitStart, PermitState


class PermitBook(Protocol):
    """A record of granted starts, which the store and the service's ledger share between processes."""

    async def take_permits(self, request: PermitRequest) -> PermitGrant:
        """Grant the first calls of a request, in order, as many as there is room for.

        The grant has a start for each of them, perhaps none, and when to ask again for the others.
        """
        ...

    async def settle_permit(self, start: PermitStart, *, taken: int) -> None:
        """Record the tokens that a call took, instead of the estimate; 0 if it was never made.

        Raises StoreError if it cannot be recorded.
        """
        ...

    async def find_limited(self, names: Collection[str]) -> Collection[str]:
        """The names among these under which any live process has a limit; it holds for all."""
        ...


class Permit(Protocol):
    """A start that was granted to one call.

    Await `start` when the call's connection is open, and `settle` it afterwards, also if the call failed.
    """

    async def start(self) -> None:
        """Return at the moment at which the call may be sent, on a connection that is open.

        If connecting took longer than planned, this waits for another start. Raises NotNow if there
        is none soon.
        """
        ...

    async def settle(self, tokens: int) -> None:
        """Record the tokens that the call took, once they are known; 0 if it was never made.

        Fewer than estimated make room at once; more make later calls wait.
        """
        ...


class MemoryBook:
    """A PermitBook in memory, for one process; it does not support caps."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._states: dict[str, PermitState] = {}

    async def take_permits(self, request: PermitRequest) -> PermitGrant:
        assert request.cap is None, "a cap belongs to a run, which is in a store"
        granted, states = permits.take(self._states, request, now=self._clock.now())
        self._states |= states
        return granted

    async def settle_permit(self, start: PermitStart, *, taken: int) -> None:
        self._states |= permit_rows.settle(self._states, start, taken=taken)

    async def find_limited(self, names: Collection[str]) -> Collection[str]:
        # Each request for a permit carries its own limits.
        return ()
