"""The only module that knows the time."""

import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Protocol, runtime_checkable

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


@runtime_checkable
class AnchoredClock(Clock, Protocol):
    """A clock that is a count of seconds and a moment from which they are counted.

    Processes that count from the same moment have the same time, whatever the machine's clock said when
    each of them began.
    """

    @property
    def boot(self) -> str:
        """What tells the count from others: it goes on until the machine is booted again; empty if unknown."""
        ...

    @property
    def offset_s(self) -> float:
        """The time at which the count was 0."""
        ...

    def follow(self, offset_s: float) -> None:
        """Count from another moment from now on, such as that of a process that was here before."""
        ...


class SystemClock:
    """The machine's clock, read once and then carried by a clock that only goes on.

    Steps of the wall clock (NTP, a user, a virtual machine that is moved) therefore never reach a
    running process; a restart takes the wall clock anew. The time that a machine sleeps counts where
    the system tells it (Linux, macOS): windows and deadlines are met after it, too.
    """

    def __init__(self) -> None:
        self._offset_s = time.time() - _monotonic_s()
        self._boot = _boot()

    @property
    def boot(self) -> str:
        return self._boot

    @property
    def offset_s(self) -> float:
        return self._offset_s

    def follow(self, offset_s: float) -> None:
        self._offset_s = offset_s

    def now(self) -> float:
        return self._offset_s + _monotonic_s()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(max(0.0, seconds))

    async def wait(self, event: anyio.Event, until: float) -> bool:
        with anyio.move_on_after(max(0.0, until - self.now())):
            await event.wait()
        return event.is_set()


# What goes on while the machine sleeps: Linux's boot time; on macOS the system's CLOCK_MONOTONIC does,
# of which Python's own monotonic clock is another.
_GOES_ON = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def _monotonic_s() -> float:
    """Seconds since some moment, the same in all processes of a machine; it never runs backwards."""
    if _GOES_ON is None:
        return time.monotonic()
    return time.clock_gettime(_GOES_ON) - _NAMESPACE_S


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _namespace_s() -> float:
    """By how much this process's time namespace has moved the count: a container may have its own."""
    try:
        offsets = Path("/proc/self/timens_offsets").read_text(encoding="ascii")
    except OSError:
        return 0.0
    for line in offsets.splitlines():
        match line.split():
            case ["boottime", seconds, nanoseconds]:
                return int(seconds) + int(nanoseconds) / 1e9
    return 0.0


_NAMESPACE_S = _namespace_s()
