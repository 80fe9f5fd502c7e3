"""Places that several models share: whoever waits for its rate leaves room for the others."""

from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio


@dataclass(slots=True, eq=False)
class _Waiting:
    of: str
    admitted: anyio.Event = field(default_factory=anyio.Event)


class Shares:
    """At most `places` holders at once; of those who wait, the one comes next whose model has fewest.

    A model that has none may have its first one while there are less than `most` in all.
    """

    def __init__(self, places: int, *, most: int | None = None) -> None:
        self._places = places
        self._most = places if most is None else max(places, most)
        self._held: Counter[str] = Counter()
        self._waiting: deque[_Waiting] = deque()

    @asynccontextmanager
    async def hold(self, of: str) -> AsyncIterator[None]:
        """Have a place for a model within the block."""
        await self._enter(of)
        try:
            yield
        finally:
            self._leave(of)

    async def _enter(self, of: str) -> None:
        me = _Waiting(of)
        self._waiting.append(me)
        self._admit()
        try:
            await me.admitted.wait()
        except BaseException:
            if me.admitted.is_set():
                self._leave(of)
            else:
                self._waiting.remove(me)
            raise

    def _leave(self, of: str) -> None:
        self._held[of] -= 1
        self._held += Counter()  # forgets those that have none
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            # The first that came, among those with equally few.
            first = min(self._waiting, key=lambda one: self._held[one.of])
            total = self._held.total()
            if total >= self._places and (self._held[first.of] or total >= self._most):
                return
            self._waiting.remove(first)
            self._held[first.of] += 1
            first.admitted.set()
