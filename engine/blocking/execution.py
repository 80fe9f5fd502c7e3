"""Executing a run in a thread of its own while the caller waits, with progress and Ctrl-C."""

import shlex
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from types import FrameType
from typing import TypeAlias

import anyio

from engine.blocking.display import NotebookDisplay, open_display
from engine.blocking.loop import begin
from engine.cli import output
from engine.cli.progress import Display, follow
from engine.clock import SystemClock
from engine.cluster.placed import PlacedRun
from engine.cluster.placement import Placement
from engine.core.errors import Interrupted, leaves
from engine.core.runs import StopReason
from engine.core.status import Status
from engine.functions.source import stop_if_loading
from engine.machine import raise_file_limit
from engine.registry import Registry
from engine.report.words import summary_lines
from engine.session import Engine, Run, open_engine, try_opening
from engine.sweep import Sweep

FindRun: TypeAlias = Callable[[Engine], Awaitable[Run]]
"""Returns the run to execute, in a store that is open."""

_DRAW_EVERY_S = 0.25
_NOTICE_EVERY_S = 0.1
_SWITCH_S = 0.001
"""The interpreter's switch interval meanwhile: with the usual 5 ms, each commit waits for the event loop."""


def execute_sweep(
    sweep: Sweep, store: str | Path, *, accept: bool, fresh: bool, progress: bool, on: str | None
) -> Status:
    """Submit a sweep and work on it until it is done or stops; see `Sweep.run`."""
    placement = None if on is None else Placement.parse(on)

    async def submit(engine: Engine) -> Run:
        if placement is None:
            await try_opening(sweep, engine.clock)
        return await engine.submit(sweep, accept=accept, fresh=fresh)

    output.say_prose(*(f"warning: {warning}" for warning in sweep.warnings))
    return _execute(submit, store, sweep.registry, placement, progress=progress)


def execute_run(
    name: str,
    store: str | Path,
    registry: Registry | None,
    *,
    progress: bool,
    on: str | None = None,
) -> Status:
    """Work on a run that the store has until it is done or stops; see `BlockingRun.resume`."""
    stop_if_loading()
    placement = None if on is None else Placement.parse(on)
    return _execute(lambda engine: engine.run(name), store, registry, placement, progress=progress)


def _execute(
    find: FindRun,
    store: str | Path,
    registry: Registry | None,
    placement: Placement | None,
    *,
    progress: bool,
) -> Status:
    raise_file_limit()
    with open_display(progress=progress) as display:
        execution = _Execution(find, store, registry, placement, display)
        with _switching.often():
            status = execution.wait()
        if isinstance(display, NotebookDisplay):
            display.show(status)
    if progress and not isinstance(display, NotebookDisplay):
        output.say_prose(*summary_lines(status))
    if status.reason is StopReason.INTERRUPTED or execution.is_cut_off:
        message = _how_to_go_on(status.run, store)
        output.say(message)
        raise Interrupted(message)
    return status


class _Execution:
    """One execution, in the event loop of another thread."""

    def __init__(
        self,
        find: FindRun,
        store: str | Path,
        registry: Registry | None,
        placement: Placement | None,
        display: Display,
    ) -> None:
        self._find = find
        self._store = store
        self._registry = registry
        self._placement = placement
        self._display = display
        self._run: Run | None = None
        self._executable: Run | PlacedRun | None = None
        self._interrupts = _Interrupts()
        self._is_stopping = False
        self.is_cut_off = False
        """Whether the second Ctrl-C ended it."""

    def wait(self) -> Status:
        """Execute the run there and wait for its end; the first Ctrl-C stops it in order, the second at once."""
        with self._interrupts.counting():
            done: Future[Status] = begin(self._work)
            while not done.done():
                wait([done], _DRAW_EVERY_S)
                if isinstance(self._display, NotebookDisplay):
                    self._display.draw()
        return done.result()

    async def _work(self) -> Status:
        status: Status | None = None
        async with open_engine(self._store, registry=self._registry) as engine:
            with anyio.CancelScope() as scope:
                try:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(self._notice_interrupts, scope, name="interrupts")
                        self._run = run = await self._find(engine)
                        self._executable = executable = self._place(engine, run)
                        if self._is_stopping:
                            executable.stop()
                        tasks.start_soon(partial(follow, run, self._display), name="progress")
                        status = await executable.execute()
                        tasks.cancel_scope.cancel()
                except BaseExceptionGroup as group:
                    # Callers expect the error itself; the other tasks were cancelled because of it.
                    raise next(leaves(group)) from None
            if self._run is None:
                raise Interrupted("interrupted before the run was in the store: run it again")
            self.is_cut_off = status is None
            return status or await self._run.status()

    def _place(self, engine: Engine, run: Run) -> Run | PlacedRun:
        """What executes a run: this process, or the workers of a cluster."""
        if self._placement is None:
            return run
        return PlacedRun(engine, run, self._placement, self._display.say)

    async def _notice_interrupts(self, scope: anyio.CancelScope) -> None:
        """Stop the run after the first Ctrl-C, and end the execution after the second."""
        await self._interrupts.wait(1)
        self._display.say("stopping after the calls in flight; interrupt again to stop now")
        self._is_stopping = True
        if self._executable is not None:
            self._executable.stop()
        await self._interrupts.wait(2)
        self._display.say("stopping at once; nothing that was answered is lost")
        scope.cancel()


class _Interrupts:
    """Counts Ctrl-C while the main thread waits for a run, instead of raising KeyboardInterrupt there.

    A handler of the user's own stays, and what it raises ends the wait.
    """

    def __init__(self) -> None:
        self._count = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count within the block; other threads get no Ctrl-C."""
        is_main = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGINT)
        if not is_main or before is not signal.default_int_handler:
            yield
            return
        signal.signal(signal.SIGINT, self._add)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _add(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1

    async def wait(self, count: int) -> None:
        """Return once there were so many; looked up often, because a signal handler must not wait for a loop."""
        clock = SystemClock()
        while self._count < count:
            await clock.sleep(_NOTICE_EVERY_S)


class _Switching:
    """Keeps the interpreter's switch interval short while runs are executed, in however many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._runs = 0
        self._before_s = 0.0

    @contextmanager
    def often(self) -> Iterator[None]:
        """A block with a short interval; the last of several at once restores the one before."""
        with self._lock:
            self._runs += 1
            if self._runs == 1:
                self._before_s = sys.getswitchinterval()
                sys.setswitchinterval(_SWITCH_S)
        try:
            yield
        finally:
            with self._lock:
                self._runs -= 1
                if self._runs == 0:
                    sys.setswitchinterval(self._before_s)


_switching = _Switching()


def _how_to_go_on(name: str, store: str | Path) -> str:
    named = ["--", name] if name.startswith("-") else [name]
    command = shlex.join(["nightsweep", "resume", "--store", str(store), *named])
    return f"{name} was interrupted, and its answers are kept: run it again, or use {command}"
