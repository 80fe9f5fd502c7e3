"""The quota of one run: which rows apply, what the service says of them, what is short."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from math import inf, isinf

import anyio

from engine.clock import Clock
from engine.core.errors import JobError, LimitReached, Permanent
from engine.core.model import Allotment, Sends
from engine.core.policy import Limits
from engine.core.quota import QuotaState
from engine.core.retry import retry_after_of
from engine.core.runs import EventKind
from engine.kinds import JobKind
from engine.limits import month, month_began, next_month
from engine.scheduler.assignment import Assignment, Note
from engine.scheduler.lane import Block, Lane
from engine.scheduler.lanes import Lanes
from engine.store import Claimed, QuotaKey, Store

_ZONES_S = 12 * 3600.0
"""How much later than in UTC a month begins anywhere."""
_DOUBT_S = 10.0
"""How long the service is spared the question after requests without an answer."""
_UNREACHED_S = 60.0
"""How long a service is spared the question that did not answer it."""
_HELD_S = 5.0
"""How long until what other runs hold is looked at again."""
_LAST_S = 5.0
"""How long the end of a run waits for the service's own figures."""
_NO_QUESTION = (404, 405, 501)
"""What a service answers that has no such question."""
_NOT_NOW = (408, 425, 429)
"""Of 400 to 499, those that say nothing of the next time."""
_MOST_REFUSALS = 3
"""How often in a row a service refuses the question before it is taken to tell this key no quota."""


class QuotaTracker:
    """Keeps the run's quota rows in step with the service and the sweep."""

    def __init__(self, store: Store, clock: Clock, assignment: Assignment, note: Note) -> None:
        self._store = store
        self._clock = clock
        self._run = assignment
        self._note = note
        self._observed_at: float | None = None
        self._turns_at: float | None = None
        """The time of a new month while the service is being asked for its quota."""
        self._turned_at = -inf
        self._doubted = anyio.Event()
        self._asking = anyio.Lock()
        """Held until what the service told was made use of."""
        self._room: Mapping[tuple[str, str], QuotaState] = {}
        """With what room lanes had none last."""
        self._is_in_doubt = False
        self._unreached = 0
        """How often in a row the service did not answer."""
        self._not_before = -inf
        """Until when the service wants to be spared the question."""
        self._is_untold = False
        """Whether the service has yet to tell its quota for the first time."""
        self._refusals = 0
        """How often in a row the service refused the question."""
        self._has_figure = True
        """Whether the service may have a quota to tell this key."""
        self._is_end_told = self._is_end_near = False

    def keys(self, now: float) -> tuple[QuotaKey, ...]:
        """The rows that apply at a time; those that the store does not have are not finite.

        A new month's apply once they are written: claims go on while the service is being asked.
        """
        at = now if self._observed_at is None else self._observed_at
        keys = self._keys_of(at)
        if self._turns_at is not None and not self._run.kind.charged_by_reply:
            keys += tuple(key for key in self._keys_of(self._turns_at) if key not in keys)
        return keys

    def _keys_of(self, at: float) -> tuple[QuotaKey, ...]:
        return quota_keys(self._run.kind, self._run.limits, self._run.run, self._run.account, at)

    def claimed(self, now: float) -> tuple[QuotaKey, ...]:
        """Those of them in which a claim reserves: requests that a job sends itself are counted as they start."""
        keys = self.keys(now)
        if self._run.kind.sends is Sends.JOB:
            return keys
        return tuple(key for key in keys if not key.counts_requests)

    async def observe(self) -> bool:
        """Ask the service for its quota and set the sweep's own caps; whether the service answered."""
        now = self._clock.now()
        try:
            return await self._observe(now)
        finally:
            self._observed_at = now

    async def _observe(self, now: float) -> bool:
        limits, cap = self._run.limits, _tests_cap(self._run.run, now)
        if self._run.kind.uses_quota:
            await self._store.limits.begin_period(
                (self._run.account, cap.name), before=month(month_began(now) - 1), begun=month(now)
            )
        if self._observed_at is None:
            # Once: a process that works on with an older file does not set its caps again.
            for key, allotted in (
                (cap, limits.quota_tests),
                (_requests_cap(self._run.run), limits.requests),
            ):
                if allotted is not None:
                    await self._store.limits.set_cap(key, allotted=allotted)
        try:
            return await self._ask(now)
        except JobError as error:
            # Not to know the quota is no reason not to start: the service itself refuses what is over.
            slowly = "; one evaluation at a time until it does" if self._is_untold else ""
            await self._note(
                EventKind.QUOTA, f"the service did not say how much quota is left: {error}{slowly}"
            )
            return False

    async def _untold(self, key: QuotaKey, error: JobError) -> None:
        """Until the service has told its quota for the first time, what is sent is held for that, and it is asked again."""
        self._is_in_doubt = True
        self._refusals = self._refusals + 1 if _is_refusal(error) else 0
        if error.status in _NO_QUESTION or self._refusals == _MOST_REFUSALS:
            was_expected, self._is_untold, self._has_figure = self._is_untold, False, False
            await self._store.limits.forget_quota(key)
            if was_expected:
                await self._note(
                    EventKind.QUOTA,
                    f"the service does not tell this key how much quota is left: {error}; only what it refuses"
                    " holds the run back",
                )
            return
        self._is_untold = self._has_figure and await self._store.limits.expect_quota(key)
        if self._is_untold:
            self._doubted.set()

    async def _ask(self, now: float) -> bool:
        """Take over the service's own figures; whether it has some. Raises JobError if it cannot tell."""
        return await self._figure(now) is not None

    async def figure(self) -> Allotment | None:
        """The service's own figures, taken over; None where it has none. Raises JobError if it cannot tell."""
        return await self._figure(self._clock.now())

    async def _figure(self, now: float) -> Allotment | None:
        if self._run.ask_quota is None or not self._run.kind.uses_quota:
            return None
        key = QuotaKey(name=self._run.account, period=month(now))
        since = await self._store.reader.total_settled(key)
        self._is_in_doubt = False
        try:
            offered = await self._run.ask_quota()
        except JobError as error:
            self._not_before = self._clock.now() + retry_after_of(error)
            await self._untold(key, error)
            raise
        self._refusals = 0
        if offered is None:
            await self._store.limits.forget_quota(key)
            self._is_untold = self._has_figure = False
            return None
        self._has_figure = True
        await self._store.limits.refresh_quota(
            key,
            allotted=offered.allotted,
            used=offered.used,
            since=since,
            caps=(_tests_cap(self._run.run, now),),
        )
        if self._is_untold:
            self._is_untold = False
            await self._note(EventKind.QUOTA, "the service has said how much quota is left")
        return offered

    def started(self, claimed: Iterable[Claimed]) -> None:
        """Take note of jobs that hold all that is left."""
        self._is_end_near |= any(job.is_alone for job in claimed)

    async def tell_end(self) -> None:
        """Say once that the end of the quota is near."""
        if self._is_end_near and not self._is_end_told:
            self._is_end_told = True
            await self._note(
                EventKind.QUOTA,
                "what is left of the quota may be less than an evaluation costs that went badly:"
                " one evaluation at a time from here on",
            )

    async def take_request(self) -> None:
        """Count a request beside those of jobs that is about to leave; raises LimitReached where none may."""
        limit = self._run.limits.requests
        if limit is not None and not await self._store.limits.take_request(
            _requests_cap(self._run.run)
        ):
            raise LimitReached(
                f"the sweep's own limit of {limit:,} requests is reached", sent=False
            )

    async def give_request_back(self) -> None:
        """One that was taken surely never left."""
        if self._run.limits.requests is not None:
            await self._store.limits.give_request_back(_requests_cap(self._run.run))

    def ended(self, began: float, *, has_answer: bool) -> None:
        """A request that began then has ended and may have cost something.

        Without an answer what was held for it counts until the service is asked; with one, too, where a month has
        turned meanwhile: in which of the two it was billed, the service has to tell.
        """
        kind = self._run.kind
        is_told = has_answer and began > self._turned_at
        if is_told or self._run.ask_quota is None or not kind.uses_quota or kind.charged_by_reply:
            return
        self._is_in_doubt = True
        self._doubted.set()

    async def settle_doubts(self, lanes: Lanes, wake: Callable[[], None]) -> None:
        """Ask the service after requests without an answer, or for its first figure: at once, then at most so often.

        Not before the time that it asked for itself.
        """
        while True:
            await self._doubted.wait()
            await self._clock.sleep(self._not_before - self._clock.now())
            self._doubted = anyio.Event()
            async with self._asking:
                if await self._gains(self._ask_quietly):
                    _reopen(lane for lane in lanes.waiting if is_short(lane))
                    wake()
            await self._clock.sleep(self._spared_s)
            if self._is_in_doubt:
                self._doubted.set()

    @property
    def _spared_s(self) -> float:
        """How long the service is not asked again."""
        if self._is_untold:
            return min(_UNREACHED_S, 2.0**self._unreached)
        return _UNREACHED_S if self._unreached else _DOUBT_S

    async def settle_last_doubts(self) -> None:
        """Ask once more at the end, so that the figures that stay are the service's."""
        if self._is_in_doubt:
            with anyio.move_on_after(_LAST_S):
                await self._ask_quietly()

    async def _ask_quietly(self) -> bool:
        try:
            answered = await self._ask(self._clock.now())
        except JobError:
            # No line in the log each time: a service that fails its requests may fail this one, too.
            self._unreached += 1
            return False
        self._unreached = 0
        return answered

    async def turn_month(self, now: float, lanes: Lanes) -> None:
        """Write the rows of a month that has begun while the run goes on; lanes may ask again.

        Until the service has told its figure, what is claimed is held in both months.
        """
        if self._observed_at is None or month(now) == month(self._observed_at):
            return
        self._turns_at = now
        try:
            await self.observe()
        finally:
            self._turns_at = None
            self._turned_at = self._clock.now()
        await self._note(EventKind.QUOTA, f"the month {month(now)} has begun (UTC)")
        _reopen(lanes.waiting)

    async def has_more(self, short: list[Lane]) -> bool:
        """Whether the service, asked again, has quota for lanes that had none, or another run may leave some."""
        async with self._asking:
            if not all(map(is_short, short)):
                # It was asked meanwhile, after a request without an answer.
                return True
            if await self._waits_for_others(short) or await self._has_changed(short):
                return True
            gained = await self._gains(self.observe)
            if gained:
                _reopen(short)
        return gained

    async def _has_changed(self, short: list[Lane]) -> bool:
        """Whether there may be other room than when lanes were refused: then they look once more.

        What another run gives back between a claim and this is noticed in no other way.
        """
        unrefused = [lane for lane in short if lane.block is None]
        room = await self._store.reader.quotas(self.keys(self._clock.now()))
        if not unrefused or room == self._room:
            return False
        self._room = room
        _reopen(unrefused)
        return True

    async def _waits_for_others(self, short: list[Lane]) -> bool:
        """Whether lanes wait for what other runs hold for their jobs in flight: they look again and again."""
        unrefused = [lane for lane in short if lane.block is None]
        now = self._clock.now()
        keys = [key for key in self.keys(now) if not key.counts_requests]
        if not unrefused or not await self._store.reader.is_quota_held(
            keys, besides=self._run.run_id
        ):
            return False
        for lane in unrefused:
            lane.wait_for_quota(now + _HELD_S)
        return True

    async def _gains(self, ask: Callable[[], Awaitable[bool]]) -> bool:
        """Whether there is more room once the service was asked."""
        keys = self.keys(self._clock.now())
        before = await self._store.reader.quotas(keys)
        if not await ask():
            return False
        after = await self._store.reader.quotas(keys)
        return any(
            after[name].room > before[name].room for name in after if name in before
        ) or bool(set(after) - set(before))

    async def resumes_at(self, short: list[Lane], now: float) -> float | None:
        """When there will be quota again for lanes that have none; None where only a higher cap can help.

        The service's month may begin up to half a day after that of UTC.
        """
        rows = await self._store.reader.quotas(self.keys(now))
        room = {name: state.room for (name, _), state in rows.items()}
        if room.get(_requests_cap(self._run.run).name) == 0:
            return None
        least = min(room, key=room.__getitem__, default=self._run.account)
        if least == _tests_cap(self._run.run, now).name and await self._is_cap_too_small(
            short, now
        ):
            return None
        lags_until = month_began(now) + _ZONES_S
        if least != _tests_cap(self._run.run, now).name and now < lags_until:
            return lags_until
        return next_month(now)

    async def _is_cap_too_small(self, short: list[Lane], now: float) -> bool:
        """Whether not even a new month of the sweep's own cap has room for one job."""
        key, needed = _tests_cap(self._run.run, now), await self._needed(short)
        rows = await self._store.reader.quotas([key])
        allotted = rows[key.name, key.period].allotted if rows else None
        return needed is not None and allotted is not None and needed > allotted

    async def _needed(self, short: list[Lane]) -> int | None:
        """What the next job may come to at least; None where its kind tells that itself, or nobody can."""
        if self._run.kind.charged_by_reply:
            return None
        costs = await self._store.reader.costs(self._run.costs_of)
        found = [costs.get(name) for lane in short for name in lane.classes]
        bounds = [one.most if one.is_bounded else one.tests for one in found if one is not None]
        return min(bounds) if bounds and len(bounds) == len(found) else None

    async def describe(self, short: list[Lane], now: float) -> str:
        """What is used up, in words, with what the service said of it or what the user can do."""
        told = [lane.why for lane in short if lane.block is Block.QUOTA and lane.why]
        rows = sorted(
            (await self._store.reader.quotas(self.keys(now))).items(), key=lambda row: row[1].room
        )
        own = {
            _tests_cap(self._run.run, now).name: ("tests a month", "quota.tests"),
            _requests_cap(self._run.run).name: ("requests", "requests"),
        }
        (least, _), state = rows[0] if rows else (("", ""), QuotaState(allotted=0))
        needed = await self._needed(short)
        is_left = state.room > 0 and needed is not None and needed > state.room
        costs = f"one more evaluation may come to {needed:,}" if is_left else ""
        if least in own and (not told or not state.room):
            what, key = own[least]
            used = state.used + state.overrun
            left = f", with {used:,} used" if used < state.allotted else ""
            return (
                f"the sweep's own limit of {state.allotted:,} {what} is reached"
                f"{left}{', and ' if costs else ''}{costs}; raise"
                f" limits.{key} in the sweep file and run it again to go on at once"
            )
        told_name = {self._run.account: self._run.told_account}
        parts = [
            f"{told_name.get(name, name)}: {one.used + one.overrun} of {one.allotted} used"
            for (name, _), one in rows
        ]
        cause = f"too little is left of the quota: {costs}" if costs else "the quota is used up"
        return cause + "".join(f"; {part}" for part in [*parts, *told[:1]])


def is_short(lane: Lane) -> bool:
    """Whether a lane waits for quota, or for an answer that tells what its jobs cost."""
    if lane.block is Block.CREDIT:
        return False
    return isinf(lane.next_at) or lane.block is Block.QUOTA


def _reopen(lanes: Iterable[Lane]) -> None:
    for lane in lanes:
        lane.reopen()


def quota_keys(
    kind: JobKind, limits: Limits, run: str, account: str, now: float
) -> tuple[QuotaKey, ...]:
    """The quota rows that apply to a run at a time; one that the store does not have is not finite."""
    keys = []
    if kind.uses_quota:
        keys.append(QuotaKey(name=account, period=month(now)))
        if limits.quota_tests is not None:
            keys.append(_tests_cap(run, now))
    if limits.requests is not None and kind.sends is not Sends.NOTHING:
        keys.append(_requests_cap(run))
    return tuple(keys)


def cap_names(run: str) -> tuple[str, str]:
    """Under which names the store keeps what a run may use: tests a month, and requests in all."""
    return f"run {run}", f"requests of {run}"


def _tests_cap(run: str, now: float) -> QuotaKey:
    return QuotaKey(name=cap_names(run)[0], period=month(now), is_own=True)


def _requests_cap(run: str) -> QuotaKey:
    return QuotaKey(name=cap_names(run)[1], period="run", counts_requests=True, is_own=True)


def _is_refusal(error: JobError) -> bool:
    """Whether asking again will hardly help: a refusal (401, 403), or an answer that breaks the contract."""
    is_of_client = error.status is not None and 400 <= error.status < 500
    return isinstance(error, Permanent) or (is_of_client and error.status not in _NOT_NOW)
