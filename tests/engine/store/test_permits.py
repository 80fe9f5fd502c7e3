"""Permits in the store: kept over restarts, shared by processes."""

from typing import Any

import pytest

from engine.core.permits import PermitCap, PermitLimit, PermitRequest, PermitStart
from engine.core.rates import GUARD_S, WINDOW_S
from engine.permits import Permits
from engine.store import QuotaKey, Store
from engine.testing import FakeClock
from tests.engine.scenes import most_in_a_minute
from tests.engine.store.databases import Scratch
from tests.engine.store.scenes import NOW


def request(name: str, *calls: int, caller: str = "tester", **limits: Any) -> PermitRequest:
    return PermitRequest(caller=caller, calls=calls, limits=(PermitLimit(name=name, **limits),))


async def test_permits_within_a_job_keep_their_rate(store: Store, clock: FakeClock) -> None:
    ask = request("target", 0, rate_per_min=2)

    first = await store.limits.take_permits(ask)
    refused = await store.limits.take_permits(ask)
    clock.skip(refused.next_at - clock.now())
    second = await store.limits.take_permits(ask)

    assert first.slots == (NOW,)
    assert refused.slots == ()
    assert refused.next_at > NOW
    assert second.slots == (refused.next_at,)


async def test_a_permit_is_remembered_by_the_next_process_on_the_store(scratch: Scratch) -> None:
    clock = FakeClock(NOW)
    ask = request("target", 600, rate_per_min=2, tokens_per_min=1000)

    async with scratch.open(clock) as store:
        first = await store.limits.take_permits(ask)
    async with scratch.open(clock) as store:
        clock.skip(59)
        refused = await store.limits.take_permits(ask)

    assert first.slots == (NOW,)
    assert refused.slots == ()
    assert refused.next_at >= NOW + WINDOW_S + GUARD_S


async def test_what_an_answer_took_is_known_to_the_next_process_on_the_store(
    scratch: Scratch,
) -> None:
    clock = FakeClock(NOW)
    ask = request("target", 600, tokens_per_min=1000)

    async with scratch.open(clock) as store:
        [at] = (await store.limits.take_permits(ask)).slots
        start = PermitStart(at=at, estimate=600, names=("target",))
        await store.limits.settle_permit(start, taken=50)
    async with scratch.open(clock) as store:
        clock.skip(59)
        granted = await store.limits.take_permits(request("target", 950, tokens_per_min=1000))

    assert granted.slots == (NOW + 59,)


async def test_other_names_have_minutes_of_their_own(store: Store) -> None:
    await store.limits.take_permits(request("target", 1000, tokens_per_min=1000))

    other = await store.limits.take_permits(request("judge", 1000, tokens_per_min=1000))
    same = await store.limits.take_permits(request("target", 1, tokens_per_min=1000))

    assert other.slots == (NOW,)
    assert same.slots == ()


async def test_tokens_wait_no_longer_for_a_clock_that_was_set_back_between_two_sessions(
    scratch: Scratch,
) -> None:
    async with scratch.open(FakeClock(NOW)) as store:
        await store.limits.take_permits(
            request("target", 600, tokens_per_min=1000, rate_per_min=60)
        )
        await store.limits.take_permits(
            request("target", 600, caller="another", tokens_per_min=1000)
        )
    clock = FakeClock(NOW - 3600)
    ask = request("target", 600, tokens_per_min=1000, rate_per_min=60)

    async with scratch.open(clock) as store:
        await store.queue.follow_clock()
        clock.skip(59)
        early = await store.limits.take_permits(ask)
        clock.skip(2)
        late = await store.limits.take_permits(ask)

    assert early.slots == ()
    assert len(late.slots) == 1


@pytest.mark.parametrize(
    ("older", "name", "is_same"),
    [
        ("target:http://127.0.0.1:80/v1:env:K", "target:http://localhost/v1 key 0f", True),
        ("target:http://127.0.0.1:8000:file:/k", "target:http://localhost:8000 key 0f", True),
        ("target:http://localhost:8000/v1:", "target:http://localhost:8000/v1", True),
        ("target:http://localhost:8000/v1:env:K", "target:http://localhost key 0f", False),
        ("target:http://localhost/v1:env:K", "target:http://localhost/v2 key 0f", False),
        ("target:http://localhost:8000/v1 key 1e", "target:http://localhost key 0f", False),
    ],
)
@pytest.mark.parametrize("limits", [{"rate_per_min": 1}, {"tokens_per_min": 1000}])
async def test_what_an_older_version_kept_of_an_endpoint_holds_under_its_new_name(
    limits: dict[str, Any], older: str, name: str, is_same: bool, scratch: Scratch
) -> None:
    clock = FakeClock(NOW)
    async with scratch.open(clock) as store:
        await store.limits.take_permits(request(older, 600, **limits))
        clock.skip(30)
        early = await store.limits.take_permits(request(name, 600, **limits))
        clock.skip(29)
        again = await store.limits.take_permits(request(name, 600, **limits))
        clock.skip(2)
        late = await store.limits.take_permits(request(name, 600, **limits))

    started = [len(one.slots) for one in (early, again, late)]
    assert started == ([0, 0, 1] if is_same else [1, 0, 0])


CAP = PermitCap(name="requests of night", period="run", allotted=3)


async def test_each_call_takes_one_under_the_cap_and_what_was_never_sent_gives_it_back(
    store: Store,
) -> None:
    key = QuotaKey(name=CAP.name, period=CAP.period, counts_requests=True)
    await store.limits.set_cap(key, allotted=3)
    ask = PermitRequest(caller="tester", calls=(0, 0), limits=(), cap=CAP)

    first = await store.limits.take_permits(ask)
    second = await store.limits.take_permits(ask)
    third = await store.limits.take_permits(ask)
    start = PermitStart(at=first.slots[0], estimate=0, names=(), cap=CAP)
    await store.limits.settle_permit(start, taken=0)
    fourth = await store.limits.take_permits(ask)

    assert [len(one.slots) for one in (first, second, third, fourth)] == [2, 1, 0, 1]
    assert (second.is_used_up, third.is_used_up) == (False, True)


async def test_the_lowest_limits_that_a_live_process_was_given_hold_for_the_calls_of_all(
    clock: FakeClock, scratch: Scratch
) -> None:
    async with scratch.open(clock) as older, scratch.open(clock) as younger:

        def ask(store: Store, rate: int, most: int) -> PermitRequest:
            caller = f"{store.worker_id} 1 0"
            return request("target", 100, caller=caller, rate_per_min=rate, tokens_per_min=most)

        await younger.limits.take_permits(ask(younger, 60, 150))
        clock.skip(2.0)
        held = await older.limits.take_permits(ask(older, 600, 1000))

    clock.skip(20.0)
    async with scratch.open(clock) as alone:
        free = await alone.limits.take_permits(ask(alone, 600, 1000))

    assert held.slots == ()
    assert held.next_at > NOW + WINDOW_S
    assert len(free.slots) == 1


@pytest.mark.parametrize("limits", [{"rate_per_min": 3}, {"tokens_per_min": 300}])
async def test_calls_of_a_process_without_limits_keep_to_those_that_another_was_given(
    limits: dict[str, Any], clock: FakeClock, scratch: Scratch
) -> None:
    starts: list[float] = []

    async def call(permits: Permits, **given: int) -> None:
        permit = await permits.wait([PermitLimit(name="target", **given)], tokens=100)
        starts.append(clock.now())
        await permit.settle(100)

    async with (
        scratch.open(clock) as one,
        scratch.open(clock) as other,
        clock.jumping(),
    ):
        free, bound = (
            Permits(one.limits, clock, f"{one.worker_id} 1"),
            Permits(other.limits, clock, f"{other.worker_id} 2"),
        )
        for _ in range(10):
            await call(free)
        at_once = starts.copy()
        starts.clear()
        await call(bound, **limits)
        await clock.sleep(1.0)
        for _ in range(6):
            await call(free)
        within = starts.copy()
        starts.clear()
        await other.limits.release(2)
        await clock.sleep(1.0)
        for _ in range(10):
            await call(free)

    assert set(at_once) == {NOW}
    assert most_in_a_minute(within) <= 3
    assert within[-1] - within[0] < 3 * WINDOW_S
    assert len(set(starts)) == 1
