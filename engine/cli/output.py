"""Data on stdout, talk on stderr."""

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
    """Give a process that was started without stdout or stderr some that lead nowhere.

    Also so that no file which is opened later becomes what somebody takes for them.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123  # for as long as the process lives


def silence(stream: TextIO) -> None:
    """Have what is still written to a broken stream, by whomever, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@contextmanager
def to_stdout() -> Iterator[None]:
    """Write data to stdout within the block; who reads it may go away when it has seen enough.

    Raises UsageError when it cannot be written.
    """
    with suppress(BrokenPipeError), to_reader():
        yield


@contextmanager
def to_reader() -> Iterator[None]:
    """The same; raises BrokenPipeError once the reader has gone, at the end of the block at the latest."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)
        raise
    except OSError as error:
        silence(sys.stdout)
        raise UsageError(f"cannot write to stdout: {error.strerror or error}") from None


def data(lines: Iterable[str]) -> None:
    """Write lines to stdout, without keys and what a terminal would obey."""
    with to_stdout():
        for line in lines:
            typer.echo(_harmless(line, sys.stdout.encoding))


def data_line(line: str) -> None:
    """Write one line of an endless number to stdout; raises BrokenPipeError once the reader has gone."""
    with to_reader():
        typer.echo(_harmless(line, sys.stdout.encoding))


def data_part(*parts: str) -> None:
    """Write parts of a long text to stdout, harmless ones as `data` does; raises BrokenPipeError like `data_line`.

    A part that ends a line, or separates two, is written as it is.
    """
    with to_reader():
        for part in parts:
            is_break = not part.strip("[]\n,")
            typer.echo(part if is_break else _harmless(part, sys.stdout.encoding), nl=False)


def fitted(lines: Iterable[str], stream: TextIO) -> list[str]:
    """Prose as it fits a terminal, wrapped between words; elsewhere as it is, whatever COLUMNS says."""
    if not stream.isatty():
        return list(lines)
    return wrapped(map(plain, lines), get_terminal_size().columns)


def json_data(value: Any, *, indent: int | None = 2) -> None:
    """Write one of the engine's values to stdout as JSON, without an indent on one line."""
    from engine.report.document import to_json
    from engine.secrets import without_secrets

    with to_stdout():
        typer.echo(without_secrets(to_json(value, indent=indent)))


def say(*lines: str) -> None:
    """Write lines to stderr, without keys and what a terminal would obey.

    Nobody listening is no reason to end a run: then nothing is said.
    """
    try:
        for line in lines:
            typer.echo(_harmless(line, sys.stderr.encoding), err=True)
    except OSError:
        silence(sys.stderr)


def fail(*lines: str) -> None:
    """Write an error to stderr: each line with the command's name in front, indented ones as they are."""
    say(*(line if line[:1] == " " else f"nightsweep: {line}" for line in lines))


def can_ask() -> bool:
    """Whether stdin and stderr are a terminal, so that a question can be asked and answered."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def command(name: str, run: str | None, store: str, *flags: str) -> str:
    """The command line that a user would type next."""
    options = [*flags]
    if store != DEFAULT_STORE:
        options += ["--store", store]
    if run is None:
        return shlex.join(["nightsweep", name, *options])
    # After two dashes a name that looks like an option is a name.
    words = [*options, "--", run] if run.startswith("-") else [run, *options]
    return shlex.join(["nightsweep", name, *words])


def _harmless(line: str, encoding: str | None) -> str:
    """A line without keys and control sequences, in what the stream can say: no locale may end a run."""
    from engine.secrets import without_secrets

    encoding = encoding or "utf-8"
    return without_secrets(plain(line)).encode(encoding, "replace").decode(encoding)
