"""How much work runs at once, in all and for each key, and how much waits in line."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio


class Full(Exception):
    """The line has reached its limit."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    key_id: int
    admitted: anyio.Event = field(default_factory=anyio.Event)


class Admission:
    """Places for work: first come, first served among those whose key has room.

    At most `at_once` places are taken, `per_key` of them by one key; `queue` more wait.
    """

    def __init__(self, *, at_once: int, per_key: int, queue: int) -> None:
        self._at_once = at_once
        self._per_key = per_key
        self._queue = queue
        self._running: Counter[int] = Counter()
        self._waiting: list[_Waiting] = []

    @property
    def running(self) -> int:
        """Work that has a place."""
        return self._running.total()

    @property
    def waiting(self) -> int:
        """Work that waits in line."""
        return len(self._waiting)

    @asynccontextmanager
    async def place(self, key_id: int) -> AsyncIterator[None]:
        """A place for the work in the block, waited for in line. Raises Full if the line is too long."""
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

    async def _wait(self, me: _Waiting) -> None:
        self._waiting.append(me)
        try:
            await me.admitted.wait()
        except BaseException:
            if me.admitted.is_set():
                self._leave(me.key_id)
            else:
                self._waiting.remove(me)
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
