"""The requests that a run's jobs send themselves: their limits and their number."""

from collections import Counter
from collections.abc import Callable, Collection
from math import inf

import anyio

from engine.clock import Clock
from engine.core import rates
from engine.core.errors import NotNow
from engine.core.permits import PermitCap, PermitLimit
from engine.core.policy import Limits
from engine.limits import bucket_of, closes_at, opens_at
from engine.permits import Permit, Permits
from engine.scheduler import cap_names
from engine.store import RunRow, Store

_PUBLISH_S = 2.0
"""Seconds between two reports to other processes of how many requests were started."""


class Requests:
    """Limits the requests of a run in this process, and logs those of the last minute.

    `account` names the rate that they use. Without limits of the sweep, nothing is written for a request.
    """

    def __init__(
        self, store: Store, clock: Clock, run: RunRow, account: str, limits: Limits
    ) -> None:
        self._store = store
        self._clock = clock
        self._run = run
        self._account = account
        self._limits = limits
        self._permits = Permits(store.limits, clock, f"{store.worker_id} {run.id}")
        self._cap = None
        if limits.requests is not None:
            _, name = cap_names(run.name)
            self._cap = PermitCap(name=name, period="run", allotted=limits.requests)
        self._log = rates.EMPTY
        self._of_jobs: Counter[int] = Counter()
        self._started = anyio.Event()

    async def permit(
        self, limit: PermitLimit, *, job_id: int, lane: str, to_model: bool, tokens: int
    ) -> Permit:
        """Wait until a request of a job may start, right now; see `JobContext.permit`.

        `to_model` says whether the model's own rate applies; `tokens` is the estimate that counts until the permit
        is settled. Raises NotNow outside the window and after the deadline, LimitReached at the run's cap.
        """
        until = self._until()
        limits = [limit, PermitLimit(name=self._account, rate_per_min=self._limits.rate_per_min)]
        if to_model:
            rate = self._limits.for_lane(lane).rate_per_min
            limits.append(PermitLimit(name=bucket_of(self._account, lane), rate_per_min=rate))
        permit = await self._permits.wait(limits, tokens=tokens, cap=self._cap, until=until)
        now = self._clock.now()
        self._log = rates.append_starts(rates.current(self._log, now), [now])
        self._of_jobs[job_id] += 1
        self._started.set()
        return _CountedPermit(self, permit, job_id, now)

    def _until(self) -> float:
        """The time until which requests may start; raises NotNow if none may start now."""
        now, limits = self._clock.now(), self._limits
        if limits.deadline is not None and now >= limits.deadline:
            raise NotNow("the sweep's deadline has passed")
        if opens_at(limits.window, now) > now:
            raise NotNow("the sweep's window is closed")
        return min(closes_at(limits.window, now), limits.deadline or inf)

    def take_back(self, job_id: int, at: float) -> None:
        """Remove a request of a job from the counts: it was to start at `at` and was never sent."""
        self._log = rates.refund(self._log, [at])
        self._of_jobs[job_id] -= 1

    @property
    def last_minute(self) -> int:
        """How many requests this process has started in the last minute."""
        return rates.count_recent(self._log, self._clock.now())

    def of_jobs(self, in_flight: Collection[int]) -> int:
        """How many requests the jobs in flight have sent so far; the counts of other jobs are removed."""
        for gone in [job_id for job_id in self._of_jobs if job_id not in in_flight]:
            del self._of_jobs[gone]
        return self._of_jobs.total()

    async def publish(self, in_flight: Callable[[], Collection[int]]) -> None:
        """Publish to other processes how many requests were started, until cancelled.

        `in_flight` returns the jobs in flight; the counts of other jobs are dropped.
        """
        try:
            while True:
                await self._started.wait()
                self._started = anyio.Event()
                await self.publish_now()
                self.of_jobs(in_flight())
                await self._clock.sleep(_PUBLISH_S)
        finally:
            with anyio.CancelScope(shield=True):
                await self.publish_now()

    async def publish_now(self) -> None:
        """Store the requests of the last minute, for `status` in other processes."""
        self._log = rates.current(self._log, self._clock.now())
        await self._store.limits.publish_requests(self._run.id, self._log)


class _CountedPermit:
    """The permit of a request that counts as started unless it turns out not to be sent."""

    def __init__(self, requests: Requests, permit: Permit, job_id: int, at: float) -> None:
        self._requests = requests
        self._permit = permit
        self._job_id = job_id
        self._at = at

    async def start(self) -> None:
        await self._permit.start()

    async def settle(self, tokens: int) -> None:
        if not tokens:
            self._requests.take_back(self._job_id, self._at)
        await self._permit.settle(tokens)
