"""Limits that workers share: rates, permits, slots and quotas."""

from collections.abc import (
    Collection,
    Iterable,
    Sequence,
)

from sqlalchemy.engine import Connection

from engine.clock import Clock
from engine.core.accounts import Accounts
from engine.core.permits import PermitGrant, PermitLimit, PermitRequest, PermitStart
from engine.core.rates import RateLog
from engine.store.database import Database
from engine.store.queries import (
    accounts,
    lanes,
    permits,
    quotas,
    rates,
    recent_requests,
    reservations,
    shared_limits,
    slots,
)
from engine.store.requests import (
    Bucket,
    QuotaKey,
)
from engine.store.writer import Writer

START_HORIZON_S = 1.0
"""Seconds within which a start must lie when it is taken for a request that is about to be written."""


class SharedLimits:
    """Takes from the limits that all workers of the store share, gives back to them, and sets them.

    Each change is durable when its method returns, before a request may leave. All methods raise StoreError
    if they cannot commit.
    """

    def __init__(self, database: Database, clock: Clock, writer: Writer, worker_id: str) -> None:
        self._database = database
        self._clock = clock
        self._writer = writer
        self._worker_id = worker_id

    async def accounts(self) -> Accounts:
        """The names of accounts in this store."""
        return await self._writer.write(accounts.accounts)

    async def share(
        self, run_id: int, buckets: Sequence[Bucket], limits: Sequence[PermitLimit] = ()
    ) -> None:
        """Apply the limits of a run here to all processes that share them, before its first request.

        Of several limits under one name, the lowest holds for all live processes. `release` ends it.
        """
        holder = shared_limits.holder_of(self._worker_id, run_id)

        def work(connection: Connection) -> None:
            found = rates.load(connection, [bucket.name for bucket in buckets])
            found.note(connection, buckets, holder)
            rates.save(connection, found)
            permits.share(connection, limits, holder)

        await self._writer.write(work)

    async def release(self, run_id: int) -> None:
        """Remove the limits and lanes of a run that has ended here: they no longer bind other processes.

        Both go in one transaction. What other workers have for the same run stays.
        """
        holder = shared_limits.holder_of(self._worker_id, run_id)

        def work(connection: Connection) -> None:
            shared_limits.withdraw(connection, holder)
            lanes.remove(connection, run_id, self._worker_id)

        await self._writer.write(work)

    async def take_start(
        self, run_id: int, buckets: Sequence[Bucket], *, instead_of: float | None, lead_s: float
    ) -> PermitGrant:
        """Take a start for one request outside claims; the grant has it, or says when to ask again.

        `instead_of` is an earlier start that was not used and is given back. `lead_s` is how far ahead of now, in
        seconds, the start must be at least.
        """
        holder = shared_limits.holder_of(self._worker_id, run_id)

        def work(connection: Connection) -> PermitGrant:
            now = self._clock.now()
            found = rates.load(connection, [bucket.name for bucket in buckets])
            found.note(connection, buckets, holder)
            if instead_of is not None:
                found.refund(buckets, instead_of)
            slots = found.take(buckets, want=1, now=now, horizon_s=START_HORIZON_S, lead_s=lead_s)
            next_at, _ = found.next_at(buckets, now, lead_s)
            rates.save(connection, found)
            return PermitGrant(slots, next_at - lead_s, now)

        return await self._writer.write(work)

    async def take_permits(self, request: PermitRequest) -> PermitGrant:
        """Grant the first calls of a request, as many as the limits and its cap have room for.

        All limits are taken in one transaction. Without room, the grant says when to ask again.
        """
        return await self._writer.write(
            lambda connection: permits.take(connection, request, now=self._clock.now())
        )

    async def find_limited(self, names: Collection[str]) -> Collection[str]:
        """The names of permits among these under which any live process has a limit; it holds for all."""
        return await self._database.ask(lambda connection: permits.find_limited(connection, names))

    async def publish_requests(self, run_id: int, log: RateLog) -> None:
        """Show other processes which requests of a run this one started in the last minute.

        Replaces what this worker published before, and removes the rows of workers without recent requests.
        """
        now = self._clock.now()
        await self._writer.write(
            lambda connection: recent_requests.publish(
                connection, run_id, self._worker_id, log, now=now
            )
        )

    async def take_slots(
        self, name: str, caller: str, *, wants: int, in_use: int, limit: int
    ) -> int:
        """Share the slots of an endpoint; returns how many `caller` has from now on, at least those `in_use`.

        The name of a caller begins with the id of this worker.
        """
        return await self._writer.write(
            lambda connection: slots.take(
                connection, name, caller, wants=wants, in_use=in_use, limit=limit
            )
        )

    async def settle_permit(self, start: PermitStart, *, taken: int) -> None:
        """Record how many tokens a call really took, instead of the estimate; 0 if it was never made.

        Fewer make room at once. Does not wait for a full disk or a lock.
        """
        await self._writer.write(
            lambda connection: permits.settle(connection, start, taken=taken), patience_s=0.0
        )

    async def refresh_quota(
        self,
        key: QuotaKey,
        *,
        allotted: int,
        used: int,
        since: int,
        caps: Sequence[QuotaKey] = (),
    ) -> None:
        """Set a quota to the figures of the service, which was asked when `total_settled` was `since`.

        If requests without an answer cost less than was held for them, the difference is also given back to the
        `caps` under which they counted.
        """
        await self._writer.write(
            lambda connection: quotas.refresh(
                connection, key, allotted=allotted, used=used, since=since, caps=caps
            )
        )

    async def expect_quota(self, key: QuotaKey) -> bool:
        """Allow only one job in flight until the service reports its quota; returns whether that is still unknown.

        A quota that was reported before is left as it is.
        """
        return await self._writer.write(lambda connection: quotas.expect(connection, key))

    async def forget_quota(self, key: QuotaKey) -> None:
        """Stop waiting for the figures of a quota, because the service has none; its jobs are then unlimited.

        What was held under it is released. A quota that the service has reported stays.
        """
        await self._writer.write(lambda connection: quotas.forget(connection, key))

    async def begin_period(self, names: Iterable[str], *, before: str, begun: str) -> None:
        """Create the quota rows of a month that has begun, with the allotments of the month before.

        `names` are those of the quotas; `before` and `begun` are months such as `2026-11`. Requests in
        flight are held in both months, because only the service knows which one it bills. Existing rows
        keep their figures, and a name without a row in the month before gets none.
        """
        wanted = tuple(names)
        await self._writer.write(
            lambda connection: reservations.begin(connection, wanted, before=before, begun=begun)
        )

    async def take_request(self, key: QuotaKey) -> bool:
        """Count a request outside jobs under a cap, before it is sent; returns whether it may be.

        If the cap is used up, nothing is counted; a cap that was not set always has room.
        """
        return await self._writer.write(lambda connection: quotas.take_request(connection, key))

    async def give_request_back(self, key: QuotaKey) -> None:
        """Give back a request that `take_request` counted and that was certainly not sent."""
        await self._writer.write(lambda connection: quotas.spend(connection, key, -1))

    async def set_cap(self, key: QuotaKey, *, allotted: int) -> None:
        """Set the allotment of a quota of the sweep's own, such as `limits.requests`, in its tests or requests.

        What is used and reserved stays, also if that is more than the new allotment.
        """
        await self._writer.write(lambda connection: quotas.cap(connection, key, allotted=allotted))
