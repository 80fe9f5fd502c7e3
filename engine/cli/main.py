"""The entry point: the app is called, and whatever it raises becomes a message and an exit code."""

import logging
import sys
import traceback
from collections.abc import Sequence
from io import StringIO
from typing import Protocol, TextIO, runtime_checkable

from engine.cli import exit_codes, output
from engine.cli.app import app
from engine.cli.signals import end_as_interrupts
from engine.core.errors import NightsweepError, leaves

logger = logging.getLogger(__name__)

_THEIR_PREFIX = "Error: "


@runtime_checkable
class _UsageMistake(Protocol):
    """An error of typer, whose class has another home in each version: it can show itself."""

    def show(self, file: TextIO | None = None) -> None:
        """Write the usage, a hint and the message."""
        ...


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit with one of the codes in engine.cli.exit_codes.

    Every error of every command ends here; each line of its message begins with `nightsweep: `.
    """
    output.open_streams()
    end_as_interrupts()
    try:
        code = app(args, prog_name="nightsweep", standalone_mode=False)
    except Exception as error:
        sys.exit(_report(error))
    sys.exit(code if isinstance(code, int) else exit_codes.ANSWERED)


def _report(error: Exception) -> int:
    """Write what a command raised to stderr; returns its exit code."""
    logger.debug("the command failed", exc_info=error)
    if isinstance(error, _UsageMistake):
        _report_usage(error)
        return exit_codes.USAGE
    found = list(leaves(error))
    if isinstance(found[0], OSError) and _is_from_echo(found[0]):
        # Commands of packages write to stdout with typer.echo.
        output.silence(sys.stdout)
        output.fail(f"cannot write to stdout: {found[0].strerror or found[0]}")
        return exit_codes.USAGE
    if not all(isinstance(leaf, NightsweepError) for leaf in found):
        output.say(*_lines("".join(traceback.format_exception(error))))
        return exit_codes.BUG
    for leaf in found:
        output.fail(*_lines(str(leaf)))
    return exit_codes.USAGE


def _is_from_echo(error: OSError) -> bool:
    """Whether typer.echo raised the error, and not anything else that a command does."""
    return traceback.extract_tb(error.__traceback__)[-1].name == "echo"


def _report_usage(mistake: _UsageMistake) -> None:
    """Write a mistake in the command line, then the usage; a group without a command shows its help alone."""
    shown = StringIO()
    mistake.show(shown)
    usage, prefix, message = shown.getvalue().partition(_THEIR_PREFIX)
    if not prefix:
        output.say(*usage.splitlines())
        return
    output.fail(*_lines(message))
    output.say(*filter(None, usage.splitlines()))


def _lines(text: str) -> list[str]:
    # Cleaned whole: a key may stretch over lines.
    from engine.secrets import without_secrets

    return without_secrets(text).splitlines()
