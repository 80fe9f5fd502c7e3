"""Arguments and options that several commands share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from engine.cli.completion import complete_run
from engine.core.errors import UsageError

DEFAULT_STORE = "nightsweep.db"

StoreOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="STORE",
        envvar="NIGHTSWEEP_STORE",
        help="The store to work on: a path, sqlite:///path, or postgresql://user@host/database.",
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
OnOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="WHERE",
        envvar="NIGHTSWEEP_ON",
        help="Run it on the Dask workers of tcp://HOST:PORT, or in processes here: local:4.",
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
WhereOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="AXIS=PATTERN",
        help="Only of these values, such as model='openai/*' or threshold=0.5; repeatable.",
    ),
]
ThresholdsOption: TypeAlias = Annotated[
    list[float] | None,
    typer.Option("--threshold", metavar="T", help="Only at this threshold; repeatable."),
]
AcrossJudgesOption: TypeAlias = Annotated[
    bool,
    typer.Option("--across-judges", help="Compare even if the two runs were judged differently."),
]


AfterOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--after",
        metavar="CURSOR",
        help="Only what came after the line with this cursor, in that order; 0 for everything.",
    ),
]


def output_option(command: str, meaning: str, *, metavar: str = "FILE") -> Any:
    """The option `--output` of a command that writes a file; `meaning` is its help."""
    return typer.Option(
        "--output",
        "-o",
        metavar=metavar,
        envvar=f"NIGHTSWEEP_{command.upper()}_OUTPUT",
        help=meaning,
    )


def format_option(command: str, names: Sequence[str], meaning: str) -> Any:
    """The option `--format` of a command, which takes one of the names; `meaning` is its help."""

    def known(name: str) -> str:
        if name not in names:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(map(repr, names))}")
        return name

    return typer.Option(
        "--format",
        parser=known,
        metavar=f"[{'|'.join(names)}]",
        autocompletion=lambda: list(names),
        envvar=f"NIGHTSWEEP_{command.upper()}_FORMAT",
        help=meaning,
    )


def parse_axes(written: str | None) -> tuple[str, ...]:
    """The axes of `--by`, which are separated by commas; raises UsageError for an empty name, and for two of one."""
    if written is None:
        return ()
    names = tuple(name.strip() for name in written.split(","))
    if not all(names):
        raise UsageError(f"--by {written!r:.100}: write axes, such as models,groups")
    if len(set(names)) < len(names):
        raise UsageError(f"--by {written!r:.100} names an axis twice")
    return names


def parse_conditions(written: Sequence[str] | None) -> dict[str, str]:
    """The patterns of `--where` by axis; raises UsageError for one that is not AXIS=PATTERN, and for two of an axis."""
    found: dict[str, str] = {}
    for text in written or ():
        name, equals, pattern = text.partition("=")
        if not (name and equals):
            raise UsageError(f"--where {text!r:.100}: write AXIS=PATTERN, such as model=openai/*")
        if name in found:
            raise UsageError(f"--where names {name!r:.100} twice")
        found[name] = pattern
    return found
