"""Running a command until it is done, and what signals do to it meanwhile."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

import anyio

from engine.cli import exit_codes
from engine.core.errors import Interrupted
from engine.part_files import remove_parts

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

    from engine.session import Engine

T = TypeVar("T")
SignalHandler = Callable[[int], None]
"""Handles a signal, given by number; called in the event loop."""

ENDING_S = 0.75
"""Seconds that a command has to end in order; then a thread ends the process."""
_SHOW_CURSOR = "\x1b[?25h"


class Signals:
    """Receives SIGINT, SIGTERM and SIGHUP, also while the event loop is busy.

    They cancel the command, unless it has set a `handler`.
    """

    def __init__(self, scope: anyio.CancelScope) -> None:
        self._scope = scope
        self._loop = asyncio.get_running_loop()
        self.handler: SignalHandler | None = None
        self.is_ended = False
        """Whether one of them has ended the command."""

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """Receive a signal; Python calls this in the main thread, between two bytecodes."""
        if self.handler is not None:
            self._loop.call_soon_threadsafe(self.handler, number)
            return
        self.is_ended = True
        # In a thread: a busy event loop would delay a task.
        forced_exit = threading.Timer(ENDING_S, end_at_once)
        forced_exit.daemon = True
        forced_exit.start()
        self._loop.call_soon_threadsafe(self._scope.cancel)


def end_at_once() -> None:
    """End the process at once: SQLite rolls back what was not committed."""
    remove_parts()
    with suppress(OSError):
        os.write(2, b"nightsweep: interrupted\n")
    os._exit(exit_codes.INTERRUPTED)


def run_command(work: Callable[[], Awaitable[T]]) -> T:
    """Run a command to its end; raises Interrupted within a second after SIGINT, SIGTERM or SIGHUP.

    If it takes longer to end in order, for example during a DNS lookup, the process is ended.
    """
    return run_with_signals(lambda _: work())


def run_quietly(work: Callable[[], Awaitable[T]]) -> T | None:
    """Run a command that a signal ends without an error, such as `status --watch`; None then."""
    try:
        return anyio.run(_until_ended, lambda _: work())
    except Interrupted:
        return None


def run_with_signals(work: Callable[[Signals], Awaitable[T]]) -> T:
    """Run a command that handles signals itself."""
    return anyio.run(_until_ended, work)


async def _until_ended(work: Callable[[Signals], Awaitable[T]]) -> T:
    with anyio.CancelScope() as scope:
        signals = Signals(scope)
        # Ignored signals, such as SIGHUP under `nohup`, stay ignored; only the main thread can set handlers.
        handled = [
            number
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            if signal.getsignal(number) is not signal.SIG_IGN
            and threading.current_thread() is threading.main_thread()
        ]
        before = {number: signal.signal(number, signals.receive) for number in handled}
        try:
            return await work(signals)
        except Exception:
            if not signals.is_ended:
                raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    raise Interrupted("interrupted")


class Stops:
    """Called before a command is stopped (SIGTSTP, Ctrl-Z) and after it is continued."""

    def __init__(self) -> None:
        self.suspend: Callable[[], None] = _show_cursor
        self.go_on: Callable[[], None] = lambda: None


@asynccontextmanager
async def stopping_between_commits(
    opening: "AbstractAsyncContextManager[Engine]", stops: Stops | None = None
) -> "AsyncIterator[Engine]":
    """Open a store for a command that Ctrl-Z stops only between two transactions.

    A process that is stopped within a transaction holds the store's lock until it is continued.
    """
    raised: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        is_open = anyio.Event()
        engines: list[Engine] = []
        await tasks.start(_stop_on_sigtstp, is_open, engines, stops or Stops())
        try:
            async with opening as engine:
                engines.append(engine)
                is_open.set()
                yield engine
        except (Exception, Interrupted) as error:
            # Raised below: raised here, the task group would wrap it in an exception group.
            raised = error
        tasks.cancel_scope.cancel()
    if raised is not None:
        raise raised


async def _stop_on_sigtstp(
    is_open: anyio.Event,
    engines: "list[Engine]",
    stops: Stops,
    *,
    task_status: "TaskStatus[None]" = anyio.TASK_STATUS_IGNORED,
) -> None:
    if signal.getsignal(signal.SIGTSTP) is signal.SIG_IGN:
        task_status.started()
        return
    with anyio.open_signal_receiver(signal.SIGTSTP) as signals:
        task_status.started()
        async for _ in signals:
            # A store that is being opened may be in the middle of its migration.
            await is_open.wait()
            async with engines[0].between_commits():
                stops.suspend()
                _stop()
                stops.go_on()


def _stop() -> None:
    """Stop the process as SIGTSTP does by default; returns when it is continued."""
    handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, handler)
    signal.siginterrupt(signal.SIGTSTP, False)


def _show_cursor() -> None:
    if sys.stderr.isatty():
        with suppress(OSError):
            os.write(2, _SHOW_CURSOR.encode())
