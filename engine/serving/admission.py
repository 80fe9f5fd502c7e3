"""Limits on concurrent work, in total and per key, with a queue."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio


class Full(Exception):
    """The queue has reached its limit."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    key_id: int
    admitted: anyio.Event = field(default_factory=anyio.Event)


class Admission:
    """Admits work in order of arrival, skipping keys that are at their own limit.

    At most `at_once` pieces of work run, `per_key` of them for one key; `queue` more wait.
    """

    def __init__(self, *, at_once: int, per_key: int, queue: int) -> None:
        self._at_once = at_once
        self._per_key = per_key
        self._queue = queue
        self._running: Counter[int] = Counter()
        self._waiting: list[_Waiting] = []

    @property
    def running(self) -> int:
        """Pieces of work that run now."""
        return self._running.total()

    @property
    def waiting(self) -> int:
        """Pieces of work in the queue."""
        return len(self._waiting)

    @asynccontextmanager
    async def admit(self, key_id: int) -> AsyncIterator[None]:
        """Run the block once the work of this key is admitted. Raises Full at once if the queue is full."""
        if self._fits(key_id):
            self._running[key_id] += 1
        elif len(self._waiting) >= self._queue:
            raise Full
        else:
            await self._wait(_Waiting(key_id))
        try:
            yield
        finally:
            self._leave(key_id)

    async def _wait(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        try:
            await waiting.admitted.wait()
        except BaseException:
            if waiting.admitted.is_set():
                self._leave(waiting.key_id)
            else:
                self._waiting.remove(waiting)
            raise

    def _leave(self, key_id: int) -> None:
        self._running[key_id] -= 1
        for waiting in list(self._waiting):
            if self._fits(waiting.key_id):
                self._waiting.remove(waiting)
                self._running[waiting.key_id] += 1
                waiting.admitted.set()

    def _fits(self, key_id: int) -> bool:
        return self.running < self._at_once and self._running[key_id] < self._per_key
