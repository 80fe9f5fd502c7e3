"""Functions that end in every way, for runs in the event loop, in threads and in processes."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from engine import Permanent, QuotaExceeded, RateLimited, Transient, job
from engine.kinds import MachineFault


class Busy(Transient):
    """A class of the user's own."""


class Hopeless(Permanent):
    """Another."""


class Odd(BaseException):
    """No Exception."""


class WithoutText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


_RAISED: dict[str, Callable[[], BaseException]] = {
    "value error": lambda: ValueError("the value\nis wrong"),
    "without message": ValueError,
    "key error": lambda: KeyError("key"),
    "exit": lambda: SystemExit(3),
    "odd": lambda: Odd("odd"),
    "cancelled": asyncio.CancelledError,
    "without text": WithoutText,
    "group": lambda: ExceptionGroup("several", [ValueError("one"), TypeError("two")]),
    "permanent": lambda: Permanent("it cannot", detail="because"),
    "hopeless": lambda: Hopeless("it never can"),
    "transient": lambda: Transient("not now", retry_after_s=0.001),
    "busy": lambda: Busy("busy"),
    "retried": lambda: ConnectionError("lost"),
    "quota": lambda: QuotaExceeded("no quota"),
}
_RAISED_AT_FIRST: dict[str, Callable[[], BaseException]] = {
    "recovers": lambda: Busy("only once"),
    "rate limited": lambda: RateLimited(retry_after_s=0.001),
    "machine": lambda: MachineFault("short of something"),
    "memory": MemoryError,
}


def fail(how: str, attempt: int = 2) -> Any:
    """Raise what is named, some only at the first attempt."""
    error = _RAISED.get(how) or (_RAISED_AT_FIRST.get(how) if attempt == 1 else None)
    if error is not None:
        raise error()
    return how


ENDS: dict[str, str | None] = {
    "fine": None,
    "value error": "ValueError: the value\nis wrong",
    "without message": "ValueError",
    "key error": "KeyError: 'key'",
    "exit": "SystemExit: 3",
    "odd": "Odd: odd",
    "cancelled": "CancelledError",
    "without text": "WithoutText: its text cannot be made (RuntimeError)",
    "group": "ExceptionGroup: several (2 sub-exceptions)",
    "permanent": "it cannot: because",
    "hopeless": "it never can",
    "transient": "not now (gave up after 2 attempts)",
    "busy": "busy (gave up after 2 attempts)",
    "retried": "ConnectionError: lost (gave up after 2 attempts)",
}
"""What each cell ends with: the error, or None if it has an answer."""


@job(retry_on=ConnectionError)
async def fail_in_loop(how: str) -> Any:
    return fail(how)


@job(retry_on=(ConnectionError, TimeoutError))
def fail_plainly(how: str) -> Any:
    return fail(how)


@job(retry_on=ConnectionError, processes=2, timeout_s=60)
def die(how: str, marks: str) -> int:
    """End the process, the first time in a folder of marks; return the number of the process."""
    mark = os.path.join(marks, how)  # noqa: PTH118
    if os.path.exists(mark):  # noqa: PTH110
        return os.getpid()
    with open(mark, "w") as file:  # noqa: PTH123
        file.write(str(os.getpid()))
    if how == "exit":
        os._exit(7)
    os.kill(os.getpid(), getattr(signal, how))
    signal.pause()
    return 0


@job
def echo(text: str) -> str:
    """Its argument, of any size."""
    return text


@job
def print_much(n: int) -> int:
    """Print, also from a process of its own, and read what there is to read."""
    print("printed by the function")  # noqa: T201
    os.system("echo printed by a command")  # noqa: S605, S607
    os.write(1, b"written to the descriptor\n")
    return len(sys.stdin.read())


@job(processes=1, timeout_s=5)
def hang_once(marks: str) -> int:
    """Hang at the first call; return the number of the process."""
    mark = os.path.join(marks, "hung")  # noqa: PTH118
    if not os.path.exists(mark):  # noqa: PTH110
        with open(mark, "w") as file:  # noqa: PTH123
            file.write(str(os.getpid()))
        while True:
            signal.pause()
    return os.getpid()
