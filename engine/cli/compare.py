"""The command that shows what changed between two runs."""

import sys
from contextlib import AsyncExitStack
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli import exit_codes, output
from engine.cli.completion import complete_run
from engine.cli.opening import open_for_reading
from engine.cli.options import (
    DEFAULT_STORE,
    AcrossJudgesOption,
    JsonOption,
    StoreOption,
    ThresholdsOption,
)
from engine.core.errors import UsageError

if TYPE_CHECKING:
    from engine.core.comparisons import Comparison
    from engine.session import Run


def compare(
    run: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="The earlier run; alone, the run whose edited sweep is compared with before.",
            autocompletion=complete_run,
        ),
    ],
    after: Annotated[
        str | None,
        typer.Argument(metavar="[B]", help="The later run.", autocompletion=complete_run),
    ] = None,
    threshold: ThresholdsOption = None,
    worst: Annotated[
        int,
        typer.Option(
            "--worst",
            metavar="COUNT",
            min=0,
            envvar="NIGHTSWEEP_COMPARE_WORST",
            help="Show the conversations of so many flipped cases.",
        ),
    ] = 20,
    across_judges: AcrossJudgesOption = False,
    with_store: Annotated[
        str | None,
        typer.Option(
            "--with-store",
            metavar="STORE",
            envvar="NIGHTSWEEP_COMPARE_WITH_STORE",
            help="The store in which A is, if it is another one.",
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show what changed from one run to another.

    Better, worse or not to be told apart, over the cells and cases of both; the means of values; then the
    cases that flipped.

    With one run: since its sweep was edited.
    """
    from engine.cli.running import run_command

    if after is None and with_store is not None:
        raise UsageError("--with-store has the earlier run of two: name both, A and B")

    async def show() -> bool:
        async with AsyncExitStack() as stack:
            engine = await stack.enter_async_context(open_for_reading(store))
            found = await engine.run(after or run)
            before = None
            if after is not None:
                if with_store is not None:
                    engine = await stack.enter_async_context(open_for_reading(with_store))
                before = await engine.run(run)
            comparison = await found.compare(
                before, thresholds=tuple(threshold or ()), across_judges=across_judges
            )
            if as_json:
                output.write_json(comparison)
            else:
                await _print(found, before, comparison, worst)
            return bool(comparison.cells_compared)

    if not run_command(show):
        raise typer.Exit(exit_codes.INCOMPLETE)


async def _print(run: "Run", before: "Run | None", comparison: "Comparison", worst: int) -> None:
    from engine.report.comparison import (
        comparison_lines,
        flipped_lines,
        flipped_words,
        has_rates,
        setting_lines,
        table_lines,
        value_lines,
    )

    width = get_terminal_size().columns if sys.stdout.isatty() else None
    output.write_lines(output.fit(comparison_lines(comparison), sys.stdout))
    output.write_lines(table_lines(comparison, width))
    output.write_lines(output.fit(setting_lines(comparison), sys.stdout))
    output.write_lines(value_lines(comparison, width))
    if not has_rates(comparison):
        return
    output.write_lines(["", flipped_words(comparison, min(worst, len(comparison.flipped))), ""])
    try:
        flipped = await run.flipped_cases(comparison, before, limit=worst)
    except UsageError as error:
        output.say_prose(f"the conversations cannot be shown: {error}")
        return
    output.write_lines(flipped_lines(flipped, comparison, width))
