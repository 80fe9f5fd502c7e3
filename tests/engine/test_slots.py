"""Slots at an endpoint: over roles of a process, over processes on a store, and after a death."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest
from sqlalchemy import update

from engine.clock import SystemClock
from engine.slots import SlotBook, Slots
from engine.store import open_store
from engine.store.schema import worker
from engine.testing import FakeClock

NAME = "target:http://models.example/v1:"


class Endpoint:
    """Counts the calls that are under way."""

    def __init__(self) -> None:
        self.under_way = self.most = self.served = 0

    async def call(self, slots: Slots, limit: int) -> None:
        async with slots.hold(NAME, limit):
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            await anyio.sleep(0.01)
            self.under_way -= 1
            self.served += 1


async def test_roles_that_share_an_endpoint_share_its_slots() -> None:
    endpoint, slots = Endpoint(), Slots(SystemClock())

    async with anyio.create_task_group() as group:
        for _ in range(40):
            group.start_soon(endpoint.call, slots, 4)

    assert (endpoint.most, endpoint.served) == (4, 40)


async def test_a_role_with_a_lower_limit_gets_its_turn_too() -> None:
    endpoint, slots = Endpoint(), Slots(SystemClock())

    async with anyio.create_task_group() as group:
        for limit in (4, 1) * 20:
            group.start_soon(endpoint.call, slots, limit)

    assert endpoint.served == 40
    assert endpoint.most <= 4


async def test_a_call_that_is_cancelled_in_line_leaves_it() -> None:
    endpoint, slots = Endpoint(), Slots(SystemClock())

    async with slots.hold(NAME, 1):
        with anyio.move_on_after(0.01):
            await endpoint.call(slots, 1)
    await endpoint.call(slots, 1)

    assert endpoint.served == 1


@pytest.mark.parametrize("limit", [1, 3])
async def test_several_processes_on_a_store_share_one_limit_and_all_get_some(
    limit: int, tmp_path: Path
) -> None:
    clock, endpoint = SystemClock(), Endpoint()
    path = tmp_path / "store.db"
    async with open_store(path, clock) as first, open_store(path, clock) as second:
        shared = [Slots(clock, store.limits, f"{store.worker_id} 1") for store in (first, second)]

        async with anyio.create_task_group() as sharing:
            for slots in shared:
                sharing.start_soon(slots.share)
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    for slots in shared:
                        group.start_soon(endpoint.call, slots, limit)
            sharing.cancel_scope.cancel()

    assert endpoint.served == 40
    assert endpoint.most <= limit


async def test_slots_that_are_not_used_are_there_for_others(tmp_path: Path) -> None:
    clock, endpoint = SystemClock(), Endpoint()
    path = tmp_path / "store.db"
    async with open_store(path, clock) as first, open_store(path, clock) as second:
        idle = Slots(clock, first.limits, f"{first.worker_id} 1")
        async with anyio.create_task_group() as sharing:
            sharing.start_soon(idle.share)
            await endpoint.call(idle, 2)

            await endpoint.call(Slots(clock, second.limits, f"{second.worker_id} 1"), 2)
            sharing.cancel_scope.cancel()

    assert endpoint.served == 2


class SlowBook:
    """A store's record of slots that is slow to take slots back: others run meanwhile."""

    def __init__(self, book: SlotBook, meanwhile: Callable[[], Awaitable[None]]) -> None:
        self.book = book
        self.meanwhile = meanwhile

    async def take_slots(
        self, name: str, caller: str, *, wants: int, in_use: int, limit: int
    ) -> int:
        has = await self.book.take_slots(name, caller, wants=wants, in_use=in_use, limit=limit)
        if not wants:
            await self.meanwhile()
        return has


async def test_an_endpoint_that_is_new_while_slots_are_given_back_gets_its_slots(
    tmp_path: Path,
) -> None:
    clock, called = FakeClock(), anyio.Event()

    async def call_another() -> None:
        async with slots.hold("another", 1):
            called.set()

    async def begin_call() -> None:
        group.start_soon(call_another)
        await anyio.wait_all_tasks_blocked()

    async with (
        open_store(tmp_path / "store.db", clock) as store,
        anyio.create_task_group() as group,
    ):
        slots = Slots(clock, SlowBook(store.limits, begin_call), f"{store.worker_id} 1")
        async with slots.hold(NAME, 2):
            pass
        with anyio.CancelScope() as sharing:
            sharing.cancel()
            await slots.share()
        await called.wait()


async def test_a_call_that_begins_while_slots_are_given_back_takes_none_of_them(
    tmp_path: Path,
) -> None:
    path, clock, endpoint = tmp_path / "store.db", FakeClock(), Endpoint()
    async with open_store(path, clock) as first, open_store(path, clock) as second:

        async def begin_calls() -> None:
            other = f"{second.worker_id} 1"
            assert await second.limits.take_slots(NAME, other, wants=1, in_use=0, limit=1) == 1
            group.start_soon(endpoint.call, slots, 1)
            await anyio.wait_all_tasks_blocked()
            assert endpoint.under_way == 0
            await second.limits.take_slots(NAME, other, wants=0, in_use=0, limit=1)

        slots = Slots(clock, SlowBook(first.limits, begin_calls), f"{first.worker_id} 1")
        async with anyio.create_task_group() as group:
            async with slots.hold(NAME, 1):
                pass
            with anyio.CancelScope() as sharing:
                sharing.cancel()
                await slots.share()

    assert endpoint.served == 1


async def test_what_a_process_had_that_died_is_free(tmp_path: Path) -> None:
    clock, endpoint = SystemClock(), Endpoint()
    path = tmp_path / "store.db"
    async with open_store(path, clock) as first, open_store(path, clock) as second:
        who = f"{first.worker_id} 1"
        assert await first.limits.take_slots(NAME, who, wants=2, in_use=2, limit=2) == 2
        other = f"{second.worker_id} 1"
        assert await second.limits.take_slots(NAME, other, wants=2, in_use=0, limit=2) == 0

        await second.worker.writer.write(
            lambda connection: connection.execute(
                update(worker).where(worker.c.id == first.worker_id).values(ended_at=clock.now())
            )
        )
        await endpoint.call(Slots(clock, second.limits, other), 2)

    assert endpoint.served == 1


async def test_slots_are_untouched_by_a_clock_that_was_set_back(tmp_path: Path) -> None:
    path, clock = tmp_path / "store.db", FakeClock()
    async with open_store(path, clock) as store:
        await store.limits.take_slots(NAME, f"{store.worker_id} 1", wants=2, in_use=0, limit=2)

    back = FakeClock(clock.now() - 3600.0)
    async with open_store(path, back) as store:
        assert await store.queue.follow_clock() > 0

        assert (
            await store.limits.take_slots(NAME, f"{store.worker_id} 1", wants=2, in_use=0, limit=2)
            == 2
        )
