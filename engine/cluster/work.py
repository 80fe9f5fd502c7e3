"""A worker: it takes part in the active runs of a store until none has work left for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import anyio

from engine.core.errors import UsageError
from engine.core.runs import RunState
from engine.core.status import Status
from engine.session import Engine, Run
from engine.store import ActiveRun

AGAIN_S = 60.0
"""Seconds until a run is joined again that stopped here or cannot be worked on here."""


class WorkerListener(Protocol):
    """Its methods are called as a worker joins and leaves runs."""

    def joined(self, run: Run) -> None:
        """It takes part in a run from now on."""
        ...

    def left(self, status: Status) -> None:
        """It no longer does; the status is that of the whole run."""
        ...

    def lacks(self, name: str, why: str) -> None:
        """It takes no job of a run, since this machine lacks something, such as a key; told once for each cause."""
        ...


@dataclass(slots=True)
class _Left:
    """A run that the worker has left or could not join, `at` a time in seconds since the epoch."""

    at: float
    was_stopped: bool = False
    """Whether the run stopped for a reason, such as its quota, which is still there until a process resumes it."""
    lacks: str = ""


class RunWorker:
    """Takes part in active runs of a store; several of them share its runs, on one machine or on many.

    With a `name`, it works on that run only. With `stays`, it waits for further runs once none has work left. It
    has at most `max_in_flight` jobs of each run in flight; None means its share of what the sweep allows.
    """

    def __init__(
        self,
        engine: Engine,
        listener: WorkerListener,
        *,
        name: str | None = None,
        stays: bool = False,
        max_in_flight: int | None = None,
    ) -> None:
        self._engine = engine
        self._listener = listener
        self._name = name
        self._stays = stays
        self._max_in_flight = max_in_flight
        self._joined: dict[int, Run] = {}
        self._left: dict[int, _Left] = {}
        self._statuses: dict[int, Status] = {}
        self._wake = anyio.Event()
        self.is_stopping = False
        """Whether `stop` was called."""

    @property
    def statuses(self) -> Sequence[Status]:
        """The status of each run that it has taken part in, as it was when it left."""
        return tuple(self._statuses.values())

    @property
    def lacking(self) -> Sequence[str]:
        """Why it takes no job of some runs."""
        return tuple(left.lacks for left in self._left.values() if left.lacks)

    def stop(self) -> None:
        """Start nothing more, as `Run.stop` does, and let `work` return."""
        self.is_stopping = True
        for run in self._joined.values():
            run.stop()
        self._wake.set()

    async def work(self) -> None:
        """Work until no active run has work left for it, or until it is stopped.

        Raises StoreError if the store cannot be used, and UsageError if there is no run of the `name`. A run that
        cannot be worked on here, for example because a key is missing, is left to others.
        """
        if self._name is not None and not self._stays:
            await self._engine.run(self._name)
        clock = self._engine.clock
        async with anyio.create_task_group() as tasks:
            while not self.is_stopping:
                self._wake = anyio.Event()
                for found in await self._find_due():
                    run = await self._find(found)
                    if run is not None and not self.is_stopping:
                        self._joined[found.id] = run
                        tasks.start_soon(partial(self._take_part, found, run), name=found.name)
                if not (self._joined or self._stays):
                    return
                await clock.wait(self._wake, clock.now() + self._engine.settings.poll_s)

    async def _find_due(self) -> list[ActiveRun]:
        """The active runs that it should join now."""
        now = self._engine.clock.now()
        return [
            run
            for run in await self._engine.store.reader.active_runs()
            if self._name in (None, run.name)
            and run.id not in self._joined
            and self._is_due(run, self._left.get(run.id), now)
        ]

    def _is_due(self, run: ActiveRun, left: _Left | None, now: float) -> bool:
        if left is None or not (left.was_stopped or left.lacks):
            return True
        if not self._stays or now < left.at + AGAIN_S:
            return False
        # A run that has stopped goes on when it can, or when a process has resumed it.
        can_go_on = run.reason is None or (run.resume_at is not None and now >= run.resume_at)
        return can_go_on or not left.was_stopped

    async def _find(self, found: ActiveRun) -> Run | None:
        """The run to join; None if it is gone, or cannot be worked on here."""
        try:
            run = await self._engine.run(found.name)
            # Its service and functions are looked up here, before any job is taken.
            _ = run.sweep
        except UsageError as error:
            self._note_lack(found, error)
            return None
        return run

    async def _take_part(self, found: ActiveRun, run: Run) -> None:
        self._listener.joined(run)
        try:
            status = await run.join(max_in_flight=self._max_in_flight)
        except UsageError as error:
            self._note_lack(found, error)
        else:
            was_stopped = status.state is RunState.ACTIVE and status.reason is not None
            self._left[found.id] = _Left(self._engine.clock.now(), was_stopped=was_stopped)
            self._statuses[found.id] = status
            self._listener.left(status)
        finally:
            del self._joined[found.id]
            self._wake.set()

    def _note_lack(self, run: ActiveRun, error: UsageError) -> None:
        before, why = self._left.get(run.id), str(error)
        self._left[run.id] = _Left(self._engine.clock.now(), lacks=why)
        if before is None or before.lacks != why:
            self._listener.lacks(run.name, why)
