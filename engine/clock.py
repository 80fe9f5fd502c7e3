"""The only module that knows the time."""

import time
from collections.abc import Awaitable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

import anyio


class Clock(Protocol):
    """The engine's source of time. All times are seconds since the Unix epoch (float, UTC)."""

    def now(self) -> float:
        """The current time; within a process it never goes backwards."""
        ...

    def sleep(self, seconds: float) -> Awaitable[None]:
        """Return after `seconds`."""
        ...

    async def wait(self, event: anyio.Event, until: float) -> bool:
        """Wait for `event` no longer than `until`; returns whether it is set."""
        ...

    def move_on_after(self, seconds: float) -> AbstractContextManager[anyio.CancelScope]:
        """Cancel the block after `seconds`; the scope tells afterwards whether that has happened."""
        ...


@runtime_checkable
class AnchoredClock(Clock, Protocol):
    """A clock that adds an offset to a count of seconds that all processes of a machine share.

    Processes with the same offset agree on the time, whatever the wall clock showed when each began.
    """

    @property
    def boot(self) -> str:
        """The id of the machine's boot, with which the count began; empty if unknown."""
        ...

    @property
    def offset_s(self) -> float:
        """The time at which the count was 0, in seconds since the Unix epoch."""
        ...

    def follow(self, offset_s: float) -> None:
        """Use another offset from now on, such as that of a process that started earlier."""
        ...


class SystemClock:
    """The wall clock, read once and continued with a monotonic one.

    So steps of the wall clock (NTP, a user, a migrated virtual machine) never reach a running
    process; a restart reads it again. Time during which the machine sleeps counts where the system
    reports it (Linux, macOS), so windows and deadlines are kept after a sleep, too.
    """

    def __init__(self) -> None:
        self._offset_s = time.time() - _monotonic_s()
        self._boot = _boot_id()

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

    def move_on_after(self, seconds: float) -> AbstractContextManager[anyio.CancelScope]:
        return anyio.move_on_after(max(0.0, seconds))


# A clock that runs while the machine sleeps: CLOCK_BOOTTIME on Linux, CLOCK_MONOTONIC on macOS, where
# time.monotonic() stops.
_AWAKE_OR_ASLEEP = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def _monotonic_s() -> float:
    """Seconds of a count that is the same in all processes of a machine and never goes backwards."""
    if _AWAKE_OR_ASLEEP is None:
        return time.monotonic()
    return time.clock_gettime(_AWAKE_OR_ASLEEP) - _NAMESPACE_S


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _namespace_s() -> float:
    """The offset of this process's time namespace, in seconds: a container may have its own."""
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
