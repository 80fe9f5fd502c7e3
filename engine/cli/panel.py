"""The panel that shows the progress of a run on a terminal."""

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from engine.cli.progress import PANEL_EVERY_S
from engine.core.status import Status
from engine.core.terminal import plain
from engine.report import waiting, words
from engine.report.money import spent_lines
from engine.report.times import duration

_LONGEST = 300
"""Characters of a service's message that the panel shows; `status` shows it in full."""


class Panel:
    """Draws progress at the bottom of a terminal, in place, and clears it at the end."""

    def __init__(self, console: Console) -> None:
        self.every_s = PANEL_EVERY_S
        self._console = console
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


def open_panel(*, on_stderr: bool) -> Panel:
    """A panel on the terminal of stderr, or on that of stdout."""
    return Panel(Console(stderr=on_stderr, highlight=False))


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
    share = status.share_done
    session = status.session
    since = "" if session is None else f" · {duration(status.at - session.began_at)}"
    line.add_row(
        Text(plain(status.run), style="bold"),
        ProgressBar(total=1.0, completed=share),
        Text(f"{done:,}/{status.cells:,}{more} cells {share:.0%}{since}"),
    )
    return line
