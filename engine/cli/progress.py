"""The progress of a run: a panel on a terminal, plain lines elsewhere."""

import os
import sys
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from engine.cli import output
from engine.clock import SystemClock
from engine.core.errors import StoreLost
from engine.core.runs import RunState
from engine.core.states import State
from engine.core.status import Status
from engine.report import words
from engine.report.document import to_json

if TYPE_CHECKING:
    from engine.cli.panel import Panel
    from engine.session import Run

PANEL_EVERY_S = 0.5
_QUERY_SHARE = 20
"""The pause between two queries is at least this many times as long as a query: a million jobs take seconds."""


class Display(Protocol):
    """Shows the progress of a run. `every_s` is the time between two updates in seconds; 0 for none."""

    every_s: float

    def show(self, status: Status) -> None:
        """Show a status."""
        ...

    def say(self, text: str) -> None:
        """Show one line, above the progress."""
        ...

    def suspend(self) -> None:
        """Clear the display, until `go_on`."""
        ...

    def go_on(self) -> None:
        """Show progress again."""
        ...


async def follow(run: "Run", display: Display) -> None:
    """Show the run's status at intervals, until cancelled."""
    clock = SystemClock()
    took_s = 0.0
    while display.every_s > 0:
        await clock.sleep(pause_s(display.every_s, took_s))
        began = clock.now()
        try:
            status = await run.status()
        except StoreLost:
            return  # The run raises it as well, after the requests in flight.
        took_s = clock.now() - began
        display.show(status)


async def watch(run: "Run", display: Display) -> Status:
    """Show the status of a run that other processes execute, until none does any more.

    Returns the last status, which is not shown.
    """
    clock = SystemClock()
    while True:
        began = clock.now()
        status = await run.status()
        if _has_ended(status):
            return status
        took_s = clock.now() - began
        display.show(status)
        await clock.sleep(pause_s(display.every_s or PANEL_EVERY_S, took_s))


def _has_ended(status: Status) -> bool:
    """Whether a run is over or was stopped, and has no request in flight.

    One of several processes may stop before the others.
    """
    is_stopped = status.state is not RunState.ACTIVE or status.reason is not None
    return status.unattended or (is_stopped and not status.jobs.get(State.RUNNING))


def pause_s(every_s: float, took_s: float) -> float:
    """Seconds to wait between two queries for a status, if the last one took `took_s`."""
    return max(every_s, took_s * _QUERY_SHARE)


class Lines:
    """Writes progress to stderr line by line, for pipes and log files."""

    def __init__(self, every_s: float) -> None:
        self.every_s = every_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None

    def show(self, status: Status) -> None:
        output.say(words.progress_line(status))

    def say(self, text: str) -> None:
        output.say(text)

    def suspend(self) -> None:
        return None

    def go_on(self) -> None:
        return None


class DataLines(Lines):
    """Writes progress to stdout line by line, as text or as JSON, for `status --watch`."""

    def __init__(self, every_s: float, *, as_json: bool) -> None:
        super().__init__(every_s)
        self._as_json = as_json

    def show(self, status: Status) -> None:
        """Write a status; raises BrokenPipeError if the reader has closed the pipe."""
        if self.every_s:
            line = to_json(status, indent=None) if self._as_json else words.progress_line(status)
            output.write_line(line)


def run_display(every_s: float) -> "Panel | Lines":
    """The display for a run that this process executes: on stderr."""
    if not _can_redraw(sys.stderr):
        return Lines(every_s)
    from engine.cli.panel import open_panel  # rich is slow to import, and not always needed

    return open_panel(on_stderr=True)


def watch_display(every_s: float, *, as_json: bool) -> "Panel | Lines":
    """The display for a run that other processes execute: on stdout."""
    if as_json or not _can_redraw(sys.stdout):
        return DataLines(every_s, as_json=as_json)
    from engine.cli.panel import open_panel  # rich is slow to import, and not always needed

    return open_panel(on_stderr=False)


def _can_redraw(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"
