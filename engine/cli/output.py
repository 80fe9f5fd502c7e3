"""Writing data to stdout and messages to stderr."""

import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from shutil import get_terminal_size
from typing import Any, TextIO

import typer

from engine.cli.options import DEFAULT_STORE
from engine.core.errors import UsageError
from engine.core.terminal import plain, wrapped


def open_streams() -> None:
    """Open the null device as stdout or stderr where the process was started without them.

    Otherwise the next file that is opened would get their descriptor, and messages would be written into it.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123  # for as long as the process lives


def silence(stream: TextIO) -> None:
    """Redirect a broken stream to the null device, so that later writes do not fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@contextmanager
def to_stdout() -> Iterator[None]:
    """Write data to stdout within the block, which ends quietly if the reader closes the pipe.

    Raises UsageError if stdout cannot be written, for example on a full disk.
    """
    with suppress(BrokenPipeError), to_reader():
        yield


@contextmanager
def to_reader() -> Iterator[None]:
    """Write data to stdout within the block; raises BrokenPipeError if the reader closes the pipe.

    It is raised at the end of the block at the latest. Other errors are raised as by `to_stdout`.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)
        raise
    except OSError as error:
        silence(sys.stdout)
        raise UsageError(f"cannot write to stdout: {error.strerror or error}") from None


def write_lines(lines: Iterable[str]) -> None:
    """Write lines to stdout, without keys and terminal control sequences."""
    with to_stdout():
        for line in lines:
            typer.echo(_harmless(line, sys.stdout.encoding))


def write_line(line: str) -> None:
    """Write one line of a stream to stdout; raises BrokenPipeError if the reader has closed the pipe."""
    with to_reader():
        typer.echo(_harmless(line, sys.stdout.encoding))


def write_parts(*parts: str) -> None:
    """Write parts of a long text to stdout, harmless ones as `write_lines` does; raises BrokenPipeError like `write_line`.

    A part that ends a line, or separates two, is written as it is.
    """
    with to_reader():
        for part in parts:
            is_break = not part.strip("[]\n,")
            typer.echo(part if is_break else _harmless(part, sys.stdout.encoding), nl=False)


def fit(lines: Iterable[str], stream: TextIO) -> list[str]:
    """Wrap lines of prose between words to the width of a terminal; other streams get them unchanged.

    COLUMNS, which counts before the terminal's own width, is ignored for them.
    """
    if not stream.isatty():
        return list(lines)
    return wrapped(map(plain, lines), _terminal_width(stream))


def _terminal_width(terminal: TextIO) -> int:
    """The columns of a terminal, which need not be the one of stdout."""
    if os.environ.get("COLUMNS", "").isdecimal():
        return get_terminal_size().columns
    try:
        return os.get_terminal_size(terminal.fileno()).columns or get_terminal_size().columns
    except OSError:
        return get_terminal_size().columns


def write_json(value: Any, *, indent: int | None = 2) -> None:
    """Write one of the engine's values to stdout as JSON; with an `indent` of None on one line."""
    from engine.report.document import to_json
    from engine.secrets import without_secrets

    with to_stdout():
        typer.echo(without_secrets(to_json(value, indent=indent)))


def say(*lines: str) -> None:
    """Write lines to stderr, without keys and terminal control sequences.

    A closed stderr does not end a run: further messages are dropped.
    """
    try:
        for line in lines:
            typer.echo(_harmless(line, sys.stderr.encoding), err=True)
    except OSError:
        silence(sys.stderr)


def say_prose(*lines: str) -> None:
    """Write lines to stderr as `say` does, wrapped between words if it is a terminal."""
    # Keys go first: one that is broken over two lines would not be found any more.
    say(*fit((_harmless(line, sys.stderr.encoding) for line in lines), sys.stderr))


def fail(*lines: str) -> None:
    """Write an error to stderr: `nightsweep: ` begins each line that is not indented.

    Indented lines are excerpts from files: they are not wrapped.
    """
    for line in lines:
        if line[:1] == " ":
            say(line)
        else:
            say_prose(f"nightsweep: {line}")


def can_ask() -> bool:
    """Whether the user can be asked a question: stdin and stderr are a terminal."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def command(name: str, run: str | None, store: str, *flags: str) -> str:
    """The command line that the user would type next, quoted for a shell."""
    options = [*flags]
    if store != DEFAULT_STORE:
        options += ["--store", store]
    if run is None:
        return shlex.join(["nightsweep", name, *options])
    # After two dashes a name that looks like an option is a name.
    words = [*options, "--", run] if run.startswith("-") else [run, *options]
    return shlex.join(["nightsweep", name, *words])


def _harmless(line: str, encoding: str | None) -> str:
    """A line without keys and control sequences; characters that the stream cannot encode are replaced."""
    from engine.secrets import without_secrets

    return to_encoding(plain(without_secrets(line)), encoding)


def to_encoding(text: str, encoding: str | None) -> str:
    """A text in which the characters that a stream of this encoding cannot encode are replaced."""
    encoding = encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
