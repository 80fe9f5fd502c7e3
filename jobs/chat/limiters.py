"""Limiters of concurrent calls that several models share, so that a model waiting for its rate blocks no other."""

from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import anyio

_LONG_S = 1.0
"""A call that waits longer than this for a permit holds a place that other models could use."""


@dataclass(slots=True, eq=False)
class _Waiter:
    model: str
    admitted: anyio.Event = field(default_factory=anyio.Event)


class FairLimiter:
    """At most `places` holders at once; the waiter whose model holds the fewest places is admitted next.

    A model without a place may exceed that number for its first one, up to `most` places in total.
    """

    def __init__(self, places: int, *, most: int | None = None) -> None:
        self._places = places
        self._most = places if most is None else max(places, most)
        self._in_use: Counter[str] = Counter()
        self._waiting: deque[_Waiter] = deque()

    def resize(self, places: int) -> None:
        """Change the number of places; waiters are admitted at once if there is room.

        Holders keep their places, also if there are more of them than places now.
        """
        self._places = places
        self._admit()

    @asynccontextmanager
    async def hold(self, model: str) -> AsyncIterator[None]:
        """Wait for a place, and hold it for `model` within the block.

        Among models with as few places, the call that has waited longest is admitted first. A wait that is
        cancelled takes no place.
        """
        await self._enter(model)
        try:
            yield
        finally:
            self._leave(model)

    async def _enter(self, model: str) -> None:
        me = _Waiter(model)
        self._waiting.append(me)
        self._admit()
        try:
            await me.admitted.wait()
        except BaseException:
            if me.admitted.is_set():
                self._leave(model)
            else:
                self._waiting.remove(me)
            raise

    def _leave(self, model: str) -> None:
        self._in_use[model] -= 1
        self._in_use += Counter()  # drops models that hold none
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            # Among equals, the one that has waited longest.
            first = min(self._waiting, key=lambda one: self._in_use[one.model])
            total = self._in_use.total()
            if total >= self._places and (self._in_use[first.model] or total >= self._most):
                return
            self._waiting.remove(first)
            self._in_use[first.model] += 1
            first.admitted.set()


class SlowStartLimiter:
    """Limits how many calls of a model may hold a place before they have a permit.

    The limit starts at one, doubles after each short wait for a permit, and returns to one after a long wait.
    So a model with a low rate does not hold places that others need, and one with a high rate gets many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._places = 1
        self._limiter = FairLimiter(1)

    def hold(self) -> AbstractAsyncContextManager[None]:
        """Count the block as one of these calls, once there is room."""
        return self._limiter.hold("")

    def learn(self, waited_s: float) -> None:
        """Adjust the limit to the time in seconds that a call waited for its permit.

        A long wait sets it to one, a shorter one doubles it, up to the most.
        """
        self._places = 1 if waited_s > _LONG_S else min(2 * self._places, self._most)
        self._limiter.resize(self._places)
