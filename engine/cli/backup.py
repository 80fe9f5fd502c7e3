"""`backup`: a copy of the store, also while others work on it."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli import output
from engine.cli.opening import open_existing
from engine.cli.options import DEFAULT_STORE, JsonOption, StoreOption

if TYPE_CHECKING:
    from engine.core.status import Backup


def backup(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="The new file; without it, one beside the store with the time (UTC).",
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Copy the store to a new file, also while runs are going on.

    The copy is whole, has mode 0600, and can be resumed from. No file is overwritten.
    """
    import anyio

    async def copy() -> "Backup":
        async with open_existing(store) as engine:
            return await engine.backup(file)

    made = anyio.run(copy)
    if as_json:
        output.json_data(made)
    else:
        output.data([made.path])
    output.say(
        f"{made.answers:,} answers of {made.runs:,} runs, {made.bytes:,} bytes;"
        f" {made.in_flight:,} jobs were in flight and are sent again by who resumes from it",
        f"go on from it: {shlex.join(['nightsweep', 'resume', '--store', made.path])}",
    )
