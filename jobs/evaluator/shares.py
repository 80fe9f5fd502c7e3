"""Places shared fairly by several models, so that one waiting for its rate does not block the others."""

from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import anyio

_LONG_S = 1.0
"""A longer wait for a permit holds a place that other models could use."""


@dataclass(slots=True, eq=False)
class _Waiting:
    of: str
    admitted: anyio.Event = field(default_factory=anyio.Event)


class Shares:
    """At most `places` holders at once; the waiter whose model holds the fewest places is admitted next.

    A model without a place may exceed that number for its first one, up to `most` places in total.
    """

    def __init__(self, places: int, *, most: int | None = None) -> None:
        self._places = places
        self._most = places if most is None else max(places, most)
        self._held: Counter[str] = Counter()
        self._waiting: deque[_Waiting] = deque()

    def resize(self, places: int) -> None:
        """Change the number of places; waiters are admitted at once if there is room."""
        self._places = places
        self._admit()

    @asynccontextmanager
    async def hold(self, of: str) -> AsyncIterator[None]:
        """Wait for a place, and hold it for the model `of` within the block."""
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
        self._held += Counter()  # drops models that hold none
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            # Of several that hold equally few, the first that came.
            first = min(self._waiting, key=lambda one: self._held[one.of])
            total = self._held.total()
            if total >= self._places and (self._held[first.of] or total >= self._most):
                return
            self._waiting.remove(first)
            self._held[first.of] += 1
            first.admitted.set()


class SlowStart:
    """Limits how many calls of a model may hold a place before they have a permit.

    The limit starts at one, doubles after each short wait for a permit, and returns to one after a long wait.
    So a model with a low rate does not hold places that others need, and one with a high rate gets many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._places = 1
        self._shares = Shares(1)

    def hold(self) -> AbstractAsyncContextManager[None]:
        """Count the block as one of these calls, once there is room."""
        return self._shares.hold("")

    def learn(self, waited_s: float) -> None:
        """Adjust the limit to the time in seconds that a call waited for its permit."""
        self._places = 1 if waited_s > _LONG_S else min(2 * self._places, self._most)
        self._shares.resize(self._places)
