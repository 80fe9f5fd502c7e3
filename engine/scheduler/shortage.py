"""What stops a run whose quota is used up: how much is missing, what to do, and when it can go on."""

from collections.abc import Sequence
from math import isinf

from engine.core.quota import QuotaState
from engine.limits import month_began, next_month
from engine.scheduler.assignment import Assignment
from engine.scheduler.lane import Block, Lane
from engine.scheduler.quota_keys import requests_cap, tests_cap
from engine.store import QuotaKey, Store

_TIME_ZONES_S = 12 * 3600.0
"""How much later than in UTC a month begins in the last time zone."""


class Shortage:
    """Lanes that wait for quota at a time, under the rows that apply then."""

    def __init__(
        self,
        store: Store,
        assignment: Assignment,
        lanes: Sequence[Lane],
        keys: Sequence[QuotaKey],
        now: float,
    ) -> None:
        self._store = store
        self._run = assignment
        self._lanes = lanes
        self._keys = keys
        self._now = now
        self._tests_cap = tests_cap(assignment.run, now)
        self._requests_cap = requests_cap(assignment.run)

    async def find_end(self) -> float | None:
        """Return when there will be quota again; None if only a higher cap can help.

        The service's month may begin up to half a day after that of UTC.
        """
        rows = await self._store.reader.quotas(self._keys)
        room = {name: state.room for (name, _), state in rows.items()}
        if room.get(self._requests_cap.name) == 0:
            return None
        least = min(room, key=room.__getitem__, default=self._run.account)
        is_tests_cap = least == self._tests_cap.name
        if is_tests_cap and await self._is_cap_too_small():
            return None
        last_begins_at = month_began(self._now) + _TIME_ZONES_S
        if not is_tests_cap and self._now < last_begins_at:
            return last_begins_at
        return next_month(self._now)

    async def _is_cap_too_small(self) -> bool:
        """Whether one job may need more than the sweep allows in a whole month."""
        needed = await self._find_least_cost()
        rows = await self._store.reader.quotas([self._tests_cap])
        cap = rows.get((self._tests_cap.name, self._tests_cap.period))
        return needed is not None and cap is not None and needed > cap.allotted

    async def _find_least_cost(self) -> int | None:
        """Return how many tests the next job may cost at least; None if the lanes' costs are not known."""
        if self._run.kind.charged_by_reply:
            return None
        costs = await self._store.reader.costs(self._run.costs_of)
        found = [costs.get(name) for lane in self._lanes for name in lane.classes]
        bounds = [one.most if one.is_bounded else one.tests for one in found if one is not None]
        return min(bounds) if bounds and len(bounds) == len(found) else None

    async def describe(self) -> str:
        """Return what is used up, with the service's explanation or what the user can do."""
        reasons = [lane.why for lane in self._lanes if lane.block is Block.QUOTA and lane.why]
        found = await self._store.reader.quotas(self._keys)
        rows = sorted(found.items(), key=lambda row: row[1].room)
        own = {
            self._tests_cap.name: ("tests a month", "quota.tests"),
            self._requests_cap.name: ("requests", "requests"),
        }
        (least, _), state = rows[0] if rows else (("", ""), QuotaState(allotted=0))
        needed = await self._find_least_cost()
        is_left = state.room > 0 and needed is not None and needed > state.room
        costs = f"one more evaluation may come to {needed:,}" if is_left else ""
        if least in own and (not reasons or not state.room):
            return _describe_cap(*own[least], state, costs)
        names = {self._run.account: self._run.account_label}
        parts = [
            f"{names.get(name, name)}: {one.used + one.overrun} of {one.allotted} used"
            for (name, _), one in rows
        ]
        cause = f"too little is left of the quota: {costs}" if costs else "the quota is used up"
        return "; ".join([cause, *parts, *reasons[:1]])


def _describe_cap(what: str, key: str, state: QuotaState, costs: str) -> str:
    used = state.used + state.overrun
    left = f", with {used:,} used" if used < state.allotted else ""
    return (
        f"the sweep's own limit of {state.allotted:,} {what} is reached"
        f"{left}{', and ' if costs else ''}{costs}; raise"
        f" limits.{key} in the sweep file and run it again to go on at once"
    )


def is_short(lane: Lane) -> bool:
    """Whether a lane waits for quota, or for an answer that shows what its jobs cost.

    False for an empty account, which no quota helps.
    """
    if lane.block is Block.CREDIT:
        return False
    return isinf(lane.next_at) or lane.block is Block.QUOTA
