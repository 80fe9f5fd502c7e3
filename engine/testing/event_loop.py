"""What asyncio's event loop has to do and waits for, as far as it can be seen from inside.

Parts of this read private attributes of asyncio's loops. On a loop without them (uvloop), `is_ready` and
`is_timer_due` are always False, `until_idle` returns at once, and `watches_outside` is always True.
"""

import asyncio
import gc
import threading
from collections.abc import Callable, Generator, Iterable, Sized
from types import AsyncGeneratorType, CoroutineType, GeneratorType, coroutine
from typing import Any

_lookers = 0
"""Tasks that wait in `until_idle`, which are ready only to look."""
_own_timers: set[asyncio.TimerHandle] = set()
"""The timers of `look_again_in`."""


def loop_time() -> float:
    """The event loop's own time, in seconds, by which its timers go."""
    return asyncio.get_running_loop().time()


def new_future() -> "asyncio.Future[None]":
    """A future of the event loop."""
    return asyncio.get_running_loop().create_future()


@coroutine
def until_idle() -> Generator[None, None, None]:
    """Return once the event loop has nothing to run besides tasks that wait for this.

    It looks in each pass of the loop, all in one frame, since simulated time takes thousands of them.
    """
    global _lookers
    ready = _ready_in(asyncio.get_running_loop())
    while len(ready) > _lookers:
        _lookers += 1
        try:
            yield
        finally:
            _lookers -= 1


async def look_again_in(seconds: float) -> None:
    """Return after so many real seconds; the timer does not count as one."""
    done = new_future()
    timer = asyncio.get_running_loop().call_later(seconds, finish, done)
    _own_timers.add(timer)
    try:
        await done
    finally:
        timer.cancel()
        _own_timers.discard(timer)


def wait_ender() -> Callable[[], None]:
    """A function that lets this task go on from a wait for an event, as if the event had been set."""
    task = asyncio.current_task()
    assert task is not None, "only a task waits"

    def end_wait() -> None:
        # What asyncio.Event has the task wait for; None once the task goes on anyway.
        waiter = task._fut_waiter  # type: ignore[attr-defined]  # noqa: SLF001
        if waiter is not None:
            finish(waiter)

    return end_wait


def finish(future: "asyncio.Future[None]") -> None:
    """Let go on the task that waits for a future, unless it was cancelled."""
    if not future.done():
        future.set_result(None)


def is_ready() -> bool:
    """Whether the event loop has anything to run besides the tasks that look whether it has."""
    return len(_ready_in(asyncio.get_running_loop())) > _lookers


def _ready_in(loop: asyncio.AbstractEventLoop) -> Sized:
    """What the loop runs in its next pass."""
    ready: Sized = getattr(loop, "_ready", ())
    return ready


def is_timer_due(until: float) -> bool:
    """Whether any timer of the event loop goes off at this time of the loop or earlier."""
    scheduled: Iterable[asyncio.TimerHandle] = getattr(asyncio.get_running_loop(), "_scheduled", ())
    return any(
        timer.when() <= until and not timer.cancelled() and timer not in _own_timers
        for timer in scheduled
    )


def watches_outside() -> bool:
    """Whether the event loop watches any file descriptor besides the pipe that wakes it."""
    selector = getattr(asyncio.get_running_loop(), "_selector", None)
    return selector is None or len(selector.get_map()) > 1


def count_threads_awaited() -> int:
    """How many tasks wait for what a thread does."""
    if not any(map(_may_work, threading.enumerate())):
        return 0
    return sum(_awaits_thread(task.get_coro()) for task in asyncio.all_tasks())


def _may_work(thread: threading.Thread) -> bool:
    """Whether a thread may work for tasks; those of pytest-xdist do not."""
    return thread is not threading.main_thread() and "execnet" not in thread.name


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
