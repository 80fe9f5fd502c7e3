"""`run` and `resume`: a run in the foreground, with its progress and its end."""

import gc
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeAlias

import typer

from engine.cli import exit_codes, output
from engine.cli.opening import check_exists
from engine.cli.options import (
    DEFAULT_STORE,
    AcceptOption,
    JsonOption,
    ProgressOption,
    RunArgument,
    StoreOption,
    SweepArgument,
)

if TYPE_CHECKING:
    from anyio import CancelScope

    from engine.cli.progress import Display
    from engine.cli.running import Signals
    from engine.core.status import Status
    from engine.session import Engine, Run

Opened: TypeAlias = "Callable[[Engine], Awaitable[Run]]"

LAST_WORD_S = 2.0
"""How long an immediate stop may take before the process is ended from outside its event loop."""


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

    loaded = Sweep.load(sweep)
    output.say(*(f"warning: {warning}" for warning in loaded.warnings))
    run_command(partial(try_opening, loaded))
    finish(
        lambda engine: engine.submit(loaded, accept=accept, fresh=fresh),
        store,
        progress_every,
        as_json,
    )


def resume(
    run: RunArgument = None,
    store: StoreOption = DEFAULT_STORE,
    progress_every: ProgressOption = 10,
    accept: AcceptOption = False,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run, without its sweep file.

    Ctrl-C stops gracefully and can be resumed; a second one stops at once.
    """
    check_exists(store)
    from engine.session import try_opening

    async def taken_up(engine: "Engine") -> "Run":
        found = await engine.run(run)
        await try_opening(found.sweep, engine.clock)
        if accept:
            await found.accept()
        return found

    finish(taken_up, store, progress_every, as_json)


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
    """Judge the replies of a run again, in a run beside it.

    Only a judge is asked: replies that are kept are not asked for again, and the first run keeps its
    numbers.
    """
    check_exists(store)
    from engine.core.errors import SweepError
    from engine.sweep.judging import read_judge

    source = None if judge is None else read_judge(judge)
    judging = {
        key: value
        for key, value in (
            ("judge", None if source is None else source.settings),
            ("expand_on", expand_on),
        )
        if value is not None
    }

    async def judged_again(engine: "Engine") -> "Run":
        try:
            again = await engine.rejudge(
                run, judging=judging, thresholds=threshold, name=name, ask_missing=ask_missing
            )
        except SweepError as error:
            raise error if source is None else source.locate(error) from None
        by = again.sweep.kind.judge
        output.say(
            *(f"warning: {warning}" for warning in again.sweep.warnings),
            f"{again.name}: the kept replies are judged again" + (f" by {by}" if by else ""),
        )
        return again

    finish(judged_again, store, progress_every, as_json)


def finish(opened: Opened, store: str, every_s: int, as_json: bool) -> NoReturn:
    """Work on the run that is opened in the foreground, say how it ended, and exit with its code."""
    from engine.cli.running import run_with_signals
    from engine.machine import raise_file_limit
    from engine.report.words import summary_lines

    tune_interpreter()
    raise_file_limit()
    status, code = run_with_signals(partial(_in_foreground, opened, store, every_s))
    if as_json:
        output.json_data(status)
    ended = output.fitted(summary_lines(status), sys.stderr)
    output.say(*ended, *_next_steps(status, code, store))
    raise typer.Exit(code)


def tune_interpreter() -> None:
    """Suit the interpreter to one busy event loop beside the thread that commits.

    Measured on two cores with 64 requests in flight: looking through what was imported again and again
    took the garbage collector a fifth of the CPU time; and with the default switch interval of 5 ms a
    commit waited for the loop between its statements, which cost more than a third of the throughput.
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
    # Where the sweep's own deadline or cap stands in the way, the message says what to change in the file.
    is_capped = status.reason == "quota" and status.resume_at is None
    if resumable and not status.cells_cancelled and status.reason != "deadline" and not is_capped:
        lines.append(f"go on:   {output.command('resume', status.run, store)}")
    lines.append(f"results: {output.command('results', status.run, store)}")
    return lines


async def _in_foreground(
    opened: Opened, store: str, every_s: int, signals: "Signals"
) -> tuple["Status", int]:
    """Work on a run until it is done or stopped; its last status and the exit code."""
    from engine.cli.progress import displaying
    from engine.cli.running import Stops, stopped_between_commits
    from engine.session import open_engine

    stops = Stops()
    async with stopped_between_commits(open_engine(store), stops) as engine:
        run = await opened(engine)
        output.say(*run.sweep.notices())
        if run.was_paused:
            output.say(f"{run.name} was paused: it goes on")
        with displaying(every_s) as display:
            stops.suspend, stops.go_on = display.suspend, display.go_on
            status = await _execute(run, display, signals)
            stops.suspend, stops.go_on = Stops().suspend, Stops().go_on
        stopped_at_once = status is None
        if status is None:
            status = await run.status()
    return status, exit_codes.INTERRUPTED if stopped_at_once else exit_codes.exit_code(status)


async def _execute(run: "Run", display: "Display", signals: "Signals") -> "Status | None":
    """Let the run work, beside its display and the signals; where it stands, None if stopped at once."""
    import anyio

    from engine.cli.progress import follow

    status: Status | None = None
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as execution:
            signals.taker = _Obeying(run, display, execution)
            try:
                tasks.start_soon(follow, run, display, name="progress")
                status = await run.execute()
            finally:
                signals.taker = None
        tasks.cancel_scope.cancel()
    return status


class _Obeying:
    """First signal: a graceful stop. Second: at once. Third, or no end in sight: the process ends.

    A terminal that is closed says so once or several times, and only ever asks for the graceful stop.
    """

    def __init__(self, run: "Run", display: "Display", execution: "CancelScope") -> None:
        self._run = run
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
            self._run.stop()
        elif self._received == 2:
            self._display.say("stopping at once; nothing that was answered is lost")
            # A thread, because whatever keeps the loop busy would keep a task waiting as well.
            last_word = threading.Timer(LAST_WORD_S, os._exit, (exit_codes.INTERRUPTED,))
            last_word.daemon = True
            last_word.start()
            self._execution.cancel()
        else:
            os._exit(exit_codes.INTERRUPTED)
