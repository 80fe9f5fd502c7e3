"""Commands that other packages add, listed without being imported."""

import re
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from engine.cli import exit_codes, output
from engine.cli.help_lines import help_line
from engine.cli.logs import with_verbosity
from engine.core.errors import UsageError
from engine.shadowing import explain_shadowing

ENTRY_POINTS = "nightsweep.commands"
_INTERRUPTED = "nightsweep: interrupted"
_REWORDINGS = (
    (re.compile(r"Input should be a valid integer.*", re.DOTALL), "must be a whole number"),
    (re.compile(r"Input should be a valid number.*", re.DOTALL), "must be a number"),
    (re.compile(r"Input should be greater than or equal to "), "must be at least "),
    (re.compile(r"Input should be less than or equal to "), "must be at most "),
    (re.compile(r"Input should be "), "must be "),
)


class ExtensibleGroup(TyperGroup):
    """The built-in commands, and those under the entry point group `nightsweep.commands`.

    An entry point names a `typer.Typer`; it is imported when its command is called. The built-in
    commands come first: none of them can be replaced. Every command has the option `--verbose`.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        with_verbosity(self)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if (builtin := super().get_command(ctx, cmd_name)) is not None:
            return builtin
        for entry_point in _entry_points():
            if entry_point.name == cmd_name:
                try:
                    return _load_command(entry_point)
                except UsageError:
                    if not ctx.resilient_parsing:
                        raise
                    # Completion shows no errors.
                    return TyperCommand(cmd_name)
        return None

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = _reword(error.message)
            raise
        except (typer.Abort, EOFError):
            # Ctrl-C or the end of input at a question: the cursor is still on its line.
            output.say("", _INTERRUPTED)
            raise typer.Exit(exit_codes.INTERRUPTED) from None
        except KeyboardInterrupt:
            output.say(_INTERRUPTED)
            raise typer.Exit(exit_codes.INTERRUPTED) from None

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        found = list(super().shell_complete(ctx, incomplete))
        known = {item.value for item in found}
        return found + [
            _Completion(value=one.name, help=help_line(one))
            for one in _entry_points()
            if one.name.startswith(incomplete) and one.name not in known
        ]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        super().format_commands(ctx, formatter)
        added = [(one.name, help_line(one)) for one in _entry_points()]
        if added:
            with formatter.section("Added commands"):
                formatter.write_dl(added)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Completion:
    """The completion of an added command; typer's own class is not public."""

    value: str
    help: str
    type: str = "plain"


def _reword(message: str) -> str:
    """The message about an option's value, in our own words instead of those of pydantic."""
    problem = message.removeprefix("Value error, ")
    for theirs, ours in _REWORDINGS:
        problem = theirs.sub(ours, problem)
    return problem


def _entry_points() -> list[EntryPoint]:
    return sorted(entry_points(group=ENTRY_POINTS), key=lambda one: one.name)


def _load_command(entry_point: EntryPoint) -> Any:
    try:
        added = entry_point.load()
    except (ImportError, AttributeError) as error:
        advice = explain_shadowing(entry_point.module) or "reinstall the package that it comes from"
        raise UsageError(
            f"the command {entry_point.name} ({entry_point.value}) cannot be loaded: {error}; {advice}"
        ) from error
    if not isinstance(added, typer.Typer):
        raise UsageError(
            f"the command {entry_point.name} ({entry_point.value}) is not a typer.Typer app;"
            " ask the package that it comes from"
        )
    # Its help and errors look like those of the built-in commands.
    added.rich_markup_mode = None
    command = get_command(added)
    command.name = entry_point.name
    return with_verbosity(command)
