"""Confirming refusals: the service is asked, and one more request sent, before a lane stops."""

from collections.abc import Callable
from functools import partial

from anyio.abc import TaskGroup

from engine.clock import Clock
from engine.core.breaker import PROBE_EVERY_S
from engine.core.doubt import Doubt
from engine.core.errors import JobError, Unauthorized
from engine.core.listing import quantity
from engine.core.model import Allotment
from engine.core.retry import Hold
from engine.core.runs import EventKind, StopReason
from engine.runner import Runner
from engine.scheduler.assignment import Assignment, Note
from engine.scheduler.lane import Block, Lane
from engine.scheduler.lanes import Lanes
from engine.scheduler.quota import QuotaTracker
from engine.store import Store

_BELIEVED_AFTER = 2
"""Requests refused one after the other that confirm a refusal if the service cannot be asked."""


class RefusalChecker:
    """Asks about lanes whose key, quota or account was refused, until that is confirmed or a job is answered."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        assignment: Assignment,
        runner: Runner,
        quota: QuotaTracker,
        note: Note,
        stop: Callable[[StopReason, str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._run = assignment
        self._runner = runner
        self._quota = quota
        self._note = note
        self._stop = stop
        self._asking: set[str] = set()

    def ask(self, lanes: Lanes, helpers: TaskGroup, wake: Callable[[], None]) -> None:
        """Start asking the service about lanes that were refused; `wake` is called after each answer.

        Returns at once: each lane has a task of its own in `helpers`, at most one at a time. A task closes
        its lane, stops the run, or lets another request try.
        """
        for lane in lanes.lanes.values():
            doubt = lane.circuit.doubt
            if doubt is None or not doubt.is_asking or lane.name in self._asking:
                continue
            self._asking.add(lane.name)
            ask = partial(self._ask, lane, lanes, wake)
            helpers.start_soon(self._store.worker.run_until_lost, ask, name=f"refusal {lane.name}")

    def hasten(self, lanes: Lanes) -> None:
        """Let lanes try at once: nothing is in flight here, so all that was held for it is free.

        Does nothing while other processes work on the run, which may hold some of it.
        """
        now = self._clock.now()
        for lane in lanes.lanes.values():
            if not lanes.peers:
                lane.hasten(now)

    async def _ask(self, lane: Lane, lanes: Lanes, wake: Callable[[], None]) -> None:
        try:
            doubt = lane.circuit.doubt
            assert doubt is not None, "only a lane that was refused is asked about"
            match doubt.hold:
                case Hold.UNAUTHORIZED:
                    await self._ask_key(lane, doubt)
                case Hold.QUOTA:
                    await self._ask_quota(lane, doubt, lanes)
                case _:
                    if doubt.refusals >= _BELIEVED_AFTER:
                        await self._block(lane, doubt, Block.CREDIT, EventKind.CREDIT)
                    else:
                        self._try_again(lane, doubt)
        finally:
            self._asking.discard(lane.name)
            wake()

    async def _ask_key(self, lane: Lane, doubt: Doubt) -> None:
        is_valid = await self._is_key_valid()
        if is_valid is False or (is_valid is None and doubt.refusals >= _BELIEVED_AFTER):
            self._stop(StopReason.UNAUTHORIZED, doubt.why)
        elif is_valid and doubt.refusals > self._run.retry.attempts:
            self._stop(
                StopReason.UNAUTHORIZED,
                f"{doubt.why}; it was refused {quantity(doubt.refusals, 'time')} in a row, although the"
                " service, asked about it, says that it is valid",
            )
        elif is_valid and doubt.refusals == 1:
            lane.doubt_again(doubt, self._clock.now())
        else:
            self._try_again(lane, doubt)

    async def _is_key_valid(self) -> bool | None:
        """Whether the service says that the key is valid; None if it cannot be asked or does not answer."""
        if self._run.ask_key is None:
            return None
        try:
            return await self._run.ask_key()
        except Unauthorized:
            return False
        except JobError:
            return None

    async def _ask_quota(self, lane: Lane, doubt: Doubt, lanes: Lanes) -> None:
        try:
            quota = await self._quota.fetch()
        except JobError:
            has_question, quota = True, None
        else:
            has_question = quota is not None
        doubts = (one.circuit.doubt for one in lanes.lanes.values())
        is_let_through = any(one is not None and one.is_trying for one in doubts)
        is_repeated = doubt.is_alone and doubt.refusals >= _BELIEVED_AFTER and not is_let_through
        if _is_spent(quota, doubt, is_repeated=is_repeated) or (not has_question and is_repeated):
            await self._block(lane, doubt, Block.QUOTA, EventKind.QUOTA)
        elif self._is_out_of_patience(doubt, lanes):
            await self._block(
                lane, doubt, Block.PARKED, EventKind.PARKED, _describe_contradiction(quota, doubt)
            )
        else:
            self._try_again(lane, doubt)

    def _is_out_of_patience(self, doubt: Doubt, lanes: Lanes) -> bool:
        """Whether every request was refused for as long as an outage may last."""
        retry = self._run.retry
        if not retry.outage_s:
            return doubt.refusals > retry.attempts
        worked_at = max(lane.circuit.worked_at for lane in lanes.lanes.values())
        waited_s = self._clock.now() - max(doubt.since, worked_at) - doubt.unasked_s
        return waited_s >= retry.outage_s

    def _try_again(self, lane: Lane, doubt: Doubt) -> None:
        wait_s = min(PROBE_EVERY_S, self._runner.delay_s(doubt.refusals))
        lane.doubt_again(doubt, self._clock.now() + wait_s)

    async def _block(
        self, lane: Lane, doubt: Doubt, block: Block, kind: EventKind, why: str | None = None
    ) -> None:
        if lane.settle_doubt(doubt, block, why or doubt.why):
            await self._note(kind, lane.why, lane)


def _is_spent(quota: Allotment | None, doubt: Doubt, *, is_repeated: bool) -> bool:
    """Whether the service's own figure confirms that the quota has no room for the refused request."""
    if quota is None:
        return False
    room = quota.allotted - quota.used
    # The job, whose cost is unknown, held all that is left and was refused: it needs more.
    return room < max(1, doubt.needs) or (is_repeated and room <= doubt.needs)


def _describe_contradiction(quota: Allotment | None, doubt: Doubt) -> str:
    """Return why a lane is given up although its refusals were not confirmed."""
    refused = f"{quantity(doubt.refusals, 'request')} in a row refused"
    if quota is None:
        return f"{doubt.why}; {refused}, and the service does not say how much is left"
    return (
        f"{doubt.why}; {refused}, although the service's own figure says that only {quota.used:,} of"
        f" {quota.allotted:,} tests are used: ask its operator which of the two is right, then resume"
    )
