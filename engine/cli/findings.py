"""The command that prints the conversations of failed tests to be read."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli import output
from engine.cli.opening import open_for_reading
from engine.cli.options import (
    DEFAULT_STORE,
    JsonOption,
    RunArgument,
    StoreOption,
    WhereOption,
    parse_conditions,
)
from engine.core.errors import UsageError
from engine.core.listing import quantity
from engine.core.terminal import plain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engine.cli.pager import Printer
    from engine.cli.running import Signals
    from engine.core.findings import Finding
    from engine.session import Run

_THRESHOLDS = ("threshold", "thresholds")


def findings(
    run: RunArgument = None,
    where: WhereOption = None,
    worst: Annotated[
        int | None,
        typer.Option("--worst", metavar="COUNT", min=1, help="Only those with the lowest scores."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", metavar="T", help="Only those that fail at this threshold."),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show the failed tests of a run, conversation by conversation.

    Each with its cell, what was said, and the judge's evidence; on a terminal in your PAGER. `--json` prints the
    rows of `results --findings`.
    """
    from engine.cli.running import run_with_signals

    wanted = parse_conditions(where)
    if threshold is not None:
        if any(name in wanted for name in _THRESHOLDS):
            raise UsageError("--threshold and --where both name a threshold: give one of them")
        wanted["threshold"] = f"{threshold!r}"

    async def show(signals: "Signals") -> str:
        if as_json:
            async with open_for_reading(store) as engine:
                return await _write_json(await engine.run(run), wanted, worst)
        from engine.cli.pager import printing

        summary = ""
        with printing(signals) as printer:
            async with open_for_reading(store) as engine:
                found = await engine.run(run)
                summary = await _print(found, wanted, worst, printer)
        return summary

    if summary := run_with_signals(show):
        output.say_prose(summary)


async def _print(run: "Run", where: dict[str, str], worst: int | None, printer: "Printer") -> str:
    """Print findings as they are read, or the worst ones, and return a summary for stderr."""
    from engine.report.conversations import conversation_lines
    from engine.report.words import cells_line

    found, total = await _choose(run.findings(where=where), worst)
    shown = 0
    async for finding in found:
        shown += 1
        for line in conversation_lines(finding, shown, printer.width):
            printer.print(line)
    coverage = f"{plain(run.name)}: {cells_line(await run.status())}"
    if total is not None and total > shown:
        return (
            f"{coverage}; {shown:,} of {quantity(total, 'finding')} shown, the lowest scores first"
        )
    selected = " selected" if where else ""
    return f"{coverage}; {quantity(shown, 'finding')}{selected}"


async def _write_json(run: "Run", where: dict[str, str], worst: int | None) -> str:
    """Write findings as one list of objects."""
    from engine.report.document import line_json

    sheet = await run.sheet(of="findings", where=where)
    found, _ = await _choose(sheet.rows(), worst)
    before = "[\n"
    try:
        async for finding in found:
            output.write_parts(before, line_json(sheet.to_document(finding)))
            before = ",\n"
        output.write_parts("[]\n" if before == "[\n" else "\n]\n")
    except BrokenPipeError:
        pass
    return ""


async def _choose(
    findings: "AsyncIterator[Finding]", worst: int | None
) -> "tuple[AsyncIterator[Finding], int | None]":
    """The worst findings with the number of all; without a limit all of them, whose number is not known yet."""
    from engine.results.worst import collect_worst

    if worst is None:
        return findings, None
    chosen = await collect_worst(findings, characters=sys.maxsize, count=worst)
    return _each(chosen.kept()), chosen.total


async def _each(findings: "tuple[Finding, ...]") -> "AsyncIterator[Finding]":
    for finding in findings:
        yield finding
