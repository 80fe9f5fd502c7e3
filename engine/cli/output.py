"""Data on stdout, talk on stderr."""

import shlex
import sys
from collections.abc import Iterable
from typing import Any

import typer

from engine.cli.options import DEFAULT_STORE
from engine.report.terminal import plain


def data(lines: Iterable[str]) -> None:
    """Write lines to stdout, without keys and what a terminal would obey."""
    for line in lines:
        typer.echo(_harmless(line, sys.stdout.encoding))


def json_data(value: Any) -> None:
    """Write one of the engine's values to stdout as JSON."""
    from engine.report.document import to_json
    from engine.secrets import without_secrets

    typer.echo(without_secrets(to_json(value)))


def say(*lines: str) -> None:
    """Write lines to stderr, without keys and what a terminal would obey."""
    for line in lines:
        typer.echo(_harmless(line, sys.stderr.encoding), err=True)


def command(name: str, run: str, store: str, *flags: str) -> str:
    """The command line that a user would type next."""
    options = [*flags]
    if store != DEFAULT_STORE:
        options += ["--store", store]
    # After two dashes a name that looks like an option is a name.
    words = [*options, "--", run] if run.startswith("-") else [run, *options]
    return shlex.join(["nightsweep", name, *words])


def _harmless(line: str, encoding: str | None) -> str:
    """A line without keys and control sequences, in what the stream can say: no locale may end a run."""
    from engine.secrets import without_secrets

    encoding = encoding or "utf-8"
    return without_secrets(plain(line)).encode(encoding, "replace").decode(encoding)
