"""Executing a run in this process, from its first request to the state in which it is left."""

import logging
import os
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf

import anyio

from engine.clock import Clock
from engine.core.errors import Interrupted, StoreError, is_of_store
from engine.core.runs import EventKind, StopReason
from engine.scheduler import Stop
from engine.session.context import Counts
from engine.session.control import activate, conclude
from engine.session.execution import Execution
from engine.session.identity import Identity
from engine.session.interrupts import notice_interrupts
from engine.session.opening import open_clients
from engine.settings import Settings
from engine.store import RunRow, Store
from engine.sweep import Sweep, describe_account

logger = logging.getLogger(__name__)

_ON_REQUEST = Stop(
    reason=StopReason.INTERRUPTED, message="stopped on request, such as by Ctrl-C or a signal"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The part that a process takes in a run which others execute as well."""

    max_in_flight: int | None = None
    """The most jobs that it has in flight; None for its share of the sweep's `max_in_flight`."""


class Executor:
    """Executes one run in this process, as often as it is asked to, and stops it."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: Settings,
        row: RunRow,
        executing: dict[int, Execution],
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._row = row
        # What this process executes, through any Run object, by the ids of the runs.
        self._executing = executing
        self.counts: Counts | None = None
        """Of the last execution here, also after it has ended."""
        self._execution: Execution | None = None
        self._is_stopping = False
        # Ends the wait for room on a full disk.
        self._stop_retrying: Callable[[], None] | None = None
        self._shares_limits = False
        """Whether other processes know that the run is executed here, and keep to its limits."""

    async def execute(self, sweep: Sweep, part: Part | None = None) -> Stop | None:
        """Work on the run until it is done, which is None, or until it stops.

        Its state in the store is set then, unless the disk is still full: only this process knows why the
        run stopped. With a `part`, this process is one of several, as `Run.join` says. Raises what `Run.execute`
        raises.
        """
        with notice_interrupts() as interrupts:
            try:
                return await self._execute(sweep, part)
            except anyio.get_cancelled_exc_class():
                if self._is_stopping or not interrupts:
                    raise
                with anyio.CancelScope(shield=True):
                    message = await self._record_interrupt()
                if anyio.current_effective_deadline() == -inf:
                    raise  # of the task group that cancelled it
                raise Interrupted(message) from None
            finally:
                await self._withdraw()

    def stop(self) -> None:
        """Start nothing more, as `Run.stop` does; an execution that has not begun sends nothing."""
        self._is_stopping = True
        if self._stop_retrying is not None:
            self._stop_retrying()
        if self._execution is not None:
            self._execution.scheduler.stop(_ON_REQUEST.reason, _ON_REQUEST.message)

    def forget_stop(self) -> None:
        """Let the next execution begin, although `stop` was called in the last one."""
        self._is_stopping = False

    async def _record_interrupt(self) -> str:
        """Record that the run was interrupted; return a message with the command that continues it."""
        with suppress(StoreError):
            await conclude(self._store, self._row, _ON_REQUEST)
        name = self._row.name
        named = ["--", name] if name.startswith("-") else [name]
        command = shlex.join(["nightsweep", "resume", "--store", str(self._store.path), *named])
        message = f"{name} was interrupted; resume it with: {command}"
        logger.warning("%s", message)
        return message

    async def _execute(self, sweep: Sweep, part: Part | None) -> Stop | None:
        async with open_clients(sweep, self._clock) as clients:
            identity = Identity(sweep)
            await self._store.runs.record_facts(self._row.name, identity.facts)
            if self._row.is_expanded:
                await self._warn_of_older_code(sweep, identity)
            accounts = await self._store.limits.accounts()
            account = accounts.name(sweep.service.address, sweep.service.key)
            label, joins = describe_account(sweep.service), part is not None
            if not await activate(self._store, self._row, account, label, joins=joins):
                return None
            logger.info(
                "%s: worker %s, process %d, works on it in %s",
                self._row.name,
                self._store.worker_id,
                os.getpid(),
                self._store.path,
            )
            execution = Execution(
                self._store,
                self._clock,
                self._settings,
                self._row,
                sweep,
                identity=identity,
                clients=clients,
                accounts=accounts,
                account=account,
                slots=None if part is None else part.max_in_flight,
            )
            stop = await self._work(execution)
            if not self._row.is_expanded and stop is None:
                await self._warn_of_older_code(sweep, identity)
        try:
            if part is None or stop is None or not await self._goes_on_elsewhere(stop):
                await conclude(self._store, self._row, stop)
        except StoreError:
            if stop is None or self._store.trouble is None:
                raise
        return stop

    async def _goes_on_elsewhere(self, stop: Stop) -> bool:
        """Whether only this process stops, and others go on with the run: then its state stays as it is."""
        if stop.reason is not StopReason.INTERRUPTED:
            return False
        return await self._store.worker.is_executed_elsewhere(self._row.id)

    async def _warn_of_older_code(self, sweep: Sweep, identity: Identity) -> None:
        """Log a warning, also in the run's events, if it has answers of code that has changed since."""
        if identity.current is None:
            return
        counts = await self._store.reader.count_answers_by_identity(self._row.id)
        counts.pop(identity.current, None)
        if not counts:
            return
        older = ", ".join(f"{count:,} with identity {one}" for one, count in counts.items())
        message = (
            f"{sweep.evaluation} has changed since some of its answers were made, and they stay:"
            f" {older}, now {identity.current}; give it a new version to ask them again"
        )
        logger.warning("%s: %s", self._row.name, message)
        await self._store.runs.add_event(self._row.id, EventKind.OLDER_CODE, message)

    async def _work(self, execution: Execution) -> Stop | None:
        self._execution, self.counts = execution, execution.counts
        if self._is_stopping:
            self.stop()
        self._executing[self._row.id] = execution
        self._shares_limits = True
        try:
            with self._store.worker.retrying_commits() as self._stop_retrying:
                return await execution.work()
        except Exception as error:
            if not (self._is_stopping and self._store.trouble and is_of_store(error)):
                raise
            return _ON_REQUEST
        finally:
            self._execution = None
            self._executing.pop(self._row.id, None)

    async def _withdraw(self) -> None:
        """Release the run's share of the limits, once other processes can read why it ended."""
        if not self._shares_limits:
            return
        self._shares_limits = False
        with anyio.CancelScope(shield=True), suppress(StoreError):
            await self._store.limits.release(self._row.id)
