"""Waiting in tests: as long as a busy machine needs, never for ever, and with a word on what was waited for."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Timer
from time import monotonic, sleep
from typing import Any

PATIENCE_S = 120.0
"""Guards against hanging for ever and asserts nothing else: what works never takes as long."""
PAUSE_S = 0.02
"""Between two looks at something that no event tells of."""
DYING_S = 10.0
"""How long a process that was aborted may take to tell its stacks."""


def _pause() -> None:
    sleep(PAUSE_S)


def until(
    happened: Callable[[], bool],
    what: str,
    *,
    pause: Callable[[], None] = _pause,
    last_words: Callable[[], str] = str,
) -> None:
    """Return once it has happened; fails with `what` and the `last_words` if it never does."""
    end = monotonic() + PATIENCE_S
    while not happened():
        assert monotonic() < end, in_vain(what, last_words())
        pause()


def in_vain(what: str, last_words: str = "") -> str:
    """What to say when there is no more patience for `what`."""
    return f"waited {PATIENCE_S:g} s in vain for {what}" + (f"; {last_words}" if last_words else "")


def with_stacks(environment: Mapping[str, str] = os.environ) -> Mapping[str, str]:
    """An environment for a Python process that is to tell all its stacks when it is aborted."""
    return {**environment, "PYTHONFAULTHANDLER": "1"}


@contextmanager
def awaiting(what: str, process: "subprocess.Popen[Any]") -> Iterator[None]:
    """A block that reads what a process says; fails if that takes for ever, and aborts the process."""
    is_silent = Event()

    def abort() -> None:
        is_silent.set()
        process.send_signal(signal.SIGABRT)

    timer = Timer(PATIENCE_S, abort)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        assert not is_silent.is_set(), in_vain(f"{what} of {process.args!r}", _stacks(process))


def next_line(process: "subprocess.Popen[str]") -> str:
    """The next line of a process's stdout, empty once it has ended."""
    assert process.stdout is not None
    with awaiting("a line", process):
        return process.stdout.readline().strip()


def wait_ended(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """What else a process says on stdout and stderr until it ends; one that does not end is aborted."""
    try:
        return process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        raise AssertionError(in_vain(f"the end of {process.args!r}", _stacks(process))) from None


def _stacks(process: "subprocess.Popen[Any]") -> str:
    """What a process that was aborted says of itself: its stacks, if its stderr is a pipe."""
    try:
        _, stacks = process.communicate(timeout=DYING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return "it outlives SIGABRT"
    return f"it printed: {stacks}" if stacks else ""
