"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from engine.cli.completion import complete_run

DEFAULT_STORE = "nightsweep.db"

StoreOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="STORE",
        envvar="NIGHTSWEEP_STORE",
        help="The store to work on: a path, or sqlite:///path.",
    ),
]
JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", envvar="NIGHTSWEEP_JSON", help="Print JSON on stdout.")
]
ProgressOption: TypeAlias = Annotated[
    int,
    typer.Option(
        "--progress-every",
        metavar="SECONDS",
        min=0,
        max=86_400,
        envvar="NIGHTSWEEP_PROGRESS_EVERY",
        help="Seconds between progress lines where there is no terminal; 0 for none.",
    ),
]
AcceptOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--accept",
        help="Continue although cases, settings or rules have changed; answers are kept.",
    ),
]
SweepArgument: TypeAlias = Annotated[
    Path,
    typer.Argument(
        metavar="SWEEP", help="A sweep file (YAML, TOML, JSON), or FILE.py:NAME of a Sweep."
    ),
]
RunArgument: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        help="The sweep's name; without it, the latest run.",
        autocompletion=complete_run,
    ),
]
NamedRunArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="RUN", help="The sweep's name.", autocompletion=complete_run)
]
