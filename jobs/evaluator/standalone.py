"""A JobContext for questions that belong to no run."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from engine.kinds import Accounts, Clock, Permit, Usage


class _FreePermit:
    """A permit without a limit."""

    async def start(self) -> None:
        return None

    async def settle(self, tokens: int) -> None:
        return None


class StandaloneContext:
    """A JobContext outside a run: it stores nothing and applies no limits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # The names of accounts stay in this process, so they need no secret to hide keys.
        self._accounts = Accounts(b"")

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
        return _FreePermit()

    def account(self, address: str, key: str = "") -> str:
        return self._accounts.name(address, key)

    def slot(self, name: str, max_in_flight: int) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def cached(
        self,
        key: Mapping[str, Any],
        call: Callable[[], Awaitable[bytes]],
        *,
        tests: int = 0,
        usage: Callable[[], Sequence[Usage]] | None = None,
    ) -> bytes:
        return await call()

    def progress(self, done: int, total: int) -> None:
        return None

    async def note(self, kind: str, message: str) -> None:
        return None

    async def keep_unread(self, where: str, body: bytes) -> None:
        return None
