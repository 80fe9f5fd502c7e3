"""The command that writes the report on a run."""

from pathlib import Path
from typing import Annotated

import typer

from engine.cli import output
from engine.cli.opening import open_for_reading
from engine.cli.options import DEFAULT_STORE, RunArgument, StoreOption


def report(
    run: RunArgument = None,
    store: StoreOption = DEFAULT_STORE,
    target: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            envvar="NIGHTSWEEP_REPORT_OUTPUT",
            help="The file to write (mode 0600); without it RUN-report.html in the current folder.",
        ),
    ] = None,
) -> None:
    """Write the report on a run as one HTML file, which a browser opens from disk.

    What finished, what is missing and why, what it cost, what fails where and how sure that is, and the
    conversations behind each number. The file loads nothing, and nothing that a model wrote runs in it.
    """
    from engine.cli.running import run_command
    from engine.report.files import name_file

    async def write() -> Path:
        async with open_for_reading(store) as engine:
            found = await engine.run(run)
            path = target or Path(name_file(found.name, "-report.html"))
            await found.to_report(path, store="" if store == DEFAULT_STORE else store)
            return path

    output.say(f"the report is in {run_command(write)}")
