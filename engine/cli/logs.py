"""`--verbose` and NIGHTSWEEP_LOG: how much a command logs, and where."""

import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from engine.core.errors import UsageError
from engine.logs import TextLines, log_to_file, stderr_handler

VARIABLE = "NIGHTSWEEP_LOG"

logger = logging.getLogger(__name__)

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_META = f"{__name__}.verbosity"
"""Under which name a command line's verbosity is kept while it is parsed."""
_OWN = ("engine", "jobs")
_GROUPS = ("nightsweep.commands", "nightsweep.health", "nightsweep.services")


@dataclass(frozen=True, slots=True)
class LogTarget:
    """From which level on is logged, and to which file; None for stderr."""

    level: int
    file: Path | None


def read_log_target(text: str) -> LogTarget | None:
    """Return what a value of NIGHTSWEEP_LOG asks for: LEVEL or LEVEL:FILE; None where it is empty.

    Raises UsageError for any other value.
    """
    if not text.strip():
        return None
    level, colon, file = text.strip().partition(":")
    if level.strip().lower() not in _LEVELS or (colon and not file.strip()):
        *others, last = _LEVELS
        raise UsageError(
            f"{VARIABLE}: {text!r:.200} is not LEVEL or LEVEL:FILE; LEVEL is {', '.join(others)} or {last},"
            " such as debug or debug:night.log"
        )
    path = _find_path(file.strip()) if colon else None
    return LogTarget(level=_LEVELS[level.strip().lower()], file=path)


def _find_path(file: str) -> Path:
    try:
        return Path(file).expanduser().absolute()
    except RuntimeError:
        raise UsageError(
            f"{VARIABLE}: {file!r:.200}: there is no such user; write the path of their folder"
        ) from None


def start_logging(verbosity: int) -> None:
    """Send the process's log to stderr and to a file, as `--verbose` and NIGHTSWEEP_LOG ask.

    Without either, warnings go to stderr. Raises UsageError for a bad NIGHTSWEEP_LOG.
    """
    target = read_log_target(os.environ.get(VARIABLE, ""))
    shown = logging.WARNING
    if verbosity:
        shown = logging.INFO if verbosity == 1 else logging.DEBUG
    elif target is not None and target.file is None:
        shown = target.level
    handler = stderr_handler()
    handler.shows_from = shown
    if shown < logging.WARNING:
        handler.setFormatter(TextLines(is_full=True))
    lowest = shown
    if target is not None and target.file is not None:
        log_to_file(target.file, target.level)
        lowest = min(shown, target.level)
    if lowest < logging.WARNING:
        # Not the root logger: other libraries log addresses with keys in them, statements and their values.
        for name in sorted({*_OWN, *_added_packages()}):
            logging.getLogger(name).setLevel(lowest)
        python = ".".join(map(str, sys.version_info[:3]))
        logger.debug("nightsweep %s, Python %s on %s", version("nightsweep"), python, sys.platform)


def with_verbosity(command: Any) -> Any:
    """Give a command, and those below it, the option `--verbose`, unless it has one of that name."""
    taken = {name for one in command.params for name in getattr(one, "opts", ())}
    if not taken.intersection(("-v", "--verbose")):
        command.params.append(_option())
    for below in getattr(command, "commands", {}).values():
        with_verbosity(below)
    return command


def _added_packages() -> Iterator[str]:
    """The top-level packages whose services and commands are installed."""
    for group in _GROUPS:
        for one in entry_points(group=group):
            yield one.module.partition(".")[0]


def _count(context: typer.Context, verbosity: int) -> None:
    """Add up how often the option is given to a command and to those above it; log if the command can run."""
    if context.resilient_parsing:
        return
    context.meta[_META] = context.meta.get(_META, 0) + verbosity
    if not isinstance(context.command, TyperGroup) or context.command.invoke_without_command:
        start_logging(context.meta[_META])


@cache
def _option() -> Any:
    """The option itself, made by typer: the class of its parameters is another one in each of its versions."""
    carrier = typer.Typer(add_completion=False)

    @carrier.command()
    def carry(
        verbose: Annotated[
            int,
            typer.Option(
                "--verbose",
                "-v",
                count=True,
                callback=_count,
                expose_value=False,
                allow_from_autoenv=False,
                show_default=False,
                help=f"Log to stderr what the engine does, -vv in detail; {VARIABLE}=debug:FILE to a file.",
            ),
        ] = 0,
    ) -> None: ...

    [option] = [one for one in get_command(carrier).params if one.name == "verbose"]
    return option
