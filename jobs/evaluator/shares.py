"""Places that several models share: a model that waits for its rate leaves room for the others."""

from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import anyio

_LONG_S = 1.0
"""Waiting longer than this for a permit keeps a place from models that could use it."""


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

    def resize(self, places: int) -> None:
        """Have so many places from now on."""
        self._places = places
        self._admit()

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


class SlowStart:
    """How many calls of a model may take a place before they have their permit.

    One at first, twice as many after each short wait for a permit, and one again after a long one: a model
    whose rate is low keeps no places from the others, and where permits come fast they come many at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._places = 1
        self._shares = Shares(1)

    def hold(self) -> AbstractAsyncContextManager[None]:
        """Be one of them within the block."""
        return self._shares.hold("")

    def learn(self, waited_s: float) -> None:
        """Take note of how long a call waited for its permit."""
        self._places = 1 if waited_s > _LONG_S else min(2 * self._places, self._most)
        self._shares.resize(self._places)
