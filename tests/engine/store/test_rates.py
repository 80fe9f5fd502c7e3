import pytest

from engine.core.rates import GUARD_S, WINDOW_S
from engine.core.runs import WaitReason
from engine.store import Blocked, Bucket, LaneGrant, Store
from engine.testing import FakeClock
from tests.engine.store.databases import Scratch
from tests.engine.store.scenes import (
    NOW,
    claim,
    grants,
    interruption,
    new_job,
    submit,
)

RATE = 60
KEY = Bucket(name="key", rate_per_min=RATE)


def most_in_a_window(slots: list[float]) -> int:
    """The most starts in any 60 s, the first slot used as late as its guard allows, the others early."""
    ordered = sorted(slots)
    return max(
        sum(first <= other < first + WINDOW_S + GUARD_S for other in ordered) for first in ordered
    )


async def test_no_window_sees_more_than_its_rate_over_a_restart(scratch: Scratch) -> None:
    clock = FakeClock(NOW)
    starts: list[float] = []

    for _ in range(4):
        async with scratch.open(clock) as store:
            run = await submit(store, *(new_job(number) for number in range(400)))
            end = clock.now() + 40.0
            while clock.now() < end:
                [grant] = await grants(store, run, now=clock.now(), buckets=[KEY], horizon_s=0.2)
                starts += [job.start_at for job in grant.jobs]
                assert grant.next_at is not None
                clock.skip(max(grant.next_at, clock.now() + 0.05) - clock.now())

    assert most_in_a_window(starts) <= RATE
    assert len(starts) >= 0.95 * RATE * 160 / 60


async def test_a_lane_keeps_the_keys_rate_and_its_own(store: Store) -> None:
    run = await submit(
        store, *(new_job((lane, n), lane=lane) for lane in ("a", "b") for n in range(9))
    )
    slow = Bucket(name="a's own", rate_per_min=1)

    [first] = await grants(store, run, lanes=("a",), buckets=[KEY, slow])
    [second] = await grants(store, run, now=NOW + 5, lanes=("a",), buckets=[KEY, slow])
    [other] = await grants(store, run, now=NOW + 5, lanes=("b",), buckets=[KEY])

    assert len(first.jobs) == 1
    assert second.jobs == ()
    assert second.why == WaitReason.RATE
    assert second.next_at == pytest.approx(NOW + 60.255)
    assert len(other.jobs) == 1


async def test_the_claim_of_the_last_job_under_a_rate_finds_its_class_empty(store: Store) -> None:
    run = await submit(store, *(new_job(number) for number in range(2)))
    slow = Bucket(name="slow", rate_per_min=1)

    [first] = await grants(store, run, buckets=[slow])
    [last] = await grants(store, run, now=NOW + 61, buckets=[slow])

    assert (len(first.jobs), first.empty_classes) == (1, frozenset())
    assert (len(last.jobs), last.empty_classes) == (1, frozenset({"group"}))


async def test_a_retry_after_holds_every_process(
    store: Store, clock: FakeClock, scratch: Scratch
) -> None:
    run = await submit(store, new_job("one"), new_job("other"))
    model = Bucket(name="key model")
    [job] = await claim(store, run, 1, buckets=[model])

    await store.queue.settle(
        interruption(job, run, blocked={"key model": Blocked(NOW + 90.0, True)})
    )
    await store.queue.settle(
        interruption(job, run, blocked={"key model": Blocked(NOW + 30.0, False)})
    )

    async with scratch.open(clock) as other:
        [held] = await grants(other, run, now=NOW + 89.0, buckets=[model])
        [free] = await grants(other, run, now=NOW + 90.0, buckets=[model])

    assert (held.jobs, held.next_at, held.why) == ((), NOW + 90.0, WaitReason.HELD)
    assert len(free.jobs) == 2


async def test_a_wait_is_marked_if_the_service_named_its_length(
    store: Store, clock: FakeClock, scratch: Scratch
) -> None:
    run = await submit(store, new_job("one"))
    [job] = await claim(store, run, 1, buckets=[KEY])
    blocked = {KEY.name: Blocked(NOW + 90.0, False)}

    await store.queue.settle(interruption(job, run, blocked=blocked))

    async with scratch.open(clock) as other:
        [held] = await grants(other, run, now=NOW + 89.0, buckets=[KEY])
    assert held.why is WaitReason.THROTTLED


async def test_a_clock_that_was_set_back_by_an_hour_blocks_for_a_minute_and_a_half_at_most(
    store: Store,
) -> None:
    run = await submit(store, *(new_job(number) for number in range(9)))
    once = Bucket(name="key", rate_per_min=1)
    await claim(store, run, 1, buckets=[once])

    [early] = await grants(store, run, 1, now=NOW - 3600.0, buckets=[once])
    [late] = await grants(store, run, 1, now=NOW - 3600.0 + 95.0, buckets=[once])

    assert early.jobs == ()
    assert len(late.jobs) == 1


def slots_of(found: list[LaneGrant]) -> list[float]:
    return [job.start_at for grant in found for job in grant.jobs]


async def test_the_lowest_rate_that_a_live_process_was_given_holds_for_all_at_once(
    clock: FakeClock, scratch: Scratch
) -> None:
    high, low = Bucket(name="key", rate_per_min=600), Bucket(name="key", rate_per_min=60)
    async with scratch.open(clock) as older:
        run = await submit(older, *(new_job(number) for number in range(400)))

        before = slots_of(await grants(older, run, buckets=[high], horizon_s=1.0))
        async with scratch.open(clock) as younger:
            await younger.limits.share(run.id, [low])
            clock.skip(10.0)
            held = slots_of(
                await grants(older, run, now=clock.now(), buckets=[high], horizon_s=10.0)
            )
        after = slots_of(
            await grants(older, run, now=clock.now() + 20.0, buckets=[high], horizon_s=1.0)
        )

    # Spaced by 0.9 of the even distance each.
    assert len(before) == 12
    assert len(held) == 12
    assert len(after) == 12
    assert held[-1] - held[0] == pytest.approx(11 * 0.9)
    assert after[-1] - after[0] == pytest.approx(11 * 0.09)


async def test_a_process_without_a_rate_keeps_that_of_another_on_the_same_key(
    clock: FakeClock, scratch: Scratch
) -> None:
    async with scratch.open(clock) as bound, scratch.open(clock) as free:
        run = await submit(bound, *(new_job(number) for number in range(400)))
        await bound.limits.share(run.id, [KEY])

        [grant] = await grants(free, run, buckets=[Bucket(name="key")])

    assert len(grant.jobs) == 1
    assert grant.jobs[0].is_rated


async def test_what_a_run_was_given_is_forgotten_once_it_has_ended(
    store: Store, clock: FakeClock
) -> None:
    run = await submit(store, *(new_job(number) for number in range(400)))
    high = Bucket(name="key", rate_per_min=600)
    await store.limits.share(run.id + 1, [Bucket(name="key", rate_per_min=1)])
    [held] = await grants(store, run, buckets=[high], horizon_s=1.0)

    await store.limits.release(run.id + 1)

    [free] = await grants(store, run, buckets=[high], horizon_s=1.0)
    assert len(held.jobs) == 1
    assert len(free.jobs) > 1
