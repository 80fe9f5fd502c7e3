"""Long text on a terminal: with colours, and through the user's pager."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import get_terminal_size, which
from typing import TYPE_CHECKING, Protocol

from engine.cli import output
from engine.cli.running import Signals

if TYPE_CHECKING:
    from engine.report.conversations import Line


class Printer(Protocol):
    """Prints lines; raises BrokenPipeError once their reader has gone."""

    width: int | None
    """The cells that a line may take; None without a terminal."""

    def print(self, line: "Line") -> None: ...


@contextmanager
def printing(signals: Signals) -> Iterator[Printer]:
    """Print within the block: to the pager if stdout is a terminal, else plainly to stdout.

    The block ends quietly once the reader has gone. A pager is started with the first line, and waited for at
    the end; until then Ctrl-C is its business. Without one, lines go to the terminal.
    """
    if not sys.stdout.isatty():
        with suppress(BrokenPipeError):
            yield _Plain()
        return
    terminal = _Terminal(signals)
    try:
        with suppress(BrokenPipeError):
            yield terminal
    finally:
        terminal.close()


class _Plain:
    """Prints to a file or a pipe, without colours."""

    width: int | None = None

    def print(self, line: "Line") -> None:
        output.write_line(line.text)


class _Terminal:
    """Prints with colours to the pager, or without one to the terminal itself."""

    def __init__(self, signals: Signals) -> None:
        self.width: int | None = max(40, get_terminal_size().columns)
        self._signals = signals
        self._pager: subprocess.Popen[str] | None = None
        self._is_open = False

    def print(self, line: "Line") -> None:
        if not self._is_open:
            self._open()
        from engine.secrets import without_secrets

        shown = line._replace(text=without_secrets(line.text))
        with self._console.capture() as captured:
            self._console.print(shown.to_text(), soft_wrap=True)
        text = output.to_encoding(captured.get(), sys.stdout.encoding)
        if self._pager is None:
            with output.to_reader():
                sys.stdout.write(text)
        else:
            assert self._pager.stdin is not None
            self._pager.stdin.write(text)

    def close(self) -> None:
        """Let the pager show the rest, and wait until the user leaves it."""
        if self._pager is None:
            return
        assert self._pager.stdin is not None
        with suppress(BrokenPipeError):
            self._pager.stdin.close()
        self._pager.wait()
        self._signals.handler = None

    def _open(self) -> None:
        from rich.console import Console

        self._is_open = True
        self._console = Console(
            file=sys.stdout, force_terminal=True, highlight=False, markup=False, emoji=False
        )
        if (command := _pager_command()) is None:
            return
        try:
            self._pager = subprocess.Popen(  # noqa: S603  # what the user has named
                command,
                stdin=subprocess.PIPE,
                encoding=sys.stdout.encoding,
                errors="replace",
                env={"LESS": "FX", **os.environ},
            )
        except OSError as error:
            output.say_prose(f"cannot start the pager {command[0]}: {error.strerror or error}")
            return
        self._signals.handler = self._receive

    def _receive(self, number: int) -> None:
        """Leave Ctrl-C to the pager; any other signal ends the command."""
        if number != signal.SIGINT:
            self._signals.handler = None
            self._signals.receive(number, None)


def _pager_command() -> list[str] | None:
    """The words of PAGER, or `less` if there is one; None if lines are to go to the terminal itself."""
    named = os.environ.get("PAGER")
    try:
        command = ["less"] if named is None else shlex.split(named)
    except ValueError:
        output.say_prose(
            f"PAGER is {named!r:.100}, which is no command line: the pager is left out"
        )
        return None
    if not command or command == ["cat"] or (named is None and which("less") is None):
        return None
    # Colours are shown, and not their control sequences.
    return [*command, "-R"] if Path(command[0]).name == "less" else command
