"""The health gate of one run: a lane opens once its model is healthy."""

from collections.abc import Callable
from itertools import count

from anyio.abc import TaskGroup

from engine.clock import Clock
from engine.core.breaker import BreakerState
from engine.core.errors import JobError, KeyRenewed, LimitReached
from engine.core.model import Health
from engine.core.runs import EventKind
from engine.runner import Runner
from engine.scheduler.assignment import Assignment, Note
from engine.scheduler.lane import Block, Lane
from engine.scheduler.lanes import Lanes
from engine.scheduler.quota import QuotaTracker


class HealthChecker:
    """Asks the gate about each lane until its model is healthy.

    A lane that is still unhealthy after as many questions as jobs have attempts no longer keeps the run
    from ending.
    """

    def __init__(
        self,
        clock: Clock,
        assignment: Assignment,
        runner: Runner,
        quota: QuotaTracker,
        note: Note,
    ) -> None:
        self._clock = clock
        self._run = assignment
        self._runner = runner
        self._quota = quota
        self._note = note
        self._asked: set[str] = set()
        self._asking: set[str] = set()

    def ask(self, lanes: Lanes, helpers: TaskGroup, wake: Callable[[], None]) -> None:
        """Start asking about lanes that the gate has not opened; `wake` is called when a lane changes.

        Returns at once: each lane has a task of its own in `helpers`, and is closed until its model is
        healthy. Each question counts as one of `limits.requests`. Does nothing if the sweep has no gate,
        nor for a lane that is being asked about.
        """
        if self._run.ask_health is None:
            return
        for lane in lanes.waiting:
            if lane.name not in self._asked:
                self._asked.add(lane.name)
                lane.close(Block.HEALTH, "")
            elif lane.block is not Block.HEALTH or lane.name in self._asking:
                continue
            self._asking.add(lane.name)
            helpers.start_soon(self._ask_until_healthy, lane, wake, name=f"health {lane.name}")

    async def _ask_until_healthy(self, lane: Lane, wake: Callable[[], None]) -> None:
        is_noted = False
        try:
            for attempt in count(1):
                try:
                    sick = await self._find_fault(lane)
                except LimitReached as error:
                    # The sweep's limit of requests is reached, which stops the lane's jobs as well.
                    lane.close(Block.QUOTA, str(error))
                    return
                if lane.circuit.breaker.state is BreakerState.PARKED:
                    return
                if sick is None:
                    if is_noted:
                        await self._note(EventKind.WELL, "healthy again", lane)
                    lane.open()
                    return
                if lane.why != sick:
                    lane.explain(sick)
                    is_noted = True
                    await self._note(EventKind.HEALTH, f"unhealthy: {sick}", lane)
                    wake()
                if attempt >= self._run.retry.attempts:
                    # The run no longer waits for this lane alone. While others go on, it may recover.
                    lane.close(Block.SICK, sick)
                    wake()
                await self._clock.sleep(self._runner.delay_s(attempt))
        finally:
            self._asking.discard(lane.name)
            wake()

    async def _find_fault(self, lane: Lane) -> str | None:
        """Return what is wrong with a lane's model; None if it is healthy."""
        try:
            health = await self._check(lane.name)
        except LimitReached:
            raise
        except JobError as error:
            return str(error)
        return None if health.healthy else health.message or "no reason given"

    async def _check(self, lane: str) -> Health:
        """Ask the gate; each question that leaves is one of `limits.requests`."""
        assert self._run.ask_health is not None, "lanes only wait for a gate that the sweep has"
        while True:
            await self._quota.take_request()
            try:
                return await self._run.ask_health(lane)
            except KeyRenewed:
                continue
            except JobError as error:
                if not error.sent:
                    await self._quota.give_request_back()
                raise
