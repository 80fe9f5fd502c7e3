"""`nightsweep serve` and `nightsweep serve keys`. The service itself is imported only to run it."""

from importlib.util import find_spec
from pathlib import Path

import anyio
import typer

from engine.kinds import SystemClock, UsageError, raise_file_limit
from jobs.serve.keys_commands import ConfigOption, keys_app

app = typer.Typer(
    name="serve",
    help="""Serve evaluations of your own models over HTTP, as the vendor's API.

    It speaks the Circuit Breaker Labs API. Without a command it runs the service until Ctrl-C or SIGTERM,
    and prints the base URL on stdout.
    """,
    add_completion=False,
    rich_markup_mode=None,
)
app.add_typer(keys_app)

_REQUIRED = ("fastapi", "uvicorn", "prometheus_client")


@app.callback(invoke_without_command=True)
def serve(context: typer.Context, config: ConfigOption = Path("serve.yaml")) -> None:
    """Serve, unless a command is named."""
    if context.invoked_subcommand is not None:
        # The commands of keys read the same file, unless they are given one of their own.
        names = typer.main.get_group(keys_app).commands
        context.default_map = {"keys": {name: {"config": config} for name in names}}
        return
    missing = [name for name in _REQUIRED if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{', '.join(missing)} is not installed: run `pip install 'nightsweep[serve]'`"
        )
    from jobs.serve.config import read_config
    from jobs.serve.server import serve as serve_

    raise_file_limit()
    anyio.run(serve_, read_config(config), SystemClock(), _announce, config.absolute().parent)


def _announce(url: str) -> None:
    from engine.serving.access_log import log_to_stderr

    # Errors before this point are plain text on stderr; from here on stderr has the JSON log.
    log_to_stderr("jobs.serve", fields=("model", "cause"))
    typer.echo(url)
