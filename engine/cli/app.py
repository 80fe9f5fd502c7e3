"""The app with all its commands. Nothing heavy is imported before a command runs."""

from typing import Annotated

import typer

from engine.cli.backup import backup
from engine.cli.commands import check, plan, results, runs, status
from engine.cli.compare import compare
from engine.cli.control import cancel, pause, rename, retry
from engine.cli.deletion import delete, prune
from engine.cli.findings import findings
from engine.cli.gate import gate
from engine.cli.group import ExtensibleGroup
from engine.cli.inspection import events, jobs, show
from engine.cli.report import report
from engine.cli.run import rejudge, resume, run
from engine.cli.starting import init, schema
from engine.cli.worker import worker


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"nightsweep {version('nightsweep')}")
        raise typer.Exit


app = typer.Typer(
    cls=ExtensibleGroup,
    no_args_is_help=True,
    # Plain help and tracebacks: rich would cost more to import than everything else together.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={
        "auto_envvar_prefix": "NIGHTSWEEP",
        "help_option_names": ["--help", "-h"],
        "max_content_width": 100,
    },
)


@app.callback()
def nightsweep(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            allow_from_autoenv=False,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    """Run large LLM safety-evaluation sweeps overnight and lose nothing.

    Exit codes: 0 every cell is answered; 1 some cells failed; 2 wrong usage, sweep file or store;
    3 incomplete and resumable; 130 interrupted and resumable; 70 a bug.
    """


for _command in (
    init,
    plan,
    check,
    run,
    resume,
    rejudge,
    worker,
    status,
    events,
    jobs,
    show,
    results,
    findings,
    compare,
    gate,
    report,
    runs,
    retry,
    pause,
    cancel,
    rename,
    delete,
    prune,
    backup,
    schema,
):
    app.command()(_command)
