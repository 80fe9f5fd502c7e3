"""Publishing what the lanes of a run wait for and how far its jobs are, so that other processes can show it."""

import logging
from collections.abc import Iterable
from math import inf

import anyio

from engine.clock import Clock
from engine.core.lanes import LaneState
from engine.core.progress import AttemptProgress
from engine.scheduler.lanes import Lanes
from engine.store import Store

logger = logging.getLogger(__name__)

_INTERVAL_S = 1.0
"""The least time between two writes of what changes constantly, such as the jobs in flight."""


class LanePublisher:
    """Keeps the store's rows of a run's lanes up to date.

    Changes are written with the next claim. A change that people would notice gets a commit of its own if no
    claim follows, at most one a second; a lane that does not change causes none.
    """

    def __init__(self, store: Store, clock: Clock, run_id: int, lanes: Lanes) -> None:
        self._store = store
        self._clock = clock
        self._run_id = run_id
        self._lanes = lanes
        self._published: dict[str, LaneState] = {}
        self._published_at = -inf
        self._changed: dict[str, LaneState] = {}
        """The lanes that differ from what was published."""
        self._in_claim: tuple[LaneState, ...] = ()
        """What the transaction of the current claim writes."""
        self._is_wanted = anyio.Event()
        """Set once a change should not wait for a claim."""

    def observe(self, now: float) -> None:
        """Compare the lanes at `now` with what was published, and note which have changed.

        A change that users should see at once is written without waiting for the next claim.
        """
        for lane in self._lanes.lanes.values():
            state = self._lanes.state(lane, now)
            if state == self._published.get(state.name):
                self._changed.pop(state.name, None)
                continue
            self._changed[state.name] = state
            if self._is_news(state, now):
                self._is_wanted.set()

    def add_to_claim(self, now: float) -> tuple[LaneState, ...]:
        """Return the changes for a claim to write; empty within a second of the last ones, unless users should know.

        Call `confirm_claim` once the claim is committed; until then the changes count as unwritten.
        """
        is_due = now >= self._published_at + _INTERVAL_S or self._has_news(now)
        self._in_claim = tuple(self._changed.values()) if is_due else ()
        return self._in_claim

    def confirm_claim(self) -> None:
        """Record that the last claim, with the changes that it wrote, is committed."""
        self._record(self._in_claim)
        self._in_claim = ()

    async def publish(self) -> None:
        """Write all changes now, so that other processes see that the run is executed here."""
        self.observe(self._clock.now())
        await self._write_changes()

    def forget(self) -> None:
        """Write every lane again: the store may have lost its row."""
        self._published.clear()

    async def run(self) -> None:
        """Write the changes that no claim has written, until cancelled."""
        while True:
            await self._is_wanted.wait()
            wait_s = self._published_at + _INTERVAL_S - self._clock.now()
            await self._clock.sleep(min(_INTERVAL_S, wait_s))
            self._is_wanted = anyio.Event()
            if self._has_news(self._clock.now()):
                await self._write_changes()

    async def _write_changes(self) -> None:
        if states := tuple(self._changed.values()):
            await self._store.queue.publish_lanes(self._run_id, states)
            self._record(states)

    def _has_news(self, now: float) -> bool:
        return any(self._is_news(one, now) for one in self._changed.values())

    def _is_news(self, state: LaneState, now: float) -> bool:
        before = self._published.get(state.name)
        return before is None or state.is_news(before, now)

    def _record(self, states: Iterable[LaneState]) -> None:
        now = self._clock.now()
        for state in states:
            self._published_at = now
            before = self._published.get(state.name) or LaneState(name=state.name)
            if state.is_news(before, now):
                _log(before, state, now)
            self._published[state.name] = state
            if self._changed.get(state.name) == state:
                del self._changed[state.name]


class ProgressPublisher:
    """Stores how far the attempts in flight are, at most once a second.

    Of several reports of an attempt within this time the last one is stored.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._reports: dict[int, AttemptProgress] = {}
        self._is_wanted = anyio.Event()

    def add(self, progress: AttemptProgress) -> None:
        """Have the progress of an attempt stored soon."""
        self._reports[progress.job_id] = progress
        self._is_wanted.set()

    async def run(self) -> None:
        """Store the progress that was added, until cancelled."""
        while True:
            await self._is_wanted.wait()
            self._is_wanted = anyio.Event()
            reports, self._reports = tuple(self._reports.values()), {}
            await self._store.attempts.record_progress(reports)
            await self._clock.sleep(_INTERVAL_S)


def _log(before: LaneState, state: LaneState, now: float) -> None:
    """Log what a lane waits for; that it takes its turn is of interest only after something else."""
    level = logging.DEBUG if before.goes_on and state.goes_on else logging.INFO
    until = "" if state.until is None else f" for {max(0.0, state.until - now):.1f} s"
    why = f"{state.why}{until}" + (f" ({state.detail})" if state.detail else "")
    logger.log(level, "lane state: %s; breaker %s", why, state.breaker, extra={"lane": state.name})
