"""A run on the workers of a Dask cluster: one runner on each, also on those that join later."""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import anyio
from anyio.abc import TaskGroup

from engine.cluster.placement import Placement
from engine.core.errors import UsageError
from engine.core.runs import RunState, StopReason
from engine.core.status import Status
from engine.scheduler import Stop
from engine.session import Engine, Run
from engine.session.control import conclude, find_row
from engine.store import RunRow

if TYPE_CHECKING:
    from distributed import Client, Future

logger = logging.getLogger(__name__)

_LOOK_S = 1.0
"""Seconds between two looks at the workers of the cluster and at the run's state."""
_STOPPING_S = 1.5
_CLOSING_S = 30.0
"""A worker that is still there this long after its runner was told to end was not closing: it takes part again."""
_ON_REQUEST = Stop(
    reason=StopReason.INTERRUPTED, message="stopped on request, such as by Ctrl-C or a signal"
)
_SCHEDULER_GONE = Stop(
    reason=StopReason.INTERRUPTED,
    message="the Dask scheduler has gone: its workers give back what they have in flight, and end",
)


class PlacedRun:
    """Executes a run on a Dask cluster, and stops it: what `Run.execute` and `Run.stop` are for this process.

    Its runners claim jobs from the store and write the answers into it. A worker that joins later takes part, and
    one that its nanny has restarted takes part again. `say` is given lines for the user.
    """

    def __init__(
        self, engine: Engine, run: Run, placement: Placement, say: Callable[[str], None]
    ) -> None:
        self._engine = engine
        self._run = run
        self._placement = placement
        self._say = say
        self._order: dict[str, Any] = {}
        self._lanes: dict[str, anyio.CancelScope] = {}
        """The runners in flight, by the address of their worker."""
        self._done: set[str] = set()
        """The workers whose runners have ended with the run, or because it stopped."""
        self._closing: dict[str, float] = {}
        """When runners were told to end, as a worker that closes does, by the address of their worker."""
        self._refused: dict[str, str] = {}
        """Why workers take no part, by their address."""
        self._stop: Stop | None = None
        """Why the run stops, if it is not its runners that stop it."""
        self._is_told = False
        self._has_waited = False
        self._wake = anyio.Event()

    async def execute(self) -> Status:
        """Send everything that has no answer yet, until it is done or something stops the run.

        Returns the status at the end. If it is cancelled, the runners give back what is in flight. Raises
        UsageError if the scheduler cannot be reached, or if no worker can work on the run.

        If the scheduler goes away, Dask closes its workers, which give back what is in flight, and this returns. If
        this process is killed, runners of a scheduler elsewhere go on until the run is done or stops.
        """
        await self._run.unpause()
        row = await self._engine.store.reader.find_run(self._run.name)
        assert row is not None, "it was just made active"
        if row.state is RunState.ACTIVE:
            await self._execute(row)
        return await self._run.status()

    def stop(self) -> None:
        """Let all runners start nothing more: requests in flight have the grace, then `execute` returns."""
        self._stop = self._stop or _ON_REQUEST
        self._wake.set()

    async def _execute(self, row: RunRow) -> None:
        async with self._placement.open() as client:
            from engine.cluster.runner import make_order

            self._order = make_order(self._run, self._engine, row.id, row.created_at)
            self._order["ignores_interrupts"] = self._placement.processes is not None
            is_cut_off = True
            try:
                async with anyio.create_task_group() as tasks:
                    await self._attend(client, tasks, row)
                    tasks.cancel_scope.cancel()
                is_cut_off = False
            finally:
                if is_cut_off:
                    with anyio.move_on_after(_STOPPING_S, shield=True):
                        await self._tell(client, at_once=True)
        if self._stop is not None:
            await self._record(self._stop, row)
        elif self._refused and not self._done:
            worker, why = next(iter(self._refused.items()))
            raise UsageError(f"no Dask worker can work on {self._run.name}: {worker}: {why}")

    async def _attend(self, client: "Client", tasks: TaskGroup, row: RunRow) -> None:
        """Keep a runner on each worker until the run is over, or the scheduler has gone."""
        clock = self._engine.clock
        while True:
            self._wake = anyio.Event()
            addresses = await _find_workers(client)
            if addresses is None:
                self._stop = _SCHEDULER_GONE
                self._say(_SCHEDULER_GONE.message)
                return
            self._forget_gone(addresses)
            if self._stop is not None:
                await self._tell_once(client)
            else:
                self._start_runners(client, tasks, addresses)
            if not self._lanes and await self._is_over(row, addresses):
                return
            await clock.wait(self._wake, clock.now() + _LOOK_S)

    def _forget_gone(self, addresses: set[str]) -> None:
        """Forget the workers that are no longer in the cluster: one with the same address would be another."""
        for address in self._lanes.keys() - addresses:
            self._say(f"{address}: has gone; others send again what it had in flight")
            self._lanes.pop(address).cancel()
        for address in self._refused.keys() - addresses:
            del self._refused[address]
        since = self._engine.clock.now() - _CLOSING_S
        self._closing = {
            address: at
            for address, at in self._closing.items()
            if address in addresses and at > since
        }

    def _start_runners(self, client: "Client", tasks: TaskGroup, addresses: set[str]) -> None:
        """Start a runner on each worker that has had none."""
        if not addresses and not self._has_waited:
            self._say(f"waiting for Dask workers of {self._placement.written}")
        self._has_waited = not addresses
        known = self._lanes.keys() | self._refused.keys() | self._done | self._closing.keys()
        for address in addresses - known:
            scope = self._lanes[address] = anyio.CancelScope()
            tasks.start_soon(self._keep_runner, client, address, scope, name=address)

    async def _is_over(self, row: RunRow, addresses: set[str]) -> bool:
        """Whether there is nothing to wait for, now that no runner is in flight."""
        if self._stop is not None or (addresses and addresses <= self._refused.keys()):
            return True
        found = [one for one in await self._engine.store.reader.active_runs() if one.id == row.id]
        if not found:
            return True
        # Runners that were closed with their workers leave an interrupted run to those that come.
        return found[0].reason not in (None, StopReason.INTERRUPTED) and bool(self._done)

    async def _keep_runner(self, client: "Client", address: str, scope: anyio.CancelScope) -> None:
        """Run the runner of a worker to its end, or until the worker has gone."""
        from engine.cluster.runner import run_lanes

        with scope:
            future = client.submit(
                run_lanes,
                self._order,
                key=f"nightsweep-{self._run.name}-{uuid4().hex}",
                workers=[address],
                allow_other_workers=False,
                pure=False,
                retries=0,
            )
            try:
                await _wait_for(future)
                await self._note_end(address, future)
            finally:
                future.release()
            if self._lanes.get(address) is scope:
                del self._lanes[address]
            self._wake.set()

    async def _note_end(self, address: str, future: "Future[Any]") -> None:
        if future.status == "finished":
            result: dict[str, Any] = await future
            if "refused" in result:
                self._refuse(address, result["refused"])
            else:
                logger.info(
                    "%s: %s after %d attempts", address, result["ended"], result["attempts"]
                )
                if result["ended"] == StopReason.INTERRUPTED:
                    self._closing[address] = self._engine.clock.now()
                else:
                    self._done.add(address)
        elif future.status == "error":
            error = await future.exception()
            if isinstance(error, ModuleNotFoundError):
                self._refuse(address, f"Nightsweep is not installed there: {error}")
            else:
                self._refuse(address, f"{type(error).__name__}: {error}")

    def _refuse(self, address: str, why: str) -> None:
        self._refused[address] = why
        self._say(f"{address}: takes no part: {why}")

    async def _tell_once(self, client: "Client") -> None:
        if not self._is_told:
            self._is_told = True
            await self._tell(client, at_once=False)

    async def _tell(self, client: "Client", *, at_once: bool) -> None:
        """Tell the runners in flight to stop."""
        from engine.cluster.runner import stop_lanes

        if self._lanes and client.status == "running":
            await client.run(
                stop_lanes, self._order["key"], at_once, workers=[*self._lanes], on_error="ignore"
            )

    async def _record(self, stop: Stop, row: RunRow) -> None:
        """Record why the run stopped: each of the runners has left that to the others."""
        found = await find_row(self._engine.store, row)
        if found.state is RunState.ACTIVE:
            await conclude(self._engine.store, row, stop)


async def _find_workers(client: "Client") -> set[str] | None:
    """The addresses of the workers of a cluster; None if its scheduler has gone."""
    if client.status != "running":
        return None
    try:
        return set(await client.nthreads())
    except OSError:
        return None


async def _wait_for(future: "Future[Any]") -> None:
    """Return once a future is done in any way; awaited itself, a lost one raises a cancellation."""
    is_done, loop = anyio.Event(), asyncio.get_running_loop()
    future.add_done_callback(lambda _: loop.call_soon_threadsafe(is_done.set))
    await is_done.wait()
