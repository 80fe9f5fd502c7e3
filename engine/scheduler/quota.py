"""The quota of one run, kept in step with the service and the sweep."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from math import inf

import anyio

from engine.clock import Clock
from engine.core.errors import JobError, LimitReached, Permanent
from engine.core.model import Allotment, Sends
from engine.core.quota import QuotaState
from engine.core.retry import retry_after_of
from engine.core.runs import EventKind
from engine.limits import month, month_began
from engine.scheduler.assignment import Assignment, Note
from engine.scheduler.lane import Lane
from engine.scheduler.lanes import Lanes
from engine.scheduler.quota_keys import quota_keys, requests_cap, tests_cap
from engine.scheduler.shortage import is_short
from engine.store import Claimed, QuotaKey, Store

_INTERVAL_S = 10.0
"""The least time between two questions to a service that answers them."""
_UNREACHED_INTERVAL_S = 60.0
"""The least time between two questions to a service that did not answer the last one."""
_OTHERS_INTERVAL_S = 5.0
"""How often lanes check whether other runs have given back what they hold."""
_LAST_TIMEOUT_S = 5.0
"""How long the end of a run waits for the service's figures."""
_NO_QUESTION = (404, 405, 501)
"""The statuses with which a service answers that does not tell quotas."""
_TEMPORARY = (408, 425, 429)
"""Those of 400 to 499 after which the next question may be answered."""
_REFUSALS_MAX = 3
"""After so many refusals in a row, a service is taken to tell this key no quota."""


class QuotaTracker:
    """Keeps the run's quota rows in step with the service and the sweep."""

    def __init__(self, store: Store, clock: Clock, assignment: Assignment, note: Note) -> None:
        self._store = store
        self._clock = clock
        self._run = assignment
        self._note = note
        self._refreshed_at: float | None = None
        self._new_month_at: float | None = None
        """When a new month was noticed, while the service is being asked for its quota in it."""
        self._month_changed_at = -inf
        """When the service was asked for the quota of the latest month that began during the run."""
        self._should_ask = anyio.Event()
        self._asking = anyio.Lock()
        """Held until the service's answer has been applied."""
        self._refused_room: Mapping[tuple[str, str], QuotaState] = {}
        """The quota rows when lanes were last refused."""
        self._is_in_doubt = False
        """Whether only the service can tell what some requests cost."""
        self._unanswered = 0
        """Questions in a row that the service did not answer."""
        self._not_before = -inf
        """The service asked not to be asked before this time."""
        self._is_first_figure_due = False
        """Whether the service has yet to tell its quota for the first time."""
        self._refusals = 0
        """Questions in a row that the service refused."""
        self._may_have_figure = True
        """Whether the service may have a quota to tell this key."""
        self._is_end_near = self._is_end_announced = False

    # The rows

    def keys(self, now: float) -> tuple[QuotaKey, ...]:
        """Return the rows that apply at a time; one that the store does not have is unlimited.

        The rows of a new month apply once they are written: claims go on while the service is being asked.
        """
        keys = self._keys_of(now if self._refreshed_at is None else self._refreshed_at)
        if self._new_month_at is not None and not self._run.kind.charged_by_reply:
            keys += tuple(key for key in self._keys_of(self._new_month_at) if key not in keys)
        return keys

    def _keys_of(self, at: float) -> tuple[QuotaKey, ...]:
        return quota_keys(self._run.kind, self._run.limits, self._run.run, self._run.account, at)

    def keys_to_reserve(self, now: float) -> tuple[QuotaKey, ...]:
        """Return the quota rows in which a claim at `now` reserves.

        Those that count requests are left out unless a job is one request: others count theirs as they
        start. While the figures of a new month are awaited, the rows of both months are included.
        """
        keys = self.keys(now)
        if self._run.kind.sends is Sends.JOB:
            return keys
        return tuple(key for key in keys if not key.counts_requests)

    # What the service says

    async def refresh(self) -> bool:
        """Write the sweep's caps, and ask the service for its quota; return whether it reported one."""
        now = self._clock.now()
        try:
            return await self._refresh(now)
        finally:
            self._refreshed_at = now

    async def _refresh(self, now: float) -> bool:
        limits, cap = self._run.limits, tests_cap(self._run.run, now)
        if self._run.kind.uses_quota:
            await self._store.limits.begin_period(
                (self._run.account, cap.name), before=month(month_began(now) - 1), begun=month(now)
            )
        if self._refreshed_at is None:
            # Only once: a process that began with an older file must not set its caps again.
            for key, allotted in (
                (cap, limits.quota_tests),
                (requests_cap(self._run.run), limits.requests),
            ):
                if allotted is not None:
                    await self._store.limits.set_cap(key, allotted=allotted)
        try:
            return await self._fetch(now) is not None
        except JobError as error:
            # A run can start without knowing the quota: the service itself refuses what exceeds it.
            slowly = "; one evaluation at a time until it does" if self._is_first_figure_due else ""
            await self._note(
                EventKind.QUOTA, f"the service did not say how much quota is left: {error}{slowly}"
            )
            return False

    async def fetch(self) -> Allotment | None:
        """Ask the service for its quota and store it; None if it has none. Raises JobError if it cannot tell."""
        async with self._asking:
            return await self._fetch(self._clock.now())

    async def _fetch(self, now: float) -> Allotment | None:
        if self._run.ask_quota is None or not self._run.kind.uses_quota:
            return None
        key = QuotaKey(name=self._run.account, period=month(now))
        since = await self._store.reader.total_settled(key)
        self._is_in_doubt = False
        try:
            offered = await self._run.ask_quota()
        except JobError as error:
            self._not_before = self._clock.now() + retry_after_of(error)
            await self._expect_figure(key, error)
            raise
        self._refusals = 0
        if offered is None:
            await self._store.limits.forget_quota(key)
            self._is_first_figure_due = self._may_have_figure = False
            return None
        self._may_have_figure = True
        await self._store.limits.refresh_quota(
            key,
            allotted=offered.allotted,
            used=offered.used,
            since=since,
            caps=(tests_cap(self._run.run, now),),
        )
        if self._is_first_figure_due:
            self._is_first_figure_due = False
            await self._note(EventKind.QUOTA, "the service has reported how much quota is left")
        return offered

    async def _expect_figure(self, key: QuotaKey, error: JobError) -> None:
        """Send one evaluation at a time, and ask again, until the service tells its quota for the first time.

        A service that has no such question, or keeps refusing it, is not asked again.
        """
        self._is_in_doubt = True
        self._refusals = self._refusals + 1 if _is_refusal(error) else 0
        if error.status in _NO_QUESTION or self._refusals == _REFUSALS_MAX:
            was_due = self._is_first_figure_due
            self._is_first_figure_due = self._may_have_figure = False
            await self._store.limits.forget_quota(key)
            if was_due:
                await self._note(
                    EventKind.QUOTA,
                    f"the service does not tell this key how much quota is left: {error}; only what it refuses"
                    " holds the run back",
                )
            return
        self._is_first_figure_due = self._may_have_figure and (
            await self._store.limits.expect_quota(key)
        )
        if self._is_first_figure_due:
            self._should_ask.set()

    # What requests may have cost

    def note_claims(self, claimed: Iterable[Claimed]) -> None:
        """Notice claimed jobs that hold all that is left of the quota; the end of the quota is then near."""
        self._is_end_near |= any(job.is_alone for job in claimed)

    async def announce_end(self) -> None:
        """Note once that the end of the quota is near."""
        if self._is_end_near and not self._is_end_announced:
            self._is_end_announced = True
            await self._note(
                EventKind.QUOTA,
                "what is left of the quota may be less than an evaluation costs that went badly:"
                " one evaluation at a time from here on",
            )

    async def take_request(self) -> None:
        """Count a request that no job sends, before it leaves; raises LimitReached if the cap is used up."""
        limit = self._run.limits.requests
        if limit is not None and not await self._store.limits.take_request(
            requests_cap(self._run.run)
        ):
            raise LimitReached(
                f"the sweep's own limit of {limit:,} requests is reached", sent=False
            )

    async def give_request_back(self) -> None:
        """Give back a request that was counted and never left."""
        if self._run.limits.requests is not None:
            await self._store.limits.give_request_back(requests_cap(self._run.run))

    def note_end(self, began: float, *, has_answer: bool) -> None:
        """Notice the end of a request that may have cost something.

        What was held for a request without an answer counts as used until the service is asked. So does
        that of an answered request if a month has begun meanwhile: only the service knows which month it
        billed.
        """
        kind = self._run.kind
        is_cost_known = has_answer and began > self._month_changed_at
        has_question = self._run.ask_quota is not None and kind.uses_quota
        if is_cost_known or not has_question or kind.charged_by_reply:
            return
        self._is_in_doubt = True
        self._should_ask.set()

    async def ask_when_in_doubt(self, lanes: Lanes, wake: Callable[[], None]) -> None:
        """Ask the service after requests without an answer, and for its first figure, until cancelled.

        It is asked at once, then no more often than it can bear, and not before a time that it asked for.
        """
        while True:
            await self._should_ask.wait()
            await self._clock.sleep(self._not_before - self._clock.now())
            self._should_ask = anyio.Event()
            async with self._asking:
                if await self._gains_room(self._fetch_quietly):
                    _reopen(lane for lane in lanes.waiting if is_short(lane))
                    wake()
            await self._clock.sleep(self._interval_s)
            if self._is_in_doubt:
                self._should_ask.set()

    @property
    def _interval_s(self) -> float:
        if self._is_first_figure_due:
            return min(_UNREACHED_INTERVAL_S, 2.0**self._unanswered)
        return _UNREACHED_INTERVAL_S if self._unanswered else _INTERVAL_S

    async def ask_at_the_end(self) -> None:
        """Ask once more when the run ends, so that the stored figures are the service's."""
        with self._clock.move_on_after(_LAST_TIMEOUT_S):
            # A question may be under way: it is left to be answered, and answers what was in doubt before it.
            async with self._asking:
                if self._is_in_doubt:
                    await self._fetch_quietly()

    async def _fetch_quietly(self) -> bool:
        try:
            has_figure = await self._fetch(self._clock.now()) is not None
        except JobError:
            # Not noted each time: a service that fails requests is likely to fail this one, too.
            self._unanswered += 1
            return False
        self._unanswered = 0
        return has_figure

    async def change_month(self, now: float, lanes: Lanes) -> None:
        """Write the rows of a month that has begun during the run, and let lanes ask for quota again.

        Until the service has reported the quota of that month, claims reserve in both months.
        """
        if self._refreshed_at is None or month(now) == month(self._refreshed_at):
            return
        self._new_month_at = now
        try:
            await self.refresh()
        finally:
            self._new_month_at = None
            self._month_changed_at = self._clock.now()
        await self._note(EventKind.QUOTA, f"the month {month(now)} has begun (UTC)")
        _reopen(lanes.waiting)

    # Lanes without quota

    async def has_more(self, short: Sequence[Lane]) -> bool:
        """Whether lanes that had no quota may ask again: the service has more, or another run may leave some.

        Reopens those of `short` that may, or has them wait for what other runs hold. The service is asked
        last, and has no more if it does not answer. Raises StoreError.
        """
        async with self._asking:
            if not all(map(is_short, short)):
                # The service was asked meanwhile, after a request without an answer.
                return True
            if await self._wait_for_others(short) or await self._reopen_if_changed(short):
                return True
            has_gained = await self._gains_room(self.refresh)
            if has_gained:
                _reopen(short)
        return has_gained

    async def _reopen_if_changed(self, short: Iterable[Lane]) -> bool:
        """Let lanes ask again if the quota rows have changed since they were last refused; return whether they do.

        Nothing else tells of what another run gives back between a claim and this.
        """
        unrefused = [lane for lane in short if lane.block is None]
        room = await self._store.reader.quotas(self.keys(self._clock.now()))
        if not unrefused or room == self._refused_room:
            return False
        self._refused_room = room
        _reopen(unrefused)
        return True

    async def _wait_for_others(self, short: Iterable[Lane]) -> bool:
        """Let lanes wait for what other runs hold for their jobs in flight; return whether they do."""
        unrefused = [lane for lane in short if lane.block is None]
        now = self._clock.now()
        keys = [key for key in self.keys(now) if not key.counts_requests]
        if not unrefused or not await self._store.reader.is_quota_held(
            keys, besides=self._run.run_id
        ):
            return False
        for lane in unrefused:
            lane.wait_for_quota(now + _OTHERS_INTERVAL_S)
        return True

    async def _gains_room(self, ask: Callable[[], Awaitable[bool]]) -> bool:
        """Whether there is more room after the service was asked."""
        keys = self.keys(self._clock.now())
        before = await self._store.reader.quotas(keys)
        if not await ask():
            return False
        after = await self._store.reader.quotas(keys)
        has_new = bool(set(after) - set(before))
        return has_new or any(
            after[name].room > before[name].room for name in before if name in after
        )


def _reopen(lanes: Iterable[Lane]) -> None:
    for lane in lanes:
        lane.reopen()


def _is_refusal(error: JobError) -> bool:
    """Whether asking again will hardly help: a refusal (401, 403), or an answer that breaks the contract."""
    is_of_client = error.status is not None and 400 <= error.status < 500
    return isinstance(error, Permanent) or (is_of_client and error.status not in _TEMPORARY)
