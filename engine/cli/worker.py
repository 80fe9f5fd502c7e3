"""`worker`: taking part in the runs of a store, for systemd, Kubernetes and batch systems."""

import os
import signal
import threading
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli import exit_codes, output
from engine.cli.opening import check_exists
from engine.cli.options import (
    DEFAULT_STORE,
    JsonOption,
    ProgressOption,
    StoreOption,
)
from engine.cli.run import FORCED_EXIT_S, tune_interpreter

if TYPE_CHECKING:
    from anyio import CancelScope
    from anyio.abc import TaskGroup

    from engine.cli.running import Signals
    from engine.cluster.work import RunWorker
    from engine.core.status import Status
    from engine.session import Run


def worker(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="The only run to work on; without it, all active ones."),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    stay: Annotated[
        bool,
        typer.Option(
            "--stay",
            envvar="NIGHTSWEEP_WORKER_STAY",
            help="Wait for further runs when none has work left.",
        ),
    ] = False,
    in_flight: Annotated[
        int | None,
        typer.Option(
            "--in-flight",
            metavar="N",
            min=1,
            envvar="NIGHTSWEEP_WORKER_IN_FLIGHT",
            help="The most jobs of a run in flight here; without it, a fair share of the sweep's.",
        ),
    ] = None,
    progress_every: ProgressOption = 60,
    as_json: JsonOption = False,
) -> None:
    """Take part in the active runs of a store, beside other processes.

    Ends when none has work left. A run whose key is missing here is left to others. SIGTERM gives back
    what is in flight after NIGHTSWEEP_GRACE_S seconds.

    Exits with 0 if nothing is left to do, 3 if a run stopped before it was done, 130 after a signal.
    """
    check_exists(store)
    from engine.cli.running import run_with_signals
    from engine.machine import raise_file_limit

    tune_interpreter()
    raise_file_limit()
    options = _Options(run, stay, in_flight, progress_every)
    statuses, code = run_with_signals(partial(_work, store, options))
    if as_json:
        output.write_json(statuses)
    raise typer.Exit(code)


class _Options:
    """What the command was asked for."""

    def __init__(
        self, run: str | None, stays: bool, max_in_flight: int | None, every_s: float
    ) -> None:
        self.run = run
        self.stays = stays
        self.max_in_flight = max_in_flight
        self.every_s = every_s


async def _work(store: str, options: _Options, signals: "Signals") -> "tuple[list[Status], int]":
    """Work on the runs of a store; returns the status of each, and the exit code."""
    import anyio

    from engine.cli.running import stopping_between_commits
    from engine.cluster.work import RunWorker
    from engine.session import open_engine

    async with stopping_between_commits(open_engine(store)) as engine:
        is_cut_off = True
        async with anyio.create_task_group() as progress:
            listener = _Listener(progress, options.every_s)
            worker = RunWorker(
                engine,
                listener,
                name=options.run,
                stays=options.stays,
                max_in_flight=options.max_in_flight,
            )
            with anyio.CancelScope() as scope:
                signals.handler = _StopHandler(worker, scope)
                try:
                    await worker.work()
                    is_cut_off = False
                finally:
                    signals.handler = None
            progress.cancel_scope.cancel()
    if is_cut_off or worker.is_stopping:
        return list(worker.statuses), exit_codes.INTERRUPTED
    if not worker.statuses:
        if worker.lacking:
            return [], exit_codes.USAGE
        output.say(f"{store}: no run has work left")
    return list(worker.statuses), _exit_code(worker)


def _exit_code(worker: "RunWorker") -> int:
    """0 if nothing is left of all runs: whether their cells have failed is shown by `status` and `gate`."""
    is_incomplete = worker.lacking or any(
        exit_codes.exit_code(status) not in (exit_codes.ANSWERED, exit_codes.FAILED)
        for status in worker.statuses
    )
    return exit_codes.INCOMPLETE if is_incomplete else exit_codes.ANSWERED


class _Listener:
    """Says on stderr what a worker does, with the progress of each of its runs."""

    def __init__(self, tasks: "TaskGroup", every_s: float) -> None:
        self._tasks = tasks
        self._every_s = every_s
        self._scopes: dict[str, CancelScope] = {}

    def joined(self, run: "Run") -> None:
        output.say(f"{run.name}: takes part")
        self._tasks.start_soon(self._follow, run, name=f"progress of {run.name}")

    async def _follow(self, run: "Run") -> None:
        import anyio

        from engine.cli.progress import Lines, follow

        with anyio.CancelScope() as scope:
            self._scopes[run.name] = scope
            await follow(run, Lines(self._every_s))

    def left(self, status: "Status") -> None:
        from engine.report.words import progress_line

        self._end_progress(status.run)
        output.say(progress_line(status), f"{status.run}: {status.reason or status.state}")

    def lacks(self, name: str, why: str) -> None:
        self._end_progress(name)
        output.say_prose(f"{name}: takes no job of it: {why}")

    def _end_progress(self, name: str) -> None:
        if (scope := self._scopes.pop(name, None)) is not None:
            scope.cancel()


class _StopHandler:
    """Stops a worker: gracefully at the first signal, at once at the second; the third ends the process."""

    def __init__(self, worker: "RunWorker", scope: "CancelScope") -> None:
        self._worker = worker
        self._scope = scope
        self._received = 0

    def __call__(self, number: int) -> None:
        if self._received and number == signal.SIGHUP:
            return
        self._received += 1
        if self._received == 1:
            output.say("stopping after the requests in flight")
            self._worker.stop()
        elif self._received == 2:
            output.say("stopping at once; nothing that was answered is lost")
            forced_exit = threading.Timer(FORCED_EXIT_S, os._exit, (exit_codes.INTERRUPTED,))
            forced_exit.daemon = True
            forced_exit.start()
            self._scope.cancel()
        else:
            os._exit(exit_codes.INTERRUPTED)
