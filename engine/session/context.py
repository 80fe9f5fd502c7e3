"""What the engine lends to a running job."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from engine.clock import Clock
from engine.permits import Permit, Permits
from engine.store import Store


class Context:
    """What the engine lends to a running job."""

    def __init__(self, store: Store, clock: Clock, run_id: int) -> None:
        self._store = store
        self._run_id = run_id
        self._clock = clock
        self._permits = Permits(store, clock, f"{store.worker_id} {run_id}")

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
    ) -> Permit:
        return await self._permits.wait(
            name, rate_per_min=rate_per_min, tokens_per_min=tokens_per_min, tokens=tokens
        )

    async def cached(self, key: Mapping[str, Any], call: Callable[[], Awaitable[bytes]]) -> bytes:
        kept = await self._store.kept_call(self._run_id, key)
        if kept is not None:
            return kept
        response = await call()
        # Paid for: it is kept even if the job is being cancelled.
        await self._store.keep_call(self._run_id, key, response)
        return response
