"""The health gate of one run: a lane opens once its target has said that it is well."""

from collections.abc import Callable

from anyio.abc import TaskGroup

from engine.clock import Clock
from engine.core.errors import JobError
from engine.limits import Block, Lane, Lanes
from engine.runner import Runner
from engine.scheduler.assignment import Assignment, Note


class HealthDesk:
    """Asks about lanes, each until it is well or has been asked about as often as jobs are tried."""

    def __init__(self, clock: Clock, assignment: Assignment, runner: Runner, note: Note) -> None:
        self._clock = clock
        self._run = assignment
        self._runner = runner
        self._note = note
        self._asked: set[str] = set()
        self._asking: set[str] = set()

    def ask(self, lanes: Lanes, helpers: TaskGroup, wake: Callable[[], None]) -> None:
        """Have the gate asked about lanes that it has not opened; `wake` is called with each end."""
        if self._run.gate is None:
            return
        for lane in lanes.waiting:
            if lane.name not in self._asked:
                self._asked.add(lane.name)
                lane.block = Block.HEALTH
                lane.why = "its health is being asked for"
            elif lane.block is not Block.HEALTH or lane.name in self._asking:
                continue
            self._asking.add(lane.name)
            helpers.start_soon(self._ask_until_healthy, lane, wake, name=f"health {lane.name}")

    async def _ask_until_healthy(self, lane: Lane, wake: Callable[[], None]) -> None:
        assert self._run.gate is not None
        try:
            for attempt in range(1, self._run.retry.attempts + 1):
                try:
                    health = await self._run.gate.check(lane.name)
                    said, healthy = health.message or "unhealthy", health.healthy
                except JobError as error:
                    said, healthy = str(error), False
                if healthy:
                    lane.block, lane.why = None, ""
                    return
                lane.why = f"unhealthy: {said}"
                await self._note("health", lane.why, lane)
                await self._clock.sleep(self._runner.delay_s(attempt))
            lane.block = Block.PARKED
        finally:
            self._asking.discard(lane.name)
            wake()
