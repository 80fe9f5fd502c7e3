"""How many bytes the answers in flight may take: large ones wait for each other, small ones never.

A job that has taken bytes keeps them until its outcome is in the store. Several may each have a part and want
more; so the one that began first is never kept waiting, even beyond the limit: it ends, and then the next one
is the first. What is taken is never more than the limit and one answer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import anyio


class ByteBudget:
    """What all jobs of a run may hold at a time in this process; see `hold_bytes`."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._held = 0
        # In the order in which they began to take.
        self._holders: dict[_Holder, int] = {}
        self._freed = anyio.Event()
        self.most_held = 0

    @contextmanager
    def job(self) -> Iterator[None]:
        """Within the block, what `hold_bytes` takes is held by one job; at its end it is given back."""
        holder = _Holder(self)
        token = _HOLDER.set(holder)
        try:
            yield
        finally:
            _HOLDER.reset(token)
            self._held -= self._holders.pop(holder, 0)
            self._freed.set()

    async def take(self, holder: "_Holder", count: int) -> None:
        """Wait until there is room for `count` bytes more of a job, and take them."""
        self._holders.setdefault(holder, 0)
        while self._held + count > self._limit and next(iter(self._holders)) is not holder:
            if self._freed.is_set():
                self._freed = anyio.Event()
            await self._freed.wait()
        self._holders[holder] += count
        self._held += count
        self.most_held = max(self.most_held, self._held)


class _Holder:
    """A job that may take bytes."""

    def __init__(self, budget: ByteBudget) -> None:
        self.budget = budget


_HOLDER: ContextVar[_Holder | None] = ContextVar("holder", default=None)


async def hold_bytes(count: int) -> None:
    """Wait until the job at work here may hold `count` bytes more until its end; outside a job, at once."""
    if (holder := _HOLDER.get()) is not None:
        await holder.budget.take(holder, count)
