"""Noticing what other processes do to a run: a pause, a cancellation, new jobs, a death."""

import logging
from typing import Protocol

from anyio.abc import TaskStatus

from engine.clock import Clock
from engine.core.errors import NightsweepError
from engine.core.listing import quantity
from engine.core.runs import EventKind, RunState, StopReason
from engine.scheduler.assignment import Assignment, Note
from engine.scheduler.lanes import Lanes
from engine.settings import Settings
from engine.store import LOG_MAX_BYTES, RunFingerprint, Store

logger = logging.getLogger(__name__)


_STILL_S = 1.5
"""A process whose heartbeat is later than this and two polls is taken to be stopped."""
_LATE_S = 5.0
"""A longer oversleep than this means that the machine was suspended, or this process stopped."""


class Watched(Protocol):
    """The parts of the scheduler that other processes influence."""

    lanes: Lanes

    def stop(self, reason: StopReason, message: str, resume_at: float | None = None) -> None: ...

    def stop_for_lost_store(self) -> None: ...

    def wake(self) -> None: ...

    def publish_again(self) -> None: ...

    async def refresh(self) -> None: ...


class Watch:
    """Checks the store every `poll_s` seconds, and records this worker's heartbeat."""

    def __init__(
        self, store: Store, clock: Clock, settings: Settings, assignment: Assignment, note: Note
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._run = assignment
        self._note = note
        self._had_company = False
        self._log_limit = LOG_MAX_BYTES

    async def run(self, watched: Watched, *, task_status: TaskStatus[None]) -> None:
        """Notice what other processes do, every `poll_s` seconds, until cancelled or the store is lost.

        It also records this worker's heartbeat, and publishes again after the machine was suspended. A
        store that is locked or full is logged and tried again; one that is lost stops the run.
        `task_status` is started at once.
        """
        task_status.started()
        seen: RunFingerprint | None = None
        beat_at = self._clock.now() + self._settings.heartbeat_s
        looked_at = self._clock.now()
        while True:
            await self._clock.sleep(self._settings.poll_s)
            was_looked_at, looked_at = looked_at, self._clock.now()
            if looked_at - was_looked_at > self._settings.poll_s + _LATE_S:
                # Timers stood still while the machine was suspended. While this process was stopped, others
                # may have given it up.
                watched.publish_again()
            if self._store.is_lost:
                watched.stop_for_lost_store()
                # The first write that fails saves the store's contents and finds a place for later answers.
                await self._store.worker.run_until_lost(self._store.worker.record_heartbeat)
                return
            try:
                if self._clock.now() >= beat_at:
                    await self._store.worker.record_heartbeat()
                    beat_at = self._clock.now() + self._settings.heartbeat_s
                    await self._look_at_log()
                elif self._had_company:
                    # Others take over the slots of a stopped process, so they have to notice it soon.
                    await self._store.worker.record_heartbeat()
                seen = await self._look(watched, seen)
            except NightsweepError as error:
                # The store is locked or full; the writer reports that if it lasts.
                logger.warning("cannot look at the store: %s", error)

    async def _look(self, watched: Watched, seen: RunFingerprint | None) -> RunFingerprint | None:
        run, others = await self._store.reader.observe(self._run.run_id)
        if run is None or run.state is RunState.DELETING:
            watched.stop(StopReason.CANCELLED, "deleted")
            return run
        if run.state is RunState.PAUSED:
            watched.stop(StopReason.PAUSED, "paused; `nightsweep resume` continues it")
        elif run.state is RunState.CANCELLED:
            watched.stop(StopReason.CANCELLED, "cancelled")
        if others:
            await self.reclaim()
        beats = (
            [at for _, at in await self._store.reader.find_workers_on(self._run.run_id)]
            if others
            else []
        )
        since = self._clock.now() - _STILL_S - 2 * self._settings.poll_s
        watched.lanes.peers, watched.lanes.still = len(beats), sum(at < since for at in beats)
        if self._had_company and not others:
            await self.follow_clock()
        if others or self._had_company or run != seen:
            # Also once after the last of the others has gone, for what it did before that.
            watched.lanes.retry_refused()
            await watched.refresh()
        self._had_company = bool(others)
        return run

    async def _look_at_log(self) -> None:
        """Note which process makes the store's log grow, and again each time that it has doubled."""
        size, why = await self._store.reader.check_log(self._log_limit)
        if why:
            self._log_limit = 2 * size
            await self._note(EventKind.STORAGE, why)

    async def follow_clock(self) -> None:
        """Shorten waits that have become longer because the clock was set back."""
        back_s = await self._store.queue.follow_clock()
        if back_s:
            await self._note(
                EventKind.CLOCK, f"the clock was set back by {back_s:,.0f} s since the last run"
            )

    async def reclaim(self) -> None:
        """Take back what dead processes were doing."""
        again, spent = await self._store.worker.reclaim_from_dead(
            attempts=self._run.retry.attempts, run_id=self._run.run_id
        )
        if again or spent:
            parts = [
                *([f"{quantity(again, 'job')} sent again"] if again else []),
                *([f"{quantity(spent, 'job')} failed, out of attempts"] if spent else []),
            ]
            await self._note(EventKind.RECLAIMED, f"a process died: {', '.join(parts)}")
