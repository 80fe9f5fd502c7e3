"""Clocks that a test moves."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from heapq import heapify, heappop, heappush
from math import inf, isinf
from types import TracebackType

import anyio
from anyio import from_thread, lowlevel

from engine.testing.event_loop import (
    count_threads_awaited,
    finish,
    is_ready,
    is_timer_due,
    look_again_in,
    loop_time,
    new_future,
    until_idle,
    wait_ender,
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

_MOST_GONE = 64
"""Sleepers that were cancelled and may still be in the heap, in addition to as many as sleep."""


@dataclass(slots=True, eq=False)
class _Sleeper:
    wake: Callable[[], None]
    is_gone: bool = False
    """Whether it was woken or cancelled; one that was cancelled stays in the heap until its time."""


class _Deadline(AbstractContextManager[anyio.CancelScope]):
    """Cancels its block at a time of a FakeClock; as a class, since each attempt and each wait enters one."""

    def __init__(
        self,
        until: float,
        now: Callable[[], float],
        add_sleeper: Callable[[float, Callable[[], None]], _Sleeper],
        remove_sleeper: Callable[[_Sleeper], None],
    ) -> None:
        self._until = until
        self._now = now
        self._add_sleeper = add_sleeper
        self._remove_sleeper = remove_sleeper
        self._scope = anyio.CancelScope()

    def __enter__(self) -> anyio.CancelScope:
        scope = self._scope.__enter__()
        if self._until <= self._now():
            scope.cancel()
        self._sleeper = self._add_sleeper(self._until, scope.cancel)
        return scope

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self._remove_sleeper(self._sleeper)
        return self._scope.__exit__(kind, error, trace)


class FakeClock:
    """A clock that stands still until it is moved: by `advance`, or by itself while `jumping`.

    Times are seconds since the Unix epoch. Sleepers are woken at the very time they asked for, in
    order. The clock moves only once every task of the event loop waits: while one is ready to run, or
    waits for a thread (`anyio.to_thread`, `asyncio.to_thread`, aiosqlite), or for a real timer that is
    due within 50 ms, it stands still, however slow the machine is. What happens outside of the process
    cannot be seen: while the event loop watches sockets, pipes or child processes, they are given
    `quiet_s` of real time during which no task reads or sleeps on the clock. Where that may be too
    short, have the clock `paused` meanwhile.
    """

    def __init__(self, now: float = 1_800_000_000.0, *, quiet_s: float = QUIET_S) -> None:
        self._now = now
        self._quiet_s = quiet_s
        self._asked = 0
        self._sleepers: list[tuple[float, int, _Sleeper]] = []
        """A heap of sleepers, each with the time at which it wakes, and its number."""
        self._asleep = 0
        self._threads_asleep = 0
        self._pauses = 0
        self._stirred = anyio.Event()
        """Set when a sleeper comes or a pause ends."""

    def now(self) -> float:
        """The time that the clock was set or moved to, in seconds since the Unix epoch."""
        self._asked += 1
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Return once the clock was moved by `seconds`; if that is not positive, let other tasks run once."""
        if seconds <= 0:
            await lowlevel.checkpoint()
            return
        woken = new_future()
        sleeper = self._add_sleeper(self._now + seconds, partial(finish, woken))
        try:
            await woken
        finally:
            self._remove(sleeper)

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
        """Wait for `event` until the clock has moved to `until`; returns whether it is set."""
        if event.is_set() or until <= self._now:
            await lowlevel.checkpoint()
            return event.is_set()
        # A scope that cancels the wait would cost more than all else here.
        sleeper = self._add_sleeper(until, wait_ender())
        try:
            await event.wait()
        finally:
            self._remove(sleeper)
        return event.is_set()

    def move_on_after(self, seconds: float) -> AbstractContextManager[anyio.CancelScope]:
        """Cancel the block once the clock was moved by `seconds`; the scope tells whether it was."""
        until = self._now + seconds
        return _Deadline(until, self.now, self._add_sleeper, self._remove)

    async def advance(self, seconds: float) -> None:
        """Move on by `seconds`, stopping at the time of each sleeper until every task waits."""
        end = self._now + seconds
        await self._become_quiet()
        while self._next() <= end:
            self._move_on()
            await self._become_quiet()
        self._now = end

    @asynccontextmanager
    async def jumping(self) -> AsyncIterator[None]:
        """Within the block, move on to the next sleeper's time whenever every task waits.

        A night of waiting takes a moment, and everything starts at its exact time. Use `paused` around calls
        to real servers.
        """
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._jump_along, name="jumping clock")
            yield
            tasks.cancel_scope.cancel()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within the block the clock stands still, as while a real server answers."""
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1
            self._stirred.set()

    def skip(self, seconds: float) -> None:
        """Make it `seconds` later at once, or earlier if negative, without waking any sleeper.

        This is what a suspended machine or a changed clock looks like: sleepers sleep for as long as they had
        left.
        """
        self._now += seconds
        self._sleepers = [(until + seconds, number, one) for until, number, one in self._sleepers]
        heapify(self._sleepers)

    async def _jump_along(self) -> None:
        while True:
            await self._become_quiet()
            if isinf(self._next()):
                await self._stir()
            else:
                self._move_on()

    async def _stir(self) -> None:
        if self._stirred.is_set():
            self._stirred = anyio.Event()
        await self._stirred.wait()

    def _move_on(self) -> None:
        """Move on to the next sleeper's time, and wake all that sleep until then."""
        self._now = max(self._now, self._next())
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, sleeper = heappop(self._sleepers)
            if not sleeper.is_gone:
                sleeper.is_gone = True
                sleeper.wake()

    def _add_sleeper(self, until: float, wake: Callable[[], None]) -> _Sleeper:
        """Have `wake` called once the time is `until`, unless the sleeper is removed before."""
        self._asked += 1
        sleeper = _Sleeper(wake)
        heappush(self._sleepers, (until, self._asked, sleeper))
        self._asleep += 1
        self._stirred.set()
        return sleeper

    def _remove(self, sleeper: _Sleeper) -> None:
        self._asked += 1
        self._asleep -= 1
        sleeper.is_gone = True
        if len(self._sleepers) > 2 * self._asleep + _MOST_GONE:
            self._sleepers = [one for one in self._sleepers if not one[-1].is_gone]
            heapify(self._sleepers)

    def _next(self) -> float:
        while self._sleepers and self._sleepers[0][-1].is_gone:
            heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else inf

    async def _become_quiet(self) -> None:
        """Return once every task waits: for this clock, for another task, or for the outside."""
        while True:
            await self._become_idle()
            if self._pauses:
                await self._stir()
            elif not watches_outside():
                return
            else:
                asked = self._asked
                await look_again_in(self._quiet_s)
                if asked == self._asked and not (self._pauses or is_ready() or self._has_thread()):
                    return

    async def _become_idle(self) -> None:
        asked, began, due, moment_s = -1, loop_time(), 0.0, _MOMENT_S
        while True:
            await until_idle()
            if asked != self._asked:
                asked, moment_s = self._asked, _MOMENT_S
                due = min(loop_time() + _SOON_S, began + _TIMERS_S)
            if not (is_timer_due(due) or self._has_thread()):
                return
            await look_again_in(moment_s)
            moment_s = min(moment_s * _MOMENT_GROWTH, _MOMENT_MAX_S)

    def _has_thread(self) -> bool:
        """Whether a thread works for a task."""
        return count_threads_awaited() > self._threads_asleep


class ProcessClock:
    """The clock of one of several processes on a machine whose own clock was set in between.

    It counts the seconds of `machine`, whose methods move all of its clocks, and showed `set_to` when the
    process began. `boot` identifies a start of the machine: processes on different machines have different
    ones. See `engine.clock.AnchoredClock`.
    """

    def __init__(self, machine: FakeClock, *, set_to: float, boot: str = "boot") -> None:
        self.boot = boot
        self.offset_s = set_to - machine.now()
        self._machine = machine

    def follow(self, offset_s: float) -> None:
        """Use another offset from now on, as that of a process that started earlier."""
        self.offset_s = offset_s

    def now(self) -> float:
        """The time in this process: that of the machine and the offset."""
        return self.offset_s + self._machine.now()

    async def sleep(self, seconds: float) -> None:
        """Return once the machine's clock was moved by `seconds`."""
        await self._machine.sleep(seconds)

    async def wait(self, event: anyio.Event, until: float) -> bool:
        """Wait for `event` until it is `until` in this process; returns whether it is set."""
        return await self._machine.wait(event, until - self.offset_s)

    def move_on_after(self, seconds: float) -> AbstractContextManager[anyio.CancelScope]:
        """Cancel the block once the machine was moved by `seconds`; the scope tells whether it was."""
        return self._machine.move_on_after(seconds)
