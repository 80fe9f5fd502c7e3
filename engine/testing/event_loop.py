"""What asyncio's event loop has to do and waits for, as far as it can be seen from inside.

Parts of this read private attributes of asyncio's loops. On a loop without them (uvloop), `is_ready` and
`is_timer_due` are always False, and `watches_outside` is always True.
"""

import asyncio
import gc
from collections.abc import Iterable
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any


def loop_time() -> float:
    """The event loop's own time, in seconds, by which its timers go."""
    return asyncio.get_running_loop().time()


def is_ready() -> bool:
    """Whether the event loop has anything to run besides the task that asks."""
    return bool(getattr(asyncio.get_running_loop(), "_ready", ()))


def is_timer_due(until: float) -> bool:
    """Whether any timer of the event loop goes off at this time of the loop or earlier."""
    scheduled: Iterable[asyncio.TimerHandle] = getattr(asyncio.get_running_loop(), "_scheduled", ())
    return any(timer.when() <= until and not timer.cancelled() for timer in scheduled)


def watches_outside() -> bool:
    """Whether the event loop watches any file descriptor besides the pipe that wakes it."""
    selector = getattr(asyncio.get_running_loop(), "_selector", None)
    return selector is None or len(selector.get_map()) > 1


def count_threads_awaited() -> int:
    """How many tasks wait for what a thread does."""
    return sum(_awaits_thread(task.get_coro()) for task in asyncio.all_tasks())


# Where a task stands while a thread works for it: module and coroutine.
_THREAD_CALLS = {
    ("aiosqlite.core", "_connect"),
    ("aiosqlite.core", "_execute"),
    ("aiosqlite.core", "close"),
    ("anyio._backends._asyncio", "run_sync_in_worker_thread"),
    ("asyncio.base_events", "getaddrinfo"),
    ("asyncio.base_events", "getnameinfo"),
    ("asyncio.threads", "to_thread"),
}


def _awaits_thread(awaitable: Any) -> bool:
    """Whether the innermost coroutine that a task awaits is one of `_THREAD_CALLS`."""
    frame = None
    while awaitable is not None:
        match awaitable:
            case CoroutineType():
                frame, awaitable = awaitable.cr_frame, awaitable.cr_await
            case AsyncGeneratorType():
                frame, awaitable = awaitable.ag_frame, awaitable.ag_await
            case GeneratorType():
                frame, awaitable = awaitable.gi_frame, awaitable.gi_yieldfrom
            case _:
                # Wrappers of coroutines and of the steps of generators do not tell what they wrap.
                wrapped = (each for each in gc.get_referents(awaitable) if _is_suspended(each))
                awaitable = next(wrapped, None)
    if frame is None:
        return False
    return (frame.f_globals.get("__name__"), frame.f_code.co_name) in _THREAD_CALLS


def _is_suspended(candidate: Any) -> bool:
    return isinstance(candidate, CoroutineType | AsyncGeneratorType | GeneratorType)
