"""A limit on the bytes of answers in flight: large answers wait for each other, small ones never.

A job keeps its bytes until its outcome is in the store. Several jobs could each hold a part and wait
for more; so the one that began first never waits, even beyond the limit. At most the limit and one
answer are held.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import anyio


class ByteBudget:
    """A limit on the bytes of answers that all jobs of a run hold in this process, from arrival to commit.

    At most `limit` and one answer are held. Jobs take bytes with `hold_bytes`; `most_held` is the most that
    were ever held.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._held = 0
        # In the order of their first bytes.
        self._holders: dict[_Holder, int] = {}
        self._freed = anyio.Event()
        self.most_held = 0

    @contextmanager
    def job(self) -> Iterator[None]:
        """Charge `hold_bytes` within the block to one job, and release its bytes at the end."""
        holder = _Holder(self)
        token = _HOLDER.set(holder)
        try:
            yield
        finally:
            _HOLDER.reset(token)
            self._held -= self._holders.pop(holder, 0)
            self._freed.set()

    async def take(self, holder: "_Holder", count: int) -> None:
        """Wait until there is room for `count` more bytes, and take them."""
        self._holders.setdefault(holder, 0)
        while self._held + count > self._limit and next(iter(self._holders)) is not holder:
            if self._freed.is_set():
                self._freed = anyio.Event()
            await self._freed.wait()
        self._holders[holder] += count
        self._held += count
        self.most_held = max(self.most_held, self._held)


class _Holder:
    """A job that may hold bytes."""

    def __init__(self, budget: ByteBudget) -> None:
        self.budget = budget


_HOLDER: ContextVar[_Holder | None] = ContextVar("holder", default=None)


async def hold_bytes(count: int) -> None:
    """Wait until the current job may hold `count` more bytes of an answer; it holds them until it ends.

    Outside a job it returns at once.
    """
    if (holder := _HOLDER.get()) is not None:
        await holder.budget.take(holder, count)
