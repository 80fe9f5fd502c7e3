"""What other processes do to a run: a pause, a cancel, new jobs, a death."""

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
"""A process whose heartbeat is this late, after two looks, stands still: it was stopped, say."""
_LATE_S = 5.0
"""A busy machine wakes somebody this late at most; one that was asleep, later."""


class Watched(Protocol):
    """The scheduler, as far as others may change its course."""

    lanes: Lanes

    def stop(self, reason: StopReason, message: str, resume_at: float | None = None) -> None: ...

    def stop_for_lost_store(self) -> None: ...

    def wake(self) -> None: ...

    def publish_again(self) -> None: ...

    async def refresh(self) -> None: ...


class Watch:
    """Looks at the store every second or so, and beats this worker's heart."""

    def __init__(
        self, store: Store, clock: Clock, settings: Settings, assignment: Assignment, note: Note
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._run = assignment
        self._note = note
        self._had_company = False
        self._log_told = LOG_MAX_BYTES

    async def run(self, watched: Watched, *, task_status: TaskStatus[None]) -> None:
        """Notice what other processes do: a pause, a cancel, new jobs, a death."""
        task_status.started()
        seen: RunFingerprint | None = None
        beat_at = self._clock.now() + self._settings.heartbeat_s
        looked_at = self._clock.now()
        while True:
            await self._clock.sleep(self._settings.poll_s)
            was_looked_at, looked_at = looked_at, self._clock.now()
            if looked_at - was_looked_at > self._settings.poll_s + _LATE_S:
                # The machine was asleep, and the timers of who waits here with it; or this process was
                # stopped, and others have taken it for dead.
                watched.publish_again()
            if self._store.is_lost:
                watched.stop_for_lost_store()
                # The first write that fails has the store's contents kept, and a place for the answers to come.
                await self._store.worker.run_until_lost(self._store.worker.record_heartbeat)
                return
            try:
                if self._clock.now() >= beat_at:
                    await self._store.worker.record_heartbeat()
                    beat_at = self._clock.now() + self._settings.heartbeat_s
                    await self._look_at_log()
                elif self._had_company:
                    # Others take over the slots of one that stands still: they have to know soon.
                    await self._store.worker.record_heartbeat()
                seen = await self._look(watched, seen)
            except NightsweepError as error:
                # A store that is held or full for a moment: the writer says so where it matters.
                logger.warning("cannot look at the store: %s", error)

    async def _look(self, watched: Watched, seen: RunFingerprint | None) -> RunFingerprint | None:
        run = await self._store.reader.fingerprint(self._run.run_id)
        if run is None or run.state is RunState.DELETING:
            watched.stop(StopReason.CANCELLED, "deleted")
            return run
        if run.state is RunState.PAUSED:
            watched.stop(StopReason.PAUSED, "paused; `nightsweep resume` goes on")
        elif run.state is RunState.CANCELLED:
            watched.stop(StopReason.CANCELLED, "cancelled")
        others = await self._store.reader.find_other_workers()
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
            # Once more after the last of the others has gone: for what it did before it went.
            watched.lanes.retry_refused()
            await watched.refresh()
        self._had_company = bool(others)
        return run

    async def _look_at_log(self) -> None:
        """Say who makes the store's log grow; again each time that it has doubled."""
        size, why = await self._store.reader.check_log(self._log_told)
        if why:
            self._log_told = 2 * size
            await self._note(EventKind.STORAGE, why)

    async def follow_clock(self) -> None:
        """Do not wait for times that have moved away because the clock was set back."""
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
            said = [
                *([f"{quantity(again, 'job')} sent again"] if again else []),
                *([f"{quantity(spent, 'job')} failed, out of attempts"] if spent else []),
            ]
            await self._note(EventKind.RECLAIMED, f"a process died: {', '.join(said)}")
