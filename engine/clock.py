"""The only module that knows the time."""

import time
from collections.abc import Awaitable
from typing import Protocol

import anyio


class Clock(Protocol):
    """Time as the engine sees it. All times are seconds since the Unix epoch (float, UTC)."""

    def now(self) -> float:
        """The present moment; within a process it never runs backwards."""
        ...

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Return once `seconds` have passed."""
        ...

    async def wait(self, event: anyio.Event, until: float) -> bool:
        """Return True once `event` is set, or False once the time is `until`."""
        ...


class SystemClock:
    """The machine's clock, read once and then carried by a clock that only goes on.

    Steps of the wall clock (NTP, a user, a virtual machine that is moved) therefore never reach a
    running process; a restart takes the wall clock anew. The time that a machine sleeps counts where
    the system tells it (Linux, macOS): windows and deadlines are met after it, too.
    """

    def __init__(self) -> None:
        self._offset_s = time.time() - _elapsed()

    def now(self) -> float:
        return self._offset_s + _elapsed()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(max(0.0, seconds))

    async def wait(self, event: anyio.Event, until: float) -> bool:
        with anyio.move_on_after(max(0.0, until - self.now())):
            await event.wait()
        return event.is_set()


# What goes on while the machine sleeps: Linux's boot time; on macOS the system's CLOCK_MONOTONIC does,
# of which Python's own monotonic clock is another.
_GOES_ON = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def _elapsed() -> float:
    """Seconds since some moment; it never runs backwards."""
    return time.monotonic() if _GOES_ON is None else time.clock_gettime(_GOES_ON)
