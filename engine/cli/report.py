"""The command that writes the report on a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli import output
from engine.cli.opening import open_for_reading
from engine.cli.options import (
    DEFAULT_STORE,
    RunArgument,
    StoreOption,
    format_option,
    output_option,
)

if TYPE_CHECKING:
    from engine.session import Run


def report(
    run: RunArgument = None,
    store: StoreOption = DEFAULT_STORE,
    target: Annotated[
        Path | None,
        output_option(
            "report",
            "The file to write (mode 0600); without it RUN-report.html in the current folder.",
        ),
    ] = None,
    form: Annotated[
        str | None,
        format_option(
            "report",
            ("html", "md"),
            "A page, or Markdown for a pull request; without it as the ending of --output says.",
        ),
    ] = None,
    pictures: Annotated[
        list[Path] | None,
        typer.Option(
            "--picture",
            metavar="FILE",
            envvar="NIGHTSWEEP_REPORT_PICTURE",
            help="Draw a chart: heatmap, thresholds or pairs, as .png, .svg or .pdf; may be repeated.",
        ),
    ] = None,
) -> None:
    """Write the report on a run as one HTML file, which a browser opens from disk.

    What finished, what is missing and why, what it cost, what fails where and how sure that is, and the
    conversations behind each number. The file loads nothing, and nothing that a model wrote runs in it.
    """
    from engine.cli.running import run_command

    drawn = pictures or []

    async def write() -> list[Path]:
        async with open_for_reading(store) as engine:
            found = await engine.run(run)
            path = target
            if path is None and (form is not None or not drawn):
                path = _name_report(found, form or "html")
            named = "" if store == DEFAULT_STORE else store
            paths = [] if path is None else [path]
            await found.to_report(*paths, form=form, pictures=drawn, store=named)
            return [*paths, *drawn]

    for path in run_command(write):
        output.say(f"the {'picture' if path in drawn else 'report'} is in {path}")


def _name_report(run: "Run", form: str) -> Path:
    from engine.report.files import name_file

    return Path(name_file(run.name, f"-report.{form}"))
