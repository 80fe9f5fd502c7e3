"""`backup`: a copy of the store, also while others work on it."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli import output
from engine.cli.opening import open_for_reading
from engine.cli.options import DEFAULT_STORE, JsonOption, StoreOption
from engine.core.listing import quantity

if TYPE_CHECKING:
    from engine.core.status import Backup


def _describe_in_flight(jobs: int) -> str:
    """What happens to the jobs that were in flight, if there were any."""
    if not jobs:
        return ""
    were = "was in flight and is" if jobs == 1 else "were in flight and are"
    return f"; {quantity(jobs, 'job')} {were} sent again when the copy is resumed"


def backup(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="The new file; by default in the store's folder, with the time (UTC).",
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Copy the store to a new file, also while runs are going on.

    The copy is whole, has mode 0600, and can be resumed from. No file is overwritten.
    """
    from engine.cli.running import run_command

    async def copy() -> "Backup":
        async with open_for_reading(store) as engine:
            return await engine.backup(file)

    made = run_command(copy)
    if as_json:
        output.write_json(made)
    else:
        output.write_lines([made.path])
    output.say(
        f"{quantity(made.answers, 'answer')} of {quantity(made.runs, 'run')}, {made.bytes:,} bytes"
        + _describe_in_flight(made.in_flight),
        f"continue with it: {shlex.join(['nightsweep', 'resume', '--store', made.path])}",
    )
