"""The progress of a run: one live display on a terminal, plain lines elsewhere."""

import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from engine.cli import output
from engine.clock import SystemClock
from engine.core.errors import StoreLost
from engine.core.runs import RunState
from engine.core.states import State
from engine.core.status import Status
from engine.core.terminal import plain
from engine.report import waiting, words
from engine.report.document import to_json
from engine.report.money import spent_lines

if TYPE_CHECKING:
    from engine.session import Run

PANEL_EVERY_S = 0.5
_LONGEST = 300
"""Characters of a service's message that the display shows; `status` shows it in full."""
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


class Panel:
    """Draws progress at the bottom of a terminal, in place, and clears it at the end."""

    def __init__(self, console: Console | None = None) -> None:
        self.every_s = PANEL_EVERY_S
        self._console = console or Console(stderr=True, highlight=False)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            # What is logged meanwhile is written above the display, and not into it. Files stay files.
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )

    def __enter__(self) -> Self:
        self._draw(self._live.start)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._draw(self._live.stop)

    def show(self, status: Status) -> None:
        self._draw(lambda: self._live.update(panel(status), refresh=True))

    def say(self, text: str) -> None:
        self._draw(lambda: self._console.print(Text(text)))

    def suspend(self) -> None:
        self._draw(self._live.stop)

    def go_on(self) -> None:
        self._draw(self._live.start)

    def _draw(self, draw: Callable[[], None]) -> None:
        """Call `draw`; if the terminal is gone, stop displaying instead of failing."""
        try:
            draw()
        except OSError:
            self._console.quiet = True
            self.every_s = 0.0


def run_display(every_s: float) -> Panel | Lines:
    """The display for a run that this process executes: on stderr."""
    return Panel() if _can_redraw(sys.stderr) else Lines(every_s)


def watch_display(every_s: float, *, as_json: bool) -> Panel | Lines:
    """The display for a run that other processes execute: on stdout."""
    if _can_redraw(sys.stdout) and not as_json:
        return Panel(Console(highlight=False))
    return DataLines(every_s, as_json=as_json)


def _can_redraw(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def panel(status: Status) -> RenderableType:
    """Render a status in wrapped lines: progress first, then what keeps jobs from being sent."""
    lines = [
        *words.trouble_lines(status),
        _join(words.questions_line(status), words.left_line(status)),
        waiting.jobs_line(status),
        *(words.shorten(line, _LONGEST) for line in waiting.held_lines(status)),
        *words.error_lines(status, longest=_LONGEST),
        *words.stop_lines(status),
        _join(words.requests_line(status), words.test_counts_line(status)),
        *([words.judge_words(status.judge)] if status.judge else []),
        *(f"quota {words.quota_words(quota)}" for quota in status.quotas),
        *spent_lines(status.spending),
    ]
    return Group(_bar(status), *(Text(line, overflow="fold") for line in lines if line))


def _join(*parts: str) -> str:
    return " · ".join(filter(None, parts))


def _bar(status: Status) -> RenderableType:
    line = Table.grid(padding=(0, 1), expand=True)
    line.add_column(no_wrap=True, overflow="ellipsis", max_width=24)
    line.add_column(ratio=1)
    line.add_column(no_wrap=True)
    done = status.cells_done + status.cells_failed
    more = "+" if status.expanding else ""
    share = done / status.cells if status.cells else 0.0
    line.add_row(
        Text(plain(status.run), style="bold"),
        ProgressBar(total=max(status.cells, 1), completed=done),
        Text(f"{done:,}/{status.cells:,}{more} cells {share:.0%}"),
    )
    return line
