"""A clock that a test moves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from math import inf, isinf

import anyio
from anyio import from_thread, lowlevel

from engine.testing.event_loop import (
    count_threads_awaited,
    is_ready,
    is_timer_due,
    loop_time,
    watches_outside,
)

QUIET_S = 0.005
"""Real seconds that a FakeClock gives to sockets and child processes before it moves."""

_SOON_S = 0.05
"""A real timer that is due within this time counts as work under way."""
_TIMERS_S = 1.0
"""Real seconds for which such timers hold the clock: some go off again and again."""
_MOMENT_S = 0.0005
"""Real seconds until the second look at a thread that works or a timer that is due."""
_MOMENT_MAX_S = 0.008
_MOMENT_GROWTH = 1.5
"""Each further look comes later: what takes long on a busy machine is not made longer by being watched."""
_PASSES = 3
"""Passes of the event loop in a row with nothing to do before it counts as idle."""


@dataclass(slots=True, order=True)
class _Sleeper:
    until: float
    number: int
    awake: anyio.Event = field(compare=False, default_factory=anyio.Event)


class FakeClock:
    """A clock that stands still until it is moved: by `advance`, or by itself while `jumping`.

    Times are seconds since the Unix epoch. Sleepers are woken at the very time they asked for, in
    order. The clock moves only once every task of the event loop waits: while one is ready to run, or
    waits for a thread (`anyio.to_thread`, `asyncio.to_thread`, aiosqlite), or for a real timer that is
    due within 50 ms, it stands still, however slow the machine is. What happens outside of the process
    cannot be seen: while the event loop watches sockets, pipes or child processes, they are given
    `quiet_s` of real time during which no task reads or sleeps on the clock.
    """

    def __init__(self, now: float = 1_800_000_000.0, *, quiet_s: float = QUIET_S) -> None:
        self._now = now
        self._quiet_s = quiet_s
        self._asked = 0
        self._sleepers: list[_Sleeper] = []
        self._threads_asleep = 0

    def now(self) -> float:
        """The time as it was set or moved to."""
        self._asked += 1
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Return once the clock was moved by `seconds`."""
        if seconds <= 0:
            await lowlevel.checkpoint()
            return
        await self._sleep_until(self._now + seconds)

    def sleep_in_thread(self, seconds: float) -> None:
        """Block a thread of `anyio.to_thread` until the clock was moved by `seconds`.

        The clock moves meanwhile, although a task waits for that thread.
        """
        from_thread.run(self._sleep_for_thread, seconds)

    async def _sleep_for_thread(self, seconds: float) -> None:
        self._threads_asleep += 1
        try:
            await self.sleep(seconds)
        finally:
            self._threads_asleep -= 1

    async def wait(self, event: anyio.Event, until: float) -> bool:
        """Return True once `event` is set, or False once the clock was moved to `until`."""
        if event.is_set() or until <= self._now:
            await lowlevel.checkpoint()
            return event.is_set()
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                await event.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch, name="watch an event")
            await self._sleep_until(until)
            tasks.cancel_scope.cancel()
        return event.is_set()

    async def advance(self, seconds: float) -> None:
        """Move on by `seconds`, stopping at the time of each sleeper until all has become quiet."""
        end = self._now + seconds
        await self._become_quiet()
        while (until := self._next()) <= end:
            await self._jump(until)
        self._now = end
        await self._become_quiet()

    @asynccontextmanager
    async def jumping(self) -> AsyncIterator[None]:
        """Within the block, move on to the next sleeper whenever all has become quiet."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._jump_along, name="jumping clock")
            yield
            tasks.cancel_scope.cancel()

    async def _jump_along(self) -> None:
        while True:
            await self._become_quiet()
            if isinf(until := self._next()):
                # Nothing to move on to: do not take a whole CPU to look for it.
                await anyio.sleep(_MOMENT_S)
            else:
                await self._jump(until)

    async def _jump(self, until: float) -> None:
        self._now = max(self._now, until)
        while self._next() <= self._now:
            heappop(self._sleepers).awake.set()
        await self._become_quiet()

    async def _sleep_until(self, until: float) -> None:
        self._asked += 1
        sleeper = _Sleeper(until, self._asked)
        heappush(self._sleepers, sleeper)
        try:
            await sleeper.awake.wait()
        finally:
            self._asked += 1
            # A cancelled sleeper must not hold the clock; one that was woken is no longer in the list.
            self._sleepers = [one for one in self._sleepers if one is not sleeper]
            heapify(self._sleepers)

    def _next(self) -> float:
        return self._sleepers[0].until if self._sleepers else inf

    async def _become_quiet(self) -> None:
        """Return once every task waits: for this clock, for another task, or for the outside."""
        while True:
            await self._become_idle()
            if not watches_outside():
                return
            asked = self._asked
            await anyio.sleep(self._quiet_s)
            if asked == self._asked and not self._is_working():
                return

    async def _become_idle(self) -> None:
        asked, began = self._asked, loop_time()
        due = began + _SOON_S
        passes, moment_s = 0, _MOMENT_S
        while passes < _PASSES:
            if self._is_working() or is_timer_due(due):
                passes = 0
                await anyio.sleep(moment_s)
                moment_s = min(moment_s * _MOMENT_GROWTH, _MOMENT_MAX_S)
            else:
                # A pass of the event loop takes in what has come from its threads and sockets.
                passes, moment_s = passes + 1, _MOMENT_S
                await lowlevel.checkpoint()
            if asked != self._asked:
                asked, passes = self._asked, 0
                due = min(loop_time() + _SOON_S, began + _TIMERS_S)

    def _is_working(self) -> bool:
        return is_ready() or count_threads_awaited() > self._threads_asleep
