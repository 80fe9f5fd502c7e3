"""What other processes are told of the lanes of a run."""

import logging
from collections.abc import Sequence
from math import inf

import anyio

from engine.clock import Clock
from engine.core.lanes import LaneState
from engine.scheduler.lanes import Lanes
from engine.store import Store

logger = logging.getLogger(__name__)

_PAUSE_S = 1.0
"""The least time between two writes of what changes all the time."""


class LaneBoard:
    """Keeps the store's rows of a run's lanes in step with what this process knows of them.

    What has changed goes along with the next claim. News has a commit of its own where no claim takes it along,
    at most one a second; a lane that stays as it is has none.
    """

    def __init__(self, store: Store, clock: Clock, run_id: int, lanes: Lanes) -> None:
        self._store = store
        self._clock = clock
        self._run_id = run_id
        self._lanes = lanes
        self._told: dict[str, LaneState] = {}
        self._told_at = -inf
        self._changed: dict[str, LaneState] = {}
        """What differs from what was told."""
        self._carried: tuple[LaneState, ...] = ()
        """What the transaction under way takes along."""
        self._has_news = anyio.Event()

    def look(self, now: float) -> None:
        """Take note of what the lanes wait for now."""
        for lane in self._lanes.lanes.values():
            state = self._lanes.state(lane, now)
            if state == self._told.get(state.name):
                self._changed.pop(state.name, None)
                continue
            self._changed[state.name] = state
            if self._is_news(state, now):
                self._has_news.set()

    def carry(self, now: float) -> tuple[LaneState, ...]:
        """What a claim is to take along; `carried` says that it is committed."""
        is_due = now >= self._told_at + _PAUSE_S or self._has_changed_much(now)
        self._carried = tuple(self._changed.values()) if is_due else ()
        return self._carried

    def carried(self) -> None:
        """The claim that took something along is committed."""
        self._note(self._carried)
        self._carried = ()

    async def run(self) -> None:
        """Tell what no claim takes along, as long as the run is worked on."""
        while True:
            await self._has_news.wait()
            await self._clock.sleep(min(_PAUSE_S, self._told_at + _PAUSE_S - self._clock.now()))
            self._has_news = anyio.Event()
            if self._has_changed_much(self._clock.now()):
                await self._publish_changes()

    async def publish(self) -> None:
        """Tell of all lanes now, so that other processes see that the run is executed here."""
        self.look(self._clock.now())
        await self._publish_changes()

    def forget(self) -> None:
        """Tell of all lanes again: what the store had of them may be gone."""
        self._told.clear()

    async def _publish_changes(self) -> None:
        if states := tuple(self._changed.values()):
            await self._store.queue.publish_lanes(self._run_id, states)
            self._note(states)

    def _has_changed_much(self, now: float) -> bool:
        return any(self._is_news(one, now) for one in self._changed.values())

    def _is_news(self, state: LaneState, now: float) -> bool:
        before = self._told.get(state.name)
        return before is None or state.is_news(before, now)

    def _note(self, told: Sequence[LaneState]) -> None:
        now = self._clock.now()
        if told:
            self._told_at = now
        for state in told:
            before = self._told.get(state.name) or LaneState(name=state.name)
            if state.is_news(before, now):
                _log(before, state, now)
            self._told[state.name] = state
            if self._changed.get(state.name) == state:
                del self._changed[state.name]


def _log(before: LaneState, state: LaneState, now: float) -> None:
    """Log what a lane waits for; that it takes its turn is of interest only after something else."""
    level = logging.DEBUG if before.goes_on and state.goes_on else logging.INFO
    until = "" if state.until is None else f" for {max(0.0, state.until - now):.1f} s"
    why = f"{state.why}{until}" + (f" ({state.detail})" if state.detail else "")
    logger.log(level, "lane state: %s; breaker %s", why, state.breaker, extra={"lane": state.name})
