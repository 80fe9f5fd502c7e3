"""`run`, `resume` and `rejudge`: executing a run in the foreground."""

import gc
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, NoReturn, Protocol, TypeAlias

import typer

from engine.cli import exit_codes, output
from engine.cli.opening import check_exists
from engine.cli.options import (
    DEFAULT_STORE,
    AcceptOption,
    JsonOption,
    OnOption,
    ProgressOption,
    RunArgument,
    StoreOption,
    SweepArgument,
)

if TYPE_CHECKING:
    from anyio import CancelScope

    from engine.cli.progress import Display
    from engine.cli.running import Signals
    from engine.cluster.placement import Placement
    from engine.core.status import Status
    from engine.session import Engine, Run


class Executable(Protocol):
    """What executes a run, and stops it: see `Run`."""

    async def execute(self) -> "Status": ...

    def stop(self) -> None: ...


OpenRun: TypeAlias = "Callable[[Engine], Awaitable[Run]]"

FORCED_EXIT_S = 2.0
"""Seconds that an immediate stop may take; then a thread ends the process."""


def run(
    sweep: SweepArgument,
    store: StoreOption = DEFAULT_STORE,
    progress_every: ProgressOption = 10,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and send nothing.")
    ] = False,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", help="Ask everything again; take over nothing that the store holds."
        ),
    ] = False,
    accept: AcceptOption = False,
    on: OnOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start, resume or extend a sweep.

    What is already answered stays, what was in flight is sent again, new cells are added.

    Ctrl-C stops gracefully and can be resumed; a second one stops at once.
    """
    if dry_run:
        from engine.cli.commands import show_plan

        show_plan(sweep, store, as_json, accept=accept, fresh=fresh)
        return
    from engine.cli.running import run_command
    from engine.session import try_opening
    from engine.sweep import Sweep

    placement = _parse_placement(on)
    loaded = Sweep.load(sweep)
    output.say_prose(*(f"warning: {warning}" for warning in loaded.warnings))
    if placement is None:
        run_command(partial(try_opening, loaded))
    finish(
        lambda engine: engine.submit(loaded, accept=accept, fresh=fresh),
        store,
        progress_every,
        as_json,
        placement,
    )


def _parse_placement(on: str | None) -> "Placement | None":
    if on is None:
        return None
    from engine.cluster.placement import Placement

    return Placement.parse(on)


def resume(
    run: RunArgument = None,
    store: StoreOption = DEFAULT_STORE,
    progress_every: ProgressOption = 10,
    accept: AcceptOption = False,
    on: OnOption = None,
    as_json: JsonOption = False,
) -> None:
    """Continue a run, without its sweep file.

    Ctrl-C stops gracefully and can be resumed; a second one stops at once.
    """
    check_exists(store)
    from engine.session import try_opening

    placement = _parse_placement(on)

    async def take_up(engine: "Engine") -> "Run":
        found = await engine.run(run)
        if placement is None:
            await try_opening(found.sweep, engine.clock)
        if accept:
            await found.accept()
        return found

    finish(take_up, store, progress_every, as_json, placement)


def rejudge(
    run: RunArgument = None,
    judge: Annotated[
        str | None,
        typer.Option(
            "--judge",
            metavar="FILE",
            help="`rules`, or a file with what a sweep has as service.judge; else that of the run.",
        ),
    ] = None,
    expand_on: Annotated[
        str | None,
        typer.Option("--expand-on", help="failed or all, as a sweep has service.expand_on."),
    ] = None,
    threshold: Annotated[
        list[float] | None,
        typer.Option(
            "--threshold", help="A threshold in place of the run's own; repeatable.", min=0, max=1
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The new run's; else RUN-rejudged.")
    ] = None,
    ask_missing: Annotated[
        bool,
        typer.Option("--ask-missing", help="Ask the target where a reply is not kept."),
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    progress_every: ProgressOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Judge the kept replies of a run again, in a new run.

    Only the judge is called; the target gets no request, and the first run keeps its numbers.
    """
    check_exists(store)
    from engine.core.errors import SweepError
    from engine.sweep.judging import read_judge

    source = None if judge is None else read_judge(judge)
    judging: dict[str, object] = {} if source is None else {"judge": source.settings}
    if expand_on is not None:
        judging["expand_on"] = expand_on

    async def judge_again(engine: "Engine") -> "Run":
        try:
            again = await engine.rejudge(
                run, judging=judging, thresholds=threshold, name=name, ask_missing=ask_missing
            )
        except SweepError as error:
            raise error if source is None else source.locate(error) from None
        output.say(*_rejudged_lines(again))
        return again

    finish(judge_again, store, progress_every, as_json)


def _rejudged_lines(again: "Run") -> list[str]:
    by = again.sweep.kind.judge
    return [
        *(f"warning: {warning}" for warning in again.sweep.warnings),
        f"{again.name}: the kept replies are judged again" + (f" by {by}" if by else ""),
    ]


def finish(
    open_run: OpenRun,
    store: str,
    every_s: int,
    as_json: bool,
    placement: "Placement | None" = None,
) -> NoReturn:
    """Open a run, work on it in the foreground, say how it ended, and exit with its code.

    With a `placement` it is worked on there.
    """
    from engine.cli.running import run_with_signals
    from engine.machine import raise_file_limit
    from engine.report.words import summary_lines

    tune_interpreter()
    raise_file_limit()
    status, code = run_with_signals(partial(_work_on, open_run, store, every_s, placement))
    if as_json:
        output.write_json(status)
    output.say_prose(*summary_lines(status))
    output.say(*_next_steps(status, code, store))
    raise typer.Exit(code)


def tune_interpreter() -> None:
    """Tune the interpreter for one busy event loop and the thread that commits.

    Measured on two cores with 64 requests in flight: the garbage collector spent a fifth of the CPU time
    on imported modules, and with the default switch interval of 5 ms each statement of a commit waited
    for the event loop, which cost more than a third of the throughput.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    sys.setswitchinterval(0.001)


def _next_steps(status: "Status", code: int, store: str) -> list[str]:
    lines = [f"store:   {store}"]
    if status.cells_cancelled:
        lines.append(f"undo:    {output.command('retry', status.run, store, '--cancelled')}")
    again = [
        *["--failed"] * (status.cells_failed > status.cells_cancelled),
        *["--unanswered"] * bool(status.tests_unanswered),
    ]
    if again:
        lines.append(f"again:   {output.command('retry', status.run, store, *again)}")
    resumable = code in (exit_codes.INCOMPLETE, exit_codes.INTERRUPTED)
    # If the sweep's own deadline or cap ended the run, the message says what to change in the file.
    is_capped = status.reason == "quota" and status.resume_at is None
    if resumable and not status.cells_cancelled and status.reason != "deadline" and not is_capped:
        lines.append(f"resume:  {output.command('resume', status.run, store)}")
    lines.append(f"results: {output.command('results', status.run, store)}")
    return lines


async def _work_on(
    open_run: OpenRun,
    store: str,
    every_s: int,
    placement: "Placement | None",
    signals: "Signals",
) -> tuple["Status", int]:
    """Execute a run until it is done or stopped; returns its last status and the exit code."""
    from engine.cli.progress import run_display
    from engine.cli.running import Stops, stopping_between_commits
    from engine.session import open_engine

    stops = Stops()
    async with stopping_between_commits(open_engine(store), stops) as engine:
        run = await open_run(engine)
        output.say_prose(*run.sweep.notices())
        if run.was_paused:
            output.say(f"{run.name} was paused and continues")
        with run_display(every_s) as display:
            stops.suspend, stops.go_on = display.suspend, display.go_on
            status = await _execute(run, _place(engine, run, placement, display), display, signals)
            stops.suspend, stops.go_on = Stops().suspend, Stops().go_on
        stopped_at_once = status is None
        if status is None:
            status = await run.status()
    return status, exit_codes.INTERRUPTED if stopped_at_once else exit_codes.exit_code(status)


def _place(
    engine: "Engine", run: "Run", placement: "Placement | None", display: "Display"
) -> Executable:
    """What executes a run: this process, or the workers of a cluster."""
    if placement is None:
        return run
    from engine.cluster.placed import PlacedRun

    return PlacedRun(engine, run, placement, display.say)


async def _execute(
    run: "Run", executable: Executable, display: "Display", signals: "Signals"
) -> "Status | None":
    """Execute a run with its display and signals; returns its status, None if it was stopped at once."""
    import anyio

    from engine.cli.progress import follow

    status: Status | None = None
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as execution:
            signals.handler = _StopHandler(executable, display, execution)
            try:
                tasks.start_soon(follow, run, display, name="progress")
                status = await executable.execute()
            finally:
                signals.handler = None
        tasks.cancel_scope.cancel()
    return status


class _StopHandler:
    """Stops a run: gracefully at the first signal, at once at the second; the third ends the process.

    SIGHUP only ever asks for the graceful stop, since a closing terminal may send it several times.
    """

    def __init__(
        self, executable: Executable, display: "Display", execution: "CancelScope"
    ) -> None:
        self._executable = executable
        self._display = display
        self._execution = execution
        self._received = 0

    def __call__(self, number: int) -> None:
        if self._received and number == signal.SIGHUP:
            return
        self._received += 1
        if self._received == 1:
            self._display.say(
                "stopping after the requests in flight; press Ctrl-C again to stop now"
            )
            self._executable.stop()
        elif self._received == 2:
            self._display.say("stopping at once; nothing that was answered is lost")
            # In a thread: a busy event loop would delay a task.
            forced_exit = threading.Timer(FORCED_EXIT_S, os._exit, (exit_codes.INTERRUPTED,))
            forced_exit.daemon = True
            forced_exit.start()
            self._execution.cancel()
        else:
            os._exit(exit_codes.INTERRUPTED)
