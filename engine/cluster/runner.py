"""The part of a Dask worker in a run: a thread with an event loop of its own, which claims from the store.

A task of Dask starts it and returns counts; jobs, limits and results never pass through Dask's scheduler.
"""

import asyncio
import atexit
import os
import signal
import threading
from collections.abc import Mapping
from concurrent.futures import Future, wait
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from distributed import Worker, WorkerPlugin, get_worker, secede

from engine.clock import SystemClock
from engine.core.errors import NightsweepError, UsageError
from engine.core.runs import StopReason
from engine.machine import raise_file_limit
from engine.session import Engine, Run, open_engine

_ENDING_S = 2.0
"""Seconds that requests in flight have when a Dask worker closes: its nanny kills it after four."""
_GIVING_BACK_S = 1.0
_PLUGIN = "nightsweep"
_ADD_S = 30.0


class Runner:
    """Takes part in one run, in the thread that calls `run`; `stop` may be called from any."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        self._order = order
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scope: anyio.CancelScope | None = None
        self._run: Run | None = None
        self._is_stopping = False
        self.ended: Future[dict[str, Any]] = Future()
        """What `run` returned, for other threads."""

    def run(self) -> dict[str, Any]:
        """Work until the run is done or stops, or until this is stopped.

        Returns how it `ended`, with the number of `attempts`; or why it was `refused`, having taken no job.
        """
        try:
            result = anyio.run(self._work)
        except NightsweepError as error:
            result = {"refused": str(error)}
        except BaseException as error:
            self.ended.set_exception(error)
            raise
        self.ended.set_result(result)
        return result

    def stop(self, *, at_once: bool = False) -> None:
        """Start nothing more and let requests in flight end within the grace; `at_once` gives them back now."""
        with self._lock:
            self._is_stopping = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._stop_here, at_once)

    def _stop_here(self, at_once: bool) -> None:
        if self._run is not None:
            self._run.stop()
        if at_once and self._scope is not None:
            self._scope.cancel()

    async def _work(self) -> dict[str, Any]:
        status = None
        with anyio.CancelScope() as self._scope:
            with self._lock:
                self._loop = asyncio.get_running_loop()
            try:
                status = await self._join()
            finally:
                with self._lock:
                    self._loop = None
        if status is None:
            return {"ended": StopReason.INTERRUPTED.value, "attempts": 0}
        return status

    async def _join(self) -> dict[str, Any]:
        check_place(self._order)
        async with open_engine(self._order["store"]) as engine:
            self._run = run = await find_run(engine, self._order)
            if self._is_stopping:
                return {"ended": StopReason.INTERRUPTED.value, "attempts": 0}
            status = await run.join()
        attempts = 0 if status.session is None else status.session.attempts
        is_interrupted = self._is_stopping
        ended = StopReason.INTERRUPTED if is_interrupted else status.reason or status.state
        return {"ended": ended.value, "attempts": attempts}


def make_order(run: Run, engine: Engine, run_id: int, created_at: float) -> dict[str, Any]:
    """The order for a Dask worker, as plain values: the store and the run, without any key."""
    location = engine.store.path
    file = None
    if isinstance(location, Path):
        location = location.absolute()
        file = location.stat().st_ino
    return {
        "version": version("nightsweep"),
        "store": str(location),
        "boot": "" if file is None else SystemClock().boot,
        "file": file,
        "run": run.name,
        "run_id": run_id,
        "created_at": created_at,
        "key": f"{location} {run_id} {created_at}",
        "ignores_interrupts": False,
    }


def check_place(order: Mapping[str, Any]) -> None:
    """Raise UsageError if a store in a file is not that of the process that ordered the run."""
    if order["file"] is None:
        return
    store = Path(order["store"])
    where = f"this Dask worker (on {os.uname().nodename})"
    advice = "a SQLite file serves one machine: use a PostgreSQL store for several"
    boot = SystemClock().boot
    if boot != order["boot"] or not store.is_file():
        raise UsageError(f"{where} does not see the store {store}; {advice}")
    if store.stat().st_ino != order["file"]:
        raise UsageError(f"{where} has another file as {store}; {advice}")


async def find_run(engine: Engine, order: Mapping[str, Any]) -> Run:
    """The run that was ordered; raises UsageError if the store has another of its name, or lacks what it needs."""
    name = order["run"]
    row = await engine.store.reader.find_run(name)
    if row is None or (row.id, row.created_at) != (order["run_id"], order["created_at"]):
        raise UsageError(
            f"{engine.store.path}: this is another store: it does not have that run {name!r}"
        )
    return await engine.run(name)


_lock = threading.Lock()
_runners: dict[str, Runner] = {}
"""Those of this process, by the key of their order."""


def run_lanes(order: Mapping[str, Any]) -> dict[str, Any]:
    """Take part in a run until it is done or stops; the task that Dask runs on each worker.

    Returns what `Runner.run` returns. If this worker takes part already, because the process that started it
    has gone, this waits for that.
    """
    here = version("nightsweep")
    if order["version"] != here:
        return {
            "refused": f"it has Nightsweep {here}, and the run was started with {order['version']}:"
            " install the same version"
        }
    worker = get_worker()
    # The thread no longer counts among those of the worker, which goes on with other tasks.
    secede()
    raise_file_limit()
    with _lock:
        runner = _runners.get(order["key"])
        is_new = runner is None
        if runner is None:
            runner = _runners[order["key"]] = Runner(order)
    if not is_new:
        return runner.ended.result()
    try:
        _call(worker, partial(_add_plugin, worker, order["ignores_interrupts"]))
        return runner.run()
    finally:
        with _lock:
            del _runners[order["key"]]


def stop_lanes(key: str, at_once: bool) -> None:
    """Stop the part of this process in a run; called in the event loop of a Dask worker."""
    with _lock:
        runner = _runners.get(key)
    if runner is not None:
        runner.stop(at_once=at_once)


def _call(worker: Worker, work: Any) -> None:
    """Run a coroutine function in the worker's event loop, and wait for it."""
    loop = worker.loop.asyncio_loop  # type: ignore[attr-defined]  # tornado's class for asyncio has it
    asyncio.run_coroutine_threadsafe(work(), loop).result(_ADD_S)


async def _add_plugin(worker: Worker, ignores_interrupts: bool) -> None:
    if ignores_interrupts and threading.current_thread() is threading.main_thread():
        # Ctrl-C reaches all processes of a terminal; the one that shows the run decides.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if _PLUGIN not in worker.plugins:
        await worker.plugin_add(plugin=_RunnerPlugin(), name=_PLUGIN)


class _RunnerPlugin(WorkerPlugin):
    """Stops the runners of a Dask worker that closes, before its process ends."""

    async def teardown(self, worker: Worker) -> None:
        await anyio.to_thread.run_sync(_end_all)


def _end_all() -> None:
    with _lock:
        runners = list(_runners.values())
    ended = [runner.ended for runner in runners]
    for at_once, patience_s in ((False, _ENDING_S), (True, _GIVING_BACK_S)):
        for runner in runners:
            runner.stop(at_once=at_once)
        wait(ended, patience_s)


# A worker without a nanny ends without closing.
atexit.register(_end_all)
