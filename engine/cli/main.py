"""The entry point: the app is called, and whatever it raises becomes an exit code."""

import sys
import traceback
from collections.abc import Sequence

from engine.cli import exit_codes, output
from engine.cli.app import app
from engine.cli.signals import end_as_interrupts
from engine.core.errors import NightsweepError, SweepError, leaves


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit with one of the codes in engine.cli.exit_codes."""
    output.open_streams()
    end_as_interrupts()
    try:
        app(args, prog_name="nightsweep")
    except Exception as error:
        found = list(leaves(error))
        if not all(isinstance(leaf, NightsweepError) for leaf in found):
            _tell("".join(traceback.format_exception(error)))
            sys.exit(exit_codes.BUG)
        for leaf in found:
            # Editors and terminals open FILE:LINE:COLUMN where a line begins with it.
            _tell(str(leaf), before="" if isinstance(leaf, SweepError) else "nightsweep: ")
        sys.exit(exit_codes.USAGE)


def _tell(text: str, before: str = "") -> None:
    """Write a text to stderr, without keys and without what a terminal would obey."""
    from engine.secrets import without_secrets

    output.say(*(before + line for line in without_secrets(text).splitlines()))
