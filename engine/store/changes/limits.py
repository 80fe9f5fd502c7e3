"""Limits that workers share: rates, permits, slots and quotas."""

from collections.abc import (
    Collection,
    Iterable,
    Sequence,
)

from sqlalchemy.engine import Connection

from engine.clock import Clock
from engine.core.accounts import Accounts
from engine.core.permits import Granted, PermitLimit, PermitRequest, PermitStart
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
"""How far ahead a slot is taken for a request that is about to be written."""


class SharedLimits:
    """Takes from the limits that workers share, gives back to them, and sets them."""

    def __init__(self, database: Database, clock: Clock, writer: Writer, worker_id: str) -> None:
        self._database = database
        self._clock = clock
        self._writer = writer
        self._worker_id = worker_id

    async def accounts(self) -> Accounts:
        """What names accounts in this store."""
        return await self._writer.write(accounts.accounts)

    async def share(
        self, run_id: int, buckets: Sequence[Bucket], limits: Sequence[PermitLimit] = ()
    ) -> None:
        """Let limits that a run here was given hold for all who share them, before its first request."""
        holder = shared_limits.holder_of(self._worker_id, run_id)

        def work(connection: Connection) -> None:
            found = rates.load(connection, [bucket.name for bucket in buckets])
            found.note(connection, buckets, holder)
            rates.save(connection, found)
            permits.share(connection, limits, holder)

        await self._writer.write(work)

    async def release(self, run_id: int) -> None:
        """Let limits that a run here was given hold no longer, and forget its lanes: it has ended here."""
        holder = shared_limits.holder_of(self._worker_id, run_id)

        def work(connection: Connection) -> None:
            shared_limits.withdraw(connection, holder)
            lanes.remove(connection, run_id, self._worker_id)

        await self._writer.write(work)

    async def take_start(
        self, run_id: int, buckets: Sequence[Bucket], *, instead_of: float | None, lead_s: float
    ) -> Granted:
        """A slot for a request beside those of claims, or none; and when to ask again.

        `instead_of` is a slot that is given back: nothing was started in it.
        """
        holder = shared_limits.holder_of(self._worker_id, run_id)

        def work(connection: Connection) -> Granted:
            now = self._clock.now()
            found = rates.load(connection, [bucket.name for bucket in buckets])
            found.note(connection, buckets, holder)
            if instead_of is not None:
                found.refund(buckets, instead_of)
            slots = found.take(buckets, want=1, now=now, horizon_s=START_HORIZON_S, lead_s=lead_s)
            next_at, _ = found.next_at(buckets, now, lead_s)
            rates.save(connection, found)
            return Granted(slots, next_at - lead_s, now)

        return await self._writer.write(work)

    async def take_permits(self, request: PermitRequest) -> Granted:
        """Grant the first calls of a request, as many as there is room for."""
        return await self._writer.write(
            lambda connection: permits.take(connection, request, now=self._clock.now())
        )

    async def find_limited(self, names: Collection[str]) -> Collection[str]:
        """The names of permits among these under which any live process has a limit; it holds for all."""
        return await self._database.ask(lambda connection: permits.find_limited(connection, names))

    async def publish_requests(self, run_id: int, log: RateLog) -> None:
        """Tell other processes which requests of a run this one started in the last minute."""
        now = self._clock.now()
        await self._writer.write(
            lambda connection: recent_requests.publish(
                connection, run_id, self._worker_id, log, now=now
            )
        )

    async def take_slots(
        self, name: str, caller: str, *, wants: int, in_use: int, limit: int
    ) -> int:
        """How many slots of an endpoint `caller`, of this worker, has from now on; at least those `in_use`."""
        return await self._writer.write(
            lambda connection: slots.take(
                connection, name, caller, wants=wants, in_use=in_use, limit=limit
            )
        )

    async def settle_permit(self, start: PermitStart, *, taken: int) -> None:
        """Keep what a call really took; 0: it was never made. Waits for no disk and no lock."""
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
        """Take over what the service says of its quota, asked when `quota_settled` was `since`.

        Where requests without an answer cost less than was held for them, the `caps` that they counted
        under get the rest back, too.
        """
        await self._writer.write(
            lambda connection: quotas.refresh(
                connection, key, allotted=allotted, used=used, since=since, caps=caps
            )
        )

    async def expect_quota(self, key: QuotaKey) -> bool:
        """Let one job be in flight at a time until the service tells its quota; whether it has not yet."""
        return await self._writer.write(lambda connection: quotas.expect(connection, key))

    async def forget_quota(self, key: QuotaKey) -> None:
        """Expect no figure of a quota any more: the service has none."""
        await self._writer.write(lambda connection: quotas.forget(connection, key))

    async def begin_period(self, names: Iterable[str], *, before: str, begun: str) -> None:
        """Write the quota rows of a month that has begun, unless they are there; see `quotas.begin`."""
        wanted = tuple(names)
        await self._writer.write(
            lambda connection: reservations.begin(connection, wanted, before=before, begun=begun)
        )

    async def take_request(self, key: QuotaKey) -> bool:
        """Count a request that is no job's under a cap; False, and nothing counted, where it is used up."""
        return await self._writer.write(lambda connection: quotas.take_request(connection, key))

    async def give_request_back(self, key: QuotaKey) -> None:
        """A request that was taken so never left."""
        await self._writer.write(lambda connection: quotas.spend(connection, key, -1))

    async def set_cap(self, key: QuotaKey, *, allotted: int) -> None:
        """Set what the user allows."""
        await self._writer.write(lambda connection: quotas.cap(connection, key, allotted=allotted))
