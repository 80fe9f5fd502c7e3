from collections.abc import Sequence

import anyio
import pytest
from sqlalchemy import text

from engine.core.errors import StoreError
from engine.store import Claim, LaneGrant, Outcome, Store
from engine.testing import FakeClock
from tests.engine.store.databases import Scratch
from tests.engine.store.scenes import (
    NOW,
    claim,
    failure,
    interruption,
    new_job,
    request,
    submit,
    success,
)


async def test_one_change_that_fails_does_not_hurt_those_that_were_committed_with_it(
    store: Store, scratch: Scratch
) -> None:
    run = await submit(store, new_job("one"))
    [job] = await claim(store, run)
    raised: list[Exception] = []

    async def bad(statement: str) -> None:
        try:
            await store.worker.writer.write(lambda connection: connection.execute(text(statement)))
        except (StoreError, ZeroDivisionError) as error:
            raised.append(error)

    async def bug() -> None:
        try:
            await store.worker.writer.write(lambda _: 1 // 0)
        except ZeroDivisionError as error:
            raised.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bad, "UPDATE job SET state = 'unheard of'")
        tasks.start_soon(store.queue.settle, success(job, run))
        tasks.start_soon(bug)
        tasks.start_soon(store.runs.add_event, run.id, "kind", "message")

    assert sorted(type(error).__name__ for error in raised) == ["StoreError", "ZeroDivisionError"]
    assert scratch.states() == {"succeeded": 1}
    assert [event.message for event in await store.inspection.latest_events(run.id)] == ["message"]
    assert store.trouble is None


async def test_a_slot_that_is_freed_is_filled_in_the_same_commit(
    store: Store, scratch: Scratch
) -> None:
    run = await submit(store, *(new_job(number) for number in range(3)))
    [job] = await claim(store, run, 1)
    delivered: list[LaneGrant] = []
    reported: list[Sequence[Outcome]] = []

    def decide(settled: Sequence[Outcome]) -> Claim:
        reported.append(settled)
        return request(store, run, 1)

    async with store.queue.claiming_with_outcomes(decide, delivered.extend):
        outcome = success(job, run)
        await store.queue.settle(outcome)
    await store.queue.settle(failure(delivered[0].jobs[0], run))

    assert reported == [[outcome]]
    assert [len(grant.jobs) for grant in delivered] == [1]
    assert scratch.states() == {"succeeded": 1, "failed": 1, "pending": 1}


async def test_the_same_free_slots_are_never_claimed_for_twice_in_one_commit(store: Store) -> None:
    run = await submit(store, *(new_job(number) for number in range(9)))
    [job] = await claim(store, run, 1)
    claimed: list[LaneGrant] = []

    def decide(_: Sequence[Outcome]) -> Claim:
        return request(store, run, 2)

    async def claim_too() -> None:
        claimed.extend(await store.queue.claim(decide))

    async with (
        store.queue.claiming_with_outcomes(decide, claimed.extend),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(store.queue.settle, interruption(job, run))
        tasks.start_soon(claim_too)

    assert sum(len(grant.jobs) for grant in claimed) == 2


async def test_writing_to_a_closed_store_is_refused(clock: FakeClock, scratch: Scratch) -> None:
    async with scratch.open(clock) as store:
        pass

    with pytest.raises(StoreError, match="the store is closed"):
        await store.worker.record_heartbeat()


async def test_an_error_in_the_block_is_raised_as_itself(
    clock: FakeClock, scratch: Scratch
) -> None:
    async def fail() -> None:
        async with scratch.open(clock) as store:
            await store.worker.record_heartbeat()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    assert scratch.rows("SELECT ended_at FROM worker") == [(NOW,)]
