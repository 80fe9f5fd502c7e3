"""The event loop of this process for calls that block: one, in a thread of its own.

All blocking calls share it, so that what a function keeps between runs, such as an HTTP client with open connections,
stays usable: it belongs to the event loop in which it was first used.
"""

import atexit
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TypeVar

import anyio
from anyio.from_thread import BlockingPortal

T = TypeVar("T")

_ENDING_S = 5.0
"""Seconds that the event loop has to end when the process does."""


class _Loop:
    """An event loop in a thread, which is started when it is first needed, and again in a forked process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = 0
        self._thread: threading.Thread | None = None
        self._portal: BlockingPortal | None = None
        self.has_ended = False
        """Whether the process is ending, so that nothing can be called any more."""

    def portal(self) -> BlockingPortal:
        """Return the portal into the loop."""
        if self._process != os.getpid():
            # A forked process has no threads but its own, and a lock that may be held for ever.
            self._lock, self._portal, self._process = threading.Lock(), None, os.getpid()
        with self._lock:
            if self._portal is None:
                started: Future[BlockingPortal] = Future()
                # Its threads for blocking work are daemons like itself: none keeps the process from ending.
                self._thread = threading.Thread(
                    target=anyio.run, args=(_serve, started), name="nightsweep", daemon=True
                )
                self._thread.start()
                self._portal = started.result()
            return self._portal

    def stop(self) -> None:
        """Let the loop end, and with it what it holds open; called when the process ends."""
        self.has_ended = True
        if self._process == os.getpid() and self._portal is not None and self._thread is not None:
            self._portal.start_task_soon(self._portal.stop, True)
            self._thread.join(_ENDING_S)
            self._portal = None


async def _serve(started: "Future[BlockingPortal]") -> None:
    async with BlockingPortal() as portal:
        started.set_result(portal)
        await portal.sleep_until_stopped()


_loop = _Loop()
atexit.register(_loop.stop)


def has_ended() -> bool:
    """Whether the event loop has ended, with the process: what it held open is closed."""
    return _loop.has_ended


def entering(opening: AbstractAsyncContextManager[T]) -> AbstractContextManager[T]:
    """An asynchronous context manager as a blocking one, whose block the event loop holds open."""
    return _loop.portal().wrap_async_context_manager(opening)


def begin(work: Callable[[], Awaitable[T]]) -> "Future[T]":
    """Start a coroutine in the event loop; cancelling the future cancels it."""
    return _loop.portal().start_task_soon(work)


def call(work: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine in the event loop and return its result; Ctrl-C cancels it."""
    future = begin(work)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
