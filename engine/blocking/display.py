"""The progress of a run in a notebook, and the choice of a display for scripts and notebooks."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, Self

from engine.cli.panel import Panel
from engine.cli.progress import Lines, run_display
from engine.core.status import Status
from engine.report.words import progress_line

LINES_EVERY_S = 10.0
_NOTEBOOK_EVERY_S = 0.5
_is_used = Lock()


class NotebookDisplay:
    """Shows progress below a notebook's cell, in place; only IPython is needed.

    Statuses arrive in the event loop, and `draw` shows the last one: output of another thread may end up
    below another cell.
    """

    def __init__(self) -> None:
        self.every_s = _NOTEBOOK_EVERY_S
        self._handle: Any = None
        self._new: Status | None = None
        self._lines: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.draw()

    def show(self, status: Status) -> None:
        """Keep a status until it is drawn."""
        self._new = status

    def say(self, text: str) -> None:
        """Keep a line until it is drawn."""
        self._lines.append(text)

    def suspend(self) -> None:
        return None

    def go_on(self) -> None:
        return None

    def draw(self) -> None:
        """Show the last status in place of the one before, and new lines above the next output."""
        from IPython import display

        while self._lines:
            sys.stderr.write(self._lines.pop(0) + "\n")
        status, self._new = self._new, None
        if status is None:
            return
        if self._handle is None:
            show: Any = display.display  # it has no annotations
            self._handle = show(_Shown(status), display_id=True)
        else:
            self._handle.update(_Shown(status))


class _Shown:
    """A status as a notebook shows it: as HTML, and as text where that is not displayed."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def _repr_html_(self) -> str:
        return self._status._repr_html_()

    def __repr__(self) -> str:
        return progress_line(self._status)


@contextmanager
def open_display(*, progress: bool) -> Iterator[Panel | Lines | NotebookDisplay]:
    """Show progress within the block where this process runs: in a notebook, on a terminal, or in a pipe.

    Silent without `progress`, and while another run of this process is shown: two would overwrite each other.
    """
    if not progress or not _is_used.acquire(blocking=False):
        with Lines(0.0) as silent:
            yield silent
        return
    try:
        with NotebookDisplay() if _is_in_notebook() else run_display(LINES_EVERY_S) as display:
            yield display
    finally:
        _is_used.release()


def _is_in_notebook() -> bool:
    """Whether this process is the kernel of a notebook; IPython is not imported for it."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")
