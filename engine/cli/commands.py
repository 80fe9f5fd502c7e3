"""Commands that read a sweep file or a store and change nothing."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli import exit_codes, output
from engine.cli.following import print_new_rows
from engine.cli.inspect_logs import FORMAT_NAMES, INSPECT, write_logs
from engine.cli.opening import open_for_reading, store_exists
from engine.cli.options import (
    DEFAULT_STORE,
    AfterOption,
    JsonOption,
    ProgressOption,
    RunArgument,
    StoreOption,
    SweepArgument,
    WhereOption,
    format_option,
    output_option,
    parse_axes,
    parse_conditions,
)
from engine.core.errors import UsageError
from engine.report.formats import FORMATS, format_ending, format_of
from engine.report.sheet import RowFormat

if TYPE_CHECKING:
    from engine.core.rows import RowCounts
    from engine.core.status import Plan, Status
    from engine.report.sheet import Sheet
    from engine.session import Run
    from engine.session.readings import Of


def plan(
    sweep: SweepArgument,
    online: Annotated[
        bool,
        typer.Option(
            "--online",
            envvar="NIGHTSWEEP_ONLINE",
            help="Ask the service for its groups and how cells fold.",
        ),
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show what a sweep would ask for; no evaluation is sent.

    Cells, jobs, what folding saves, requests, quota, and the time they need at the limits. With an
    existing store also what answers cost, what it holds of them, and what is left.
    """
    show_plan(sweep, store, as_json, online=online)


def show_plan(
    sweep: Path,
    store: str,
    as_json: bool,
    *,
    online: bool = False,
    accept: bool = False,
    fresh: bool = False,
) -> None:
    """Print the plan of a sweep over a store."""
    from engine.cli.running import run_command
    from engine.clock import SystemClock
    from engine.report.plans import plan_lines
    from engine.session import add_times, resolve
    from engine.sweep import Sweep

    loaded = Sweep.load(sweep)

    is_known = store_exists(store)

    async def make() -> "Plan":
        asked = await resolve(loaded) if online else loaded
        if not is_known:
            return add_times(asked.plan(), asked.limits, SystemClock().now())
        async with open_for_reading(store) as engine:
            return await engine.plan(asked, accept=accept, fresh=fresh)

    found = run_command(make)
    output.say_prose(*(f"warning: {warning}" for warning in loaded.warnings))
    if as_json:
        output.write_json(found)
    else:
        output.write_lines(plan_lines(found))


def check(
    sweep: SweepArgument,
    ask: Annotated[
        bool,
        typer.Option("--ask", help="Ask each model one short question, which may cost a little."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask the service whether a sweep could run.

    Is it reached, is the key accepted, is there quota, are the groups and models known?

    Exits with 1 when a check fails.
    """
    from engine.cli.running import run_command
    from engine.clock import SystemClock
    from engine.report.words import check_lines
    from engine.session import check as check_sweep
    from engine.sweep import Sweep

    loaded = Sweep.load(sweep)
    checks = run_command(partial(check_sweep, loaded, SystemClock(), ask=ask))
    if as_json:
        output.write_json(checks)
    else:
        output.write_lines(output.fit(check_lines(checks, loaded.service_kind), sys.stdout))
    if not all(one.ok for one in checks):
        raise typer.Exit(exit_codes.FAILED)


def status(
    run: RunArgument = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            envvar="NIGHTSWEEP_STATUS_WATCH",
            help="Repeat until the run ends; Ctrl-C ends only the watching.",
        ),
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    progress_every: ProgressOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Show where a run stands.

    Cells answered of all, jobs by state, what is waited for, quota, and the time left.
    """
    from engine.cli.running import run_command, run_quietly
    from engine.core.status import Status
    from engine.report.words import status_lines

    async def look() -> Status:
        async with open_for_reading(store) as engine:
            found = await engine.run(run)
            return await (_watch(found, progress_every, as_json) if watch else found.status())

    try:
        found = (run_quietly if watch else run_command)(look)
    except BrokenPipeError:
        if not watch:
            raise
        return
    if found is None:
        return
    if as_json:
        output.write_json(found, indent=None if watch else 2)
    else:
        output.write_lines(output.fit(status_lines(found), sys.stdout))


async def _watch(run: "Run", every_s: int, as_json: bool) -> "Status":
    """Show a run on stdout until it has ended; returns its last status."""
    from engine.cli.progress import watch, watch_display

    with watch_display(every_s, as_json=as_json) as display:
        return await watch(run, display)


def results(
    run: RunArgument = None,
    store: StoreOption = DEFAULT_STORE,
    form: Annotated[
        str | None,
        format_option(
            "results",
            FORMAT_NAMES,
            "How the rows are written; without it as the ending of --output says, else a table.",
        ),
    ] = None,
    target: Annotated[
        Path | None,
        output_option(
            "results",
            "Write to a file (mode 0600) instead of stdout: .txt, .csv, .json, .jsonl, .parquet, .arrow;"
            " for inspect, a directory.",
            metavar="PATH",
        ),
    ] = None,
    with_past: Annotated[
        bool,
        typer.Option(
            "--all",
            envvar="NIGHTSWEEP_RESULTS_ALL",
            help="Also the cells that only an earlier version of the sweep asked for.",
        ),
    ] = False,
    of_findings: Annotated[
        bool,
        typer.Option(
            "--findings",
            envvar="NIGHTSWEEP_RESULTS_FINDINGS",
            help="One row for each failed test, with what was said.",
        ),
    ] = False,
    of_cases: Annotated[
        bool,
        typer.Option(
            "--cases",
            envvar="NIGHTSWEEP_RESULTS_CASES",
            help="One row for each test case of each cell.",
        ),
    ] = False,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="AXES",
            envvar="NIGHTSWEEP_RESULTS_BY",
            help="One row for all cells with the same values on these axes, such as models,groups.",
        ),
    ] = None,
    where: WhereOption = None,
    after: AfterOption = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            envvar="NIGHTSWEEP_RESULTS_FOLLOW",
            help="JSON lines, in the order of the answers, until the run ends, or Ctrl-C.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print one row for each cell that a run asks for.

    Its numbers where there is an answer, else what became of it. `--json` is `--format json`.
    """
    from engine.cli.running import run_command
    from engine.report.coverage import counts_lines

    wanted = parse_conditions(where)
    if follow or after is not None:
        is_other = as_json or target is not None or form not in (None, "jsonl")
        if is_other or of_findings or of_cases or by is not None:
            raise UsageError(
                "--follow and --after print rows as JSON lines: leave out --findings, --cases, --by,"
                " --json, --output and other formats than jsonl"
            )
        print_new_rows(run, store, after=after, follow=follow, past=with_past, where=wanted)
        return
    axes = parse_axes(by)
    if of_findings + of_cases + bool(axes) > 1:
        raise UsageError("choose --findings, --cases or --by: a table has rows of one sort")
    if axes and with_past:
        raise UsageError("--by counts what the sweep asks for: leave out --all")
    if form == INSPECT and not as_json:
        if axes or of_findings or of_cases:
            raise UsageError("inspect writes all tests: leave out --findings, --cases and --by")
        write_logs(run, store, target, past=with_past, where=wanted)
        return
    asked = "json" if as_json else form
    written = _choose_format(None if asked is None else FORMATS[asked], target)
    of: Of = "findings" if of_findings else "cases" if of_cases else "rows"

    async def write() -> "tuple[RowCounts, Status] | None":
        async with open_for_reading(store) as engine:
            found = await engine.run(run)
            if axes:
                sheet = await found.summary_sheet(axes, where=wanted)
            else:
                sheet = await found.sheet(of=of, past=with_past, where=wanted)
            counts = await _write(found, sheet, written, target, past=with_past, where=wanted)
            return None if counts is None else (counts, await found.status())

    if ended := run_command(write):
        output.say(*counts_lines(*ended, is_selection=bool(wanted)))


def _choose_format(asked: RowFormat | None, target: Path | None) -> RowFormat:
    """The format of `--format`, or else of the file's extension; a warning names both if they differ."""
    if target is None:
        return asked or FORMATS["table"]
    if asked is None:
        return format_of(target)
    if (format_ending(target.suffix) or asked) is not asked:
        output.say_prose(
            f"warning: {target} is written as {asked.name}, as asked for, whatever its name says"
        )
    return asked


async def _write(
    run: "Run",
    sheet: "Sheet[Any]",
    form: RowFormat,
    target: Path | None,
    *,
    past: bool,
    where: dict[str, str],
) -> "RowCounts | None":
    """Write what was asked for, and return the counts of its cells; None if the reader has gone."""
    from dataclasses import replace

    from engine.report.files import new_file
    from engine.report.sheet import write_sheet
    from engine.report.sheets import RowSheet
    from engine.results.coverage import CountedRows

    cells = {name: pattern for name, pattern in where.items() if not _is_of_tests(run, name)}
    is_of_rows = isinstance(sheet, RowSheet)
    rows = CountedRows(partial(run.rows, past=past, where=cells), run.facts.folded_field)
    sheet = replace(
        sheet,
        rows=rows if is_of_rows else sheet.rows,
        width=_table_width(target),
        encoding="utf-8" if target is not None else sys.stdout.encoding,
    )
    if target is not None:
        with new_file(target) as stream:
            await write_sheet(form, sheet, stream)
    else:
        try:
            with output.to_reader():
                await write_sheet(form, sheet, sys.stdout.buffer)
        except BrokenPipeError:
            return None
    if not is_of_rows:
        async for _ in rows():
            pass
    return rows.counts


def _is_of_tests(run: "Run", name: str) -> bool:
    """Whether a condition is about the test cases in an answer, and not about cells."""
    return name == "case" and all(axis.field != name for axis in run.facts.axes)


def _table_width(target: Path | None) -> int:
    """The width of the terminal; without a terminal no limit, and COLUMNS is ignored."""
    from shutil import get_terminal_size

    if target is not None or not sys.stdout.isatty():
        return sys.maxsize
    return max(40, get_terminal_size().columns)


def runs(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """List the runs of a store, the latest first."""
    from engine.cli.running import run_command
    from engine.clock import SystemClock
    from engine.core.status import RunInfo
    from engine.report.words import runs_lines

    async def look() -> list[RunInfo]:
        async with open_for_reading(store) as engine:
            return await engine.runs()

    found = sorted(run_command(look), key=lambda one: -one.updated_at)
    if as_json:
        output.write_json(found)
    else:
        output.write_lines(output.fit(runs_lines(found, SystemClock().now()), sys.stdout))
