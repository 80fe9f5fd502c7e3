"""Running a command until it is done, or until a signal ends it or stops it for a while."""

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
Taker = Callable[[int], None]
"""What is to be done about a signal, called in the event loop."""

ENDING_S = 0.75
"""How long a command may take to end in order; then the process is ended from outside its event loop."""
_SHOW_CURSOR = "\x1b[?25h"


class Signals:
    """SIGINT, SIGTERM and SIGHUP as a command has them, whatever its event loop is busy with.

    They end it, unless somebody takes them.
    """

    def __init__(self, scope: anyio.CancelScope) -> None:
        self._scope = scope
        self._loop = asyncio.get_running_loop()
        self.taker: Taker | None = None
        self.is_ended = False
        """Whether one of them has ended the command."""

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """The handler: it runs in the main thread, between any two steps of Python's."""
        if self.taker is not None:
            self._loop.call_soon_threadsafe(self.taker, number)
            return
        self.is_ended = True
        # A thread, because whatever keeps the loop busy would keep a task waiting as well.
        last_word = threading.Timer(ENDING_S, end_at_once)
        last_word.daemon = True
        last_word.start()
        self._loop.call_soon_threadsafe(self._scope.cancel)


def end_at_once() -> None:
    """End the process, whatever it is doing: SQLite takes back what was not committed."""
    remove_parts()
    with suppress(OSError):
        os.write(2, b"nightsweep: interrupted\n")
    os._exit(exit_codes.INTERRUPTED)


def run_command(work: Callable[[], Awaitable[T]]) -> T:
    """Run a command to its end; raises Interrupted within a second after a signal that ends it.

    One that takes longer to end in order, such as while a name is looked up, ends with its process.
    """
    return run_with_signals(lambda _: work())


def run_quietly(work: Callable[[], Awaitable[T]]) -> T | None:
    """The same for what is looked at for as long as somebody likes: None where a signal ended it."""
    try:
        return anyio.run(_until_ended, lambda _: work())
    except Interrupted:
        return None


def run_with_signals(work: Callable[[Signals], Awaitable[T]]) -> T:
    """The same for a command that takes signals itself."""
    return anyio.run(_until_ended, work)


async def _until_ended(work: Callable[[Signals], Awaitable[T]]) -> T:
    with anyio.CancelScope() as scope:
        signals = Signals(scope)
        # One that is ignored, such as by `nohup`, stays so; another thread than the main one has none.
        taken = [
            number
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            if signal.getsignal(number) is not signal.SIG_IGN
            and threading.current_thread() is threading.main_thread()
        ]
        before = {number: signal.signal(number, signals.receive) for number in taken}
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
    """What is done before a command is stopped (SIGTSTP, Ctrl-Z), and after it goes on."""

    def __init__(self) -> None:
        self.suspend: Callable[[], None] = _show_cursor
        self.go_on: Callable[[], None] = lambda: None


@asynccontextmanager
async def stopped_between_commits(
    opening: "AbstractAsyncContextManager[Engine]", stops: Stops | None = None
) -> "AsyncIterator[Engine]":
    """Open a store that is worked on; Ctrl-Z lets the current transaction end first.

    A process that is stopped within one would hold the store's lock for as long as it is stopped.
    """
    raised: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        opened = anyio.Event()
        engines: list[Engine] = []
        await tasks.start(_stop_when_told, opened, engines, stops or Stops())
        try:
            async with opening as engine:
                engines.append(engine)
                opened.set()
                yield engine
        except (Exception, Interrupted) as error:
            # Raised again below, as itself and not as a group of one.
            raised = error
        tasks.cancel_scope.cancel()
    if raised is not None:
        raise raised


async def _stop_when_told(
    opened: anyio.Event,
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
            await opened.wait()
            async with engines[0].between_commits():
                stops.suspend()
                _stop()
                stops.go_on()


def _stop() -> None:
    """Stop as if the signal had not been handled; returns when the process goes on."""
    handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, handler)
    signal.siginterrupt(signal.SIGTSTP, False)


def _show_cursor() -> None:
    if sys.stderr.isatty():
        with suppress(OSError):
            os.write(2, _SHOW_CURSOR.encode())
