"""What the engine lends to a running job."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self, TypeAlias

import anyio

from engine.clock import Clock
from engine.core.accounts import Accounts
from engine.core.errors import JobError, QuotaExceeded, StoreLost
from engine.core.money import Usage
from engine.core.permits import PermitLimit
from engine.core.progress import AttemptProgress, Progress
from engine.core.status import Session
from engine.permits import Permit, Permits
from engine.secrets import without_secrets
from engine.session.requests import Requests
from engine.slots import Slots
from engine.store import Charge, Claimed, QuotaKey, RunRow, Store

Quotas: TypeAlias = Callable[[float], tuple[QuotaKey, ...]]
"""The quotas that apply at a time."""


@dataclass(slots=True)
class Counts:
    """What the jobs of one execution of a run have sent, and the kept replies that they used instead."""

    began_at: float
    progress: Progress = field(default_factory=Progress)
    attempts: int = 0
    calls: int = 0
    replies_asked: int = 0

    def to_session(self) -> Session:
        """Return the counts as a status has them."""
        return Session(
            began_at=self.began_at,
            attempts=self.attempts,
            calls=self.calls,
            replies_kept=self.progress.kept,
            replies_asked=self.replies_asked,
        )


OnProgress: TypeAlias = Callable[[AttemptProgress, int], None]
"""Takes the progress of an attempt, and the number of its questions asked since the last report."""


class _UnderWay:
    """Counts the calls of a job that are under way."""

    def __init__(self) -> None:
        self._count = 0
        self._none: anyio.Event | None = None
        """Set once there is none, for those that wait."""

    @contextmanager
    def one(self) -> Iterator[None]:
        """The block is one of them."""
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
            if not self._count and self._none is not None:
                self._none.set()
                self._none = None

    async def until_none(self) -> None:
        """Wait until there is none."""
        while self._count:
            self._none = self._none or anyio.Event()
            await self._none.wait()


class Context:
    """What the engine lends to a running job."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        run: RunRow,
        permits: Permits,
        requests: Requests | None,
        slots: Slots,
        counts: Counts,
        claimed: Claimed,
        *,
        accounts: Accounts,
        reuses: bool,
        on_reply: Callable[[str], None],
        on_progress: OnProgress,
        quotas: Quotas | None,
    ) -> None:
        self._store = store
        counts.attempts += 1
        self._counts = counts
        self._on_reply = on_reply
        self._on_progress = on_progress
        self._answered = 0
        # Kept replies that were found since the last report of progress.
        self._found = 0
        # All found replies that were kept before this execution began.
        self._kept = 0
        self._run = run
        self._accounts = accounts
        # Whether replies that other runs have kept are used.
        self._reuses = reuses
        self._clock = clock
        self._permits = permits
        self._requests = requests
        self._slots = slots
        self._job_id = claimed.id
        self._fence = claimed.fence
        self._lane = claimed.lane
        self._quotas = quotas
        self._calls = _UnderWay()
        # The part of the quota reserved for the attempt that no call has used.
        self._held = None if quotas is None else claimed.reserved

    @classmethod
    def of_run(
        cls,
        store: Store,
        clock: Clock,
        run: RunRow,
        slots: Slots,
        counts: Counts,
        *,
        accounts: Accounts,
        requests: Requests | None,
        reuses: bool,
        on_reply: Callable[[str], None],
        on_progress: OnProgress,
        quotas: Quotas | None = None,
    ) -> Callable[[Claimed], Self]:
        """Return a function that makes the context of a claimed job.

        `counts` are added to. `accounts` name whose limits apply to a call. `requests` limits the requests that
        jobs send themselves, if they do. With `reuses`, replies that other runs have kept are used. `on_reply` is
        called with the lane when a call within one of its jobs was answered, `on_progress` when a job reports
        its progress. `quotas` returns the quotas that apply, if tests are charged by reply.
        """
        permits = Permits(store.limits, clock, f"{store.worker_id} {run.id}")
        return partial(
            cls,
            store,
            clock,
            run,
            permits,
            requests,
            slots,
            counts,
            accounts=accounts,
            reuses=reuses,
            on_reply=on_reply,
            on_progress=on_progress,
            quotas=quotas,
        )

    @property
    def clock(self) -> Clock:
        return self._clock

    async def permit(
        self,
        name: str,
        *,
        rate_per_min: int | None = None,
        tokens_per_min: int | None = None,
        tokens: int = 0,
        to_model: bool = False,
    ) -> Permit:
        self._store.refuse_if_lost()
        limit = PermitLimit(name=name, rate_per_min=rate_per_min, tokens_per_min=tokens_per_min)
        if self._requests is None:
            return await self._permits.wait([limit], tokens=tokens)
        return await self._requests.permit(
            limit, job_id=self._job_id, lane=self._lane, to_model=to_model, tokens=tokens
        )

    def account(self, address: str, key: str = "") -> str:
        return self._accounts.name(address, key)

    def slot(self, name: str, max_in_flight: int) -> AbstractAsyncContextManager[None]:
        return self._slots.hold(name, max_in_flight)

    async def cached(
        self,
        key: Mapping[str, Any],
        call: Callable[[], Awaitable[bytes]],
        *,
        tests: int = 0,
        usage: Callable[[], Sequence[Usage]] | None = None,
    ) -> bytes:
        try:
            with self._calls.one():
                return await self._find_or_call(key, call, tests, usage)
        except StoreLost:
            # The error ends the job; wait first for other calls under way, whose replies are paid for.
            await self._calls.until_none()
            raise

    async def _find_or_call(
        self,
        key: Mapping[str, Any],
        call: Callable[[], Awaitable[bytes]],
        tests: int,
        usage: Callable[[], Sequence[Usage]] | None,
    ) -> bytes:
        kept = await self._store.reader.find_reply(self._run, key, of_others=self._reuses)
        if kept is not None:
            response, recorded_at = kept
            self._found += 1
            if recorded_at < self._counts.began_at:
                self._kept += 1
                self._counts.progress.find(self._job_id, self._kept)
            return response
        self._store.refuse_if_lost()
        await self._hold(tests)
        is_charged = False
        self._counts.calls += 1
        try:
            response = await call()
            self._counts.replies_asked += 1
            self._on_reply(self._lane)
            # Paid for: it is kept even if the job is being cancelled.
            is_charged = await self._store.attempts.keep_call(
                self._run,
                key,
                response,
                self._charge(tests),
                () if usage is None else usage(),
            )
        except JobError:
            if usage is not None:
                await self._store.attempts.keep_usage(self._run.id, usage())
            raise
        finally:
            if self._held is not None and not is_charged:
                self._held += tests
        return response

    def progress(self, done: int, total: int) -> None:
        asked_now = max(0, done - self._answered - self._found)
        self._answered, self._found = max(done, self._answered), 0
        progress = AttemptProgress(
            job_id=self._job_id, fence=self._fence, answered=done, total=total
        )
        self._on_progress(progress, asked_now)

    def _charge(self, tests: int) -> Charge | None:
        if self._quotas is None or not tests:
            return None
        quotas = self._quotas(self._clock.now())
        return Charge(job_id=self._job_id, tests=tests, quotas=quotas)

    async def _hold(self, tests: int) -> None:
        """Take `tests` from the attempt's reservation, or reserve more; raises QuotaExceeded if no quota is left."""
        if self._held is None or not tests:
            return
        if self._held < tests:
            if not await self._store.attempts.hold_more(self._job_id, self._fence, tests):
                raise QuotaExceeded("no quota is left for the next test", sent=False)
            self._held += tests
        self._held -= tests

    async def note(self, kind: str, message: str) -> None:
        text = without_secrets(f"job {self._job_id}: {message}")
        await self._store.runs.add_event(self._run.id, kind, text, lane=self._lane)

    async def keep_unread(self, where: str, body: bytes) -> None:
        await self._store.attempts.keep_unread(
            self._run.id, self._job_id, self._fence, where=without_secrets(where), body=body
        )
