"""`results --format inspect`: the conversations of a run as logs of Inspect AI, in a directory."""

from collections.abc import Mapping
from pathlib import Path

from engine.cli import output
from engine.cli.opening import open_for_reading
from engine.core.errors import UsageError
from engine.core.listing import quantity
from engine.core.status import Status
from engine.report.formats import FORMATS

INSPECT = "inspect"
FORMAT_NAMES = (*FORMATS, INSPECT)
"""What `--format` takes: the formats of rows, and the one that writes a directory."""


def write_logs(
    run: str | None, store: str, directory: Path | None, *, past: bool, where: Mapping[str, str]
) -> None:
    """Write the logs of a run, and say how many there are and what they lack."""
    from engine.cli.running import run_command
    from engine.report.words import cells_line

    if directory is None:
        raise UsageError(
            "--format inspect writes one file for each model and prompt: name a directory with --output DIR"
        )

    async def write() -> tuple[list[Path], Status]:
        async with open_for_reading(store) as engine:
            found = await engine.run(run)
            written = await found.to_inspect(directory, past=past, where=where)
            return written, await found.status()

    written, status = run_command(write)
    # The coverage of the selected cells is in their logs.
    counted = "selected cells only" if where else cells_line(status)
    output.say(
        f"{status.run}: {counted}", f"{quantity(len(written), 'log')} written to {directory}"
    )
