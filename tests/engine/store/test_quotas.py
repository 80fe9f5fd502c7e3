import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.quota import QuotaState
from engine.core.runs import WaitReason
from engine.store import Bucket, Charge, Claimed, LaneClaim, QuotaKey, RunRow, Store
from engine.store.queries.admission import FIRST_TESTS
from engine.testing import FakeClock
from tests.engine.store.databases import DATABASES, Scratch
from tests.engine.store.scenes import (
    NOW,
    answer,
    claim,
    failure,
    grants,
    interruption,
    later_retry,
    new_job,
    request,
    submit,
    success,
)

TESTS = QuotaKey(name="key", period="2027-01")
REQUESTS = QuotaKey(name="requests", period="run", counts_requests=True)


async def state(store: Store, key: QuotaKey = TESTS) -> QuotaState:
    return (await store.reader.quotas([key]))[key.name, key.period]


def scores(count: int) -> Sequence[float]:
    return [0.9] * count


async def settle(
    store: Store, run: RunRow, job: Claimed, tests: int, most: int | None = None
) -> None:
    answered = success(job, run, answer=answer(*scores(tests)), reserved=True, most_tests=most)
    assert await store.queue.settle(answered)


async def test_one_job_of_an_unknown_class_goes_first_and_its_siblings_wait(store: Store) -> None:
    await store.limits.set_cap(TESTS, allotted=1_000)
    run = await submit(store, *(new_job(number) for number in range(5)))

    [first] = await grants(store, run, quotas=[TESTS])
    [waiting] = await grants(store, run, quotas=[TESTS])
    held = await state(store)
    await settle(store, run, first.jobs[0], 7)
    [rest] = await grants(store, run, quotas=[TESTS])

    assert len(first.jobs) == 1
    assert (first.why, first.next_at) == (WaitReason.FIRST_ANSWER, float("inf"))
    assert waiting.jobs == ()
    assert (waiting.why, waiting.empty_classes) == (WaitReason.FIRST_ANSWER, frozenset())
    assert held == QuotaState(allotted=1_000, reserved=FIRST_TESTS)
    # What answers cost is held with a margin: seventeen times after the first one.
    assert [job.reserved for job in rest.jobs] == [119] * 4
    assert await state(store) == QuotaState(allotted=1_000, used=7, reserved=4 * 119)


async def test_a_first_job_that_got_no_answer_is_followed_by_another(store: Store) -> None:
    await store.limits.set_cap(TESTS, allotted=1_000)
    run = await submit(store, new_job("one"), new_job("other"))
    [first] = await claim(store, run, quotas=[TESTS])

    await store.queue.settle(failure(first, run, reserved=True, charged=False))

    assert len(await claim(store, run, quotas=[TESTS])) == 1


async def test_each_class_sends_a_first_job_of_its_own(store: Store) -> None:
    await store.limits.set_cap(TESTS, allotted=1_000)
    run = await submit(
        store, *(new_job((name, n), cost_class=name) for name in ("x", "y") for n in range(3))
    )

    first = await claim(store, run, classes=("x", "y"), quotas=[TESTS])

    assert sorted(job.cost_class for job in first) == ["x", "y"]


async def test_jobs_whose_cost_is_known_beforehand_need_no_first_answer(store: Store) -> None:
    await store.limits.set_cap(TESTS, allotted=50)
    run = await submit(store, *(new_job(number, expected_tests=20) for number in range(5)))

    [grant] = await grants(store, run, quotas=[TESTS])

    assert len(grant.jobs) == 2
    assert grant.why == WaitReason.QUOTA
    assert await state(store) == QuotaState(allotted=50, reserved=40)


async def keep(store: Store, run: RunRow, job: Claimed, call: object, tests: int = 1) -> bool:
    charge = Charge(job_id=job.id, tests=tests, quotas=(TESTS,))
    return await store.attempts.keep_call(run, {"call": call}, b"a reply", charge)


async def test_tests_that_are_charged_by_reply_leave_what_is_held_one_by_one(store: Store) -> None:
    await store.limits.set_cap(TESTS, allotted=50)
    run = await submit(store, new_job("one", expected_tests=20))
    [first] = await claim(store, run, quotas=[TESTS], charged_by_reply=True)

    kept = [await keep(store, run, first, call) for call in (1, 2, 2, 3)]
    half_way = await state(store)
    await store.queue.settle(later_retry(first, run, due_at=NOW, reserved=True))
    between = await state(store)
    [second] = await claim(store, run, quotas=[TESTS], charged_by_reply=True)
    await settle(store, run, second, 20)

    assert kept == [True, True, False, True]
    assert half_way == QuotaState(allotted=50, used=3, reserved=17)
    assert between == QuotaState(allotted=50, used=3)
    assert second.reserved == 17
    assert await state(store) == QuotaState(allotted=50, used=3)
    assert await store.reader.total_settled(TESTS) == 3


async def test_a_reply_that_comes_after_its_attempt_was_taken_back_is_charged_all_the_same(
    store: Store,
) -> None:
    await store.limits.set_cap(TESTS, allotted=21)
    run = await submit(store, new_job("one", expected_tests=20))
    [first] = await claim(store, run, quotas=[TESTS], charged_by_reply=True)
    await store.queue.settle(interruption(first, run, reserved=True))

    await keep(store, run, first, "held for no request")
    unheld = await state(store)
    [second] = await claim(store, run, quotas=[TESTS], charged_by_reply=True)
    await keep(store, run, first, "held for the next attempt")

    assert unheld == QuotaState(allotted=21, used=1)
    assert second.reserved == 19
    assert await state(store) == QuotaState(allotted=21, used=2, reserved=18)


async def test_an_attempt_holds_more_where_there_is_room_and_never_beyond(store: Store) -> None:
    await store.limits.set_cap(TESTS, allotted=3)
    run = await submit(store, new_job("one", expected_tests=2), new_job("two", expected_tests=0))
    one, two = await claim(store, run, quotas=[TESTS], charged_by_reply=True)

    found = [await store.attempts.hold_more(job.id, job.fence, 1) for job in (two, two, one)]
    for call in (1, 2, 3):
        await keep(store, run, two if call == 3 else one, call)

    assert found == [True, False, False]
    assert await state(store) == QuotaState(allotted=3, used=3)


async def test_what_surely_was_not_sent_gives_its_quota_back(store: Store) -> None:
    await store.limits.set_cap(TESTS, allotted=50)
    run = await submit(store, *(new_job(number, expected_tests=20) for number in range(2)))
    one, other = await claim(store, run, quotas=[TESTS])

    await store.queue.settle(interruption(one, run, reserved=True, charged=False))
    await store.queue.settle(interruption(other, run, reserved=True, charged=True))

    assert await state(store) == QuotaState(allotted=50, used=20)


async def test_an_answer_that_cost_more_than_is_left_is_an_overrun(store: Store) -> None:
    await store.limits.set_cap(TESTS, allotted=10)
    run = await submit(store, new_job("one"))
    [job] = await claim(store, run, quotas=[TESTS])

    await settle(store, run, job, 15)
    over = await state(store)
    await store.limits.refresh_quota(TESTS, allotted=20, used=15, since=15)

    assert over == QuotaState(allotted=10, used=10, overrun=5)
    assert await state(store) == QuotaState(allotted=20, used=15)


async def test_a_cap_that_is_set_again_keeps_what_was_overrun(store: Store) -> None:
    await store.limits.set_cap(TESTS, allotted=10)
    run = await submit(store, new_job("one"))
    [job] = await claim(store, run, quotas=[TESTS])
    await settle(store, run, job, 15)

    await store.limits.set_cap(TESTS, allotted=10)
    again = await state(store)
    await store.limits.set_cap(TESTS, allotted=20)

    assert again == QuotaState(allotted=10, used=10, overrun=5)
    assert await state(store) == QuotaState(allotted=20, used=15)


async def test_no_job_is_sent_when_less_is_left_than_any_answer_cost(store: Store) -> None:
    await store.limits.set_cap(TESTS, allotted=12)
    run = await submit(store, new_job("one"), new_job("other", cost_class="unknown"))
    [job] = await claim(store, run, quotas=[TESTS])
    await settle(store, run, job, 10)

    [grant] = await grants(store, run, classes=("unknown",), quotas=[TESTS])

    assert (grant.jobs, grant.why) == ((), WaitReason.QUOTA)


async def test_the_bound_that_an_answer_tells_is_held_for_each_job(store: Store) -> None:
    await store.limits.set_cap(TESTS, allotted=1_000)
    run = await submit(store, *(new_job(number) for number in range(9)))
    [first] = await claim(store, run, quotas=[TESTS])
    await settle(store, run, first, 20, most=260)

    [grant] = await grants(store, run, quotas=[TESTS])

    assert [job.reserved for job in grant.jobs] == [260] * 3
    assert (grant.why, await state(store)) == (
        WaitReason.QUOTA,
        QuotaState(allotted=1_000, used=20, reserved=780),
    )


async def test_a_bound_that_an_answer_went_beyond_is_none_any_more(store: Store) -> None:
    await store.limits.set_cap(TESTS, allotted=1_000)
    run = await submit(store, *(new_job(number) for number in range(9)))
    for cost in (20, 30):
        [job] = await claim(store, run, 1, quotas=[TESTS])
        await settle(store, run, job, cost, most=25)

    [grant] = await grants(store, run, quotas=[TESTS])

    assert [job.reserved for job in grant.jobs] == [370] * 2


@pytest.mark.parametrize(
    ("allotted", "own_cap", "sent"),
    [
        # Less is left than one may come to, but a fresh month would do: it waits for that.
        (270, None, 0),
        # No month would ever do: one goes at a time, with all that is left.
        (250, None, 1),
        (69, None, 0),
        # A cap of the sweep's own is kept exactly, whatever the service allots.
        (250, 200, 0),
        (250, 5_000, 1),
    ],
)
async def test_a_job_whose_bound_is_more_than_is_left_goes_alone_where_nothing_else_would_help(
    store: Store, allotted: int, own_cap: int | None, sent: int
) -> None:
    own = QuotaKey(name="run", period="2027-01", is_own=True)
    await store.limits.set_cap(TESTS, allotted=10_000)
    run = await submit(store, *(new_job(number) for number in range(9)))
    [first] = await claim(store, run, quotas=[TESTS])
    await settle(store, run, first, 50, most=260)
    await store.limits.refresh_quota(TESTS, allotted=allotted, used=20, since=50)
    if own_cap is not None:
        await store.limits.set_cap(own, allotted=own_cap)

    keys = [TESTS] if own_cap is None else [TESTS, own]
    jobs = await claim(store, run, quotas=keys)
    more = await claim(store, run, quotas=keys)

    assert (len(jobs), more) == (sent, [])
    assert [(job.reserved, job.is_alone) for job in jobs] == [(allotted - 20, True)] * sent


async def test_the_last_jobs_of_a_class_without_a_bound_go_one_at_a_time(store: Store) -> None:
    await store.limits.set_cap(TESTS, allotted=200)
    run = await submit(store, *(new_job(number) for number in range(9)))
    costs, together = [60, 20, 60, 30, 30], []

    for cost in costs:
        jobs = await claim(store, run, quotas=[TESTS])
        together.append(len(jobs))
        for job in jobs:
            await settle(store, run, job, cost)

    # The third left 60, as much as the dearest so far had cost; after the fourth only 30 are left.
    assert together == [1, 1, 1, 1, 0]
    assert await state(store) == QuotaState(allotted=200, used=170)


async def test_a_cap_on_requests_counts_each_that_left_whatever_became_of_it(store: Store) -> None:
    await store.limits.set_cap(REQUESTS, allotted=4)
    run = await submit(store, *(new_job(number) for number in range(5)))

    jobs = await claim(store, run, quotas=[REQUESTS])
    await settle(store, run, jobs[0], 40)
    await store.queue.settle(interruption(jobs[1], run, reserved=True, charged=False))
    await store.queue.settle(interruption(jobs[2], run, reserved=True, charged=False, sent=False))

    assert len(jobs) == 4
    assert await state(store, REQUESTS) == QuotaState(allotted=4, used=2, reserved=1)
    assert len(await claim(store, run, quotas=[REQUESTS])) == 1


async def test_a_request_beside_those_of_jobs_takes_its_part_of_the_cap(store: Store) -> None:
    await store.limits.set_cap(REQUESTS, allotted=2)

    taken = [await store.limits.take_request(REQUESTS) for _ in range(3)]
    await store.limits.give_request_back(REQUESTS)

    assert taken == [True, True, False]
    assert await store.limits.take_request(QuotaKey(name="no such cap", period="run"))
    assert await state(store, REQUESTS) == QuotaState(allotted=2, used=1)


async def test_two_quotas_are_kept_at_once(store: Store) -> None:
    await store.limits.set_cap(TESTS, allotted=100)
    await store.limits.set_cap(REQUESTS, allotted=9)
    run = await submit(store, *(new_job(number, expected_tests=30) for number in range(9)))

    assert len(await claim(store, run, quotas=[TESTS, REQUESTS])) == 3
    assert (await state(store, REQUESTS)).reserved == 3


async def test_a_job_that_gets_no_slot_of_a_rate_holds_no_quota(store: Store) -> None:
    await store.limits.set_cap(TESTS, allotted=1_000)
    await store.limits.set_cap(REQUESTS, allotted=9)
    run = await submit(store, *(new_job(number, expected_tests=30) for number in range(5)))
    one_a_minute = Bucket(name="key", rate_per_min=1)

    [grant] = await grants(store, run, quotas=[TESTS, REQUESTS], buckets=[one_a_minute])

    assert len(grant.jobs) == 1
    assert await state(store) == QuotaState(allotted=1_000, reserved=30)
    assert await state(store, REQUESTS) == QuotaState(allotted=9, reserved=1)


async def test_no_job_waits_for_the_answer_of_a_first_job_that_got_no_slot(store: Store) -> None:
    await store.limits.set_cap(TESTS, allotted=1_000)
    run = await submit(
        store,
        new_job("one", lane="slow", cost_class="x"),
        new_job("other", lane="slow", cost_class="y"),
        new_job("third", lane="free", cost_class="y"),
    )
    one_a_minute = Bucket(name="slow", rate_per_min=1)
    lanes = (
        LaneClaim(lane="slow", classes=("x", "y"), count=9, buckets=(one_a_minute,)),
        LaneClaim(lane="free", classes=("y",), count=9, buckets=()),
    )
    asked = replace(request(store, run, quotas=[TESTS]), lanes=lanes)

    slow, free = await store.queue.claim(lambda _: asked)

    assert [job.cost_class for job in slow.jobs] == ["x"]
    assert [job.cost_class for job in free.jobs] == ["y"]


async def test_a_quota_that_is_not_known_is_not_finite(store: Store) -> None:
    run = await submit(store, *(new_job(number) for number in range(5)))

    assert len(await claim(store, run, quotas=[TESTS])) == 5


async def test_until_the_service_has_reported_its_quota_one_job_is_in_flight_and_reserved(
    store: Store,
) -> None:
    run = await submit(store, *(new_job(n, expected_tests=10) for n in range(4)))

    is_awaited = await store.limits.expect_quota(TESTS)
    [only] = await claim(store, run, quotas=[TESTS])
    [waiting] = await grants(store, run, quotas=[TESTS])
    shown = await store.reader.quotas([TESTS])
    await store.limits.refresh_quota(TESTS, allotted=25, used=3, since=0)
    rest = await claim(store, run, quotas=[TESTS])

    assert is_awaited
    assert (only.reserved, shown) == (10, {})
    assert (waiting.jobs, waiting.why) == ((), WaitReason.QUOTA_UNKNOWN)
    # It counts in the figure, beside what the service has used.
    assert len(rest) == 1
    assert await state(store) == QuotaState(allotted=25, used=3, reserved=20)
    assert not await store.limits.expect_quota(TESTS)


async def test_a_quota_that_the_service_turns_out_not_to_have_bounds_nothing(store: Store) -> None:
    run = await submit(store, *(new_job(n, expected_tests=10) for n in range(4)))
    await store.limits.expect_quota(TESTS)
    await claim(store, run, quotas=[TESTS])

    await store.limits.forget_quota(TESTS)
    rest = await claim(store, run, quotas=[TESTS])

    assert len(rest) == 3


async def test_what_is_in_flight_as_a_period_begins_is_held_in_both_and_confirmed_by_the_service(
    store: Store, scratch: Scratch
) -> None:
    begun = QuotaKey(name="key", period="2027-02")
    await store.limits.set_cap(TESTS, allotted=50)
    run = await submit(store, *(new_job(number, expected_tests=20) for number in range(2)))
    answered, refused = await claim(store, run, quotas=[TESTS])

    for _ in range(2):
        await store.limits.begin_period(["key", "no such"], before="2027-01", begun="2027-02")
    held = await state(store, begun)
    await settle(store, run, answered, 15)
    await store.queue.settle(interruption(refused, run, reserved=True))
    counted = await state(store), await state(store, begun)
    since = await store.reader.total_settled(begun)
    await store.limits.refresh_quota(begun, allotted=60, used=3, since=since)

    assert held == QuotaState(allotted=50, reserved=40)
    assert counted == (QuotaState(allotted=50, used=15), QuotaState(allotted=50, used=15))
    assert await state(store, begun) == QuotaState(allotted=60, used=3)
    assert scratch.rows("SELECT count(*) FROM reservation") == [(0,)]


async def test_a_period_that_another_process_has_begun_keeps_the_figures_of_the_service(
    store: Store,
) -> None:
    begun = QuotaKey(name="key", period="2027-02")
    await store.limits.set_cap(TESTS, allotted=50)
    await store.limits.refresh_quota(begun, allotted=60, used=33, since=0)

    await store.limits.begin_period(["key"], before="2027-01", begun="2027-02")

    assert await state(store, begun) == QuotaState(allotted=60, used=33)


async def test_a_lower_cap_keeps_what_is_held_and_used(store: Store) -> None:
    await store.limits.set_cap(TESTS, allotted=50)
    run = await submit(store, new_job("one", expected_tests=20))
    [job] = await claim(store, run, quotas=[TESTS])

    await store.limits.set_cap(TESTS, allotted=10)
    lowered = await state(store)
    await settle(store, run, job, 20)

    assert lowered == QuotaState(allotted=10, reserved=10)
    assert await state(store) == QuotaState(allotted=10, used=10, overrun=10)


moves = st.lists(
    st.one_of(
        st.tuples(st.just("claim"), st.integers(1, 4), st.just(0)),
        st.tuples(st.just("answer"), st.integers(0, 9), st.integers(0, 60)),
        st.tuples(st.just("fail"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("give back"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("late"), st.integers(0, 9), st.integers(0, 60)),
        st.tuples(st.just("refresh"), st.integers(0, 200), st.integers(0, 250)),
        st.tuples(st.just("cap"), st.integers(0, 200), st.just(0)),
    ),
    max_size=25,
)


@pytest.mark.parametrize("database", DATABASES)
@settings(max_examples=16, deadline=None)
@given(moves, st.booleans())
def test_quota_is_never_over_committed_whatever_is_interleaved(
    database: str, script: list[tuple[str, int, int]], known: bool
) -> None:
    async def play(folder: Path) -> None:
        scratch = DATABASES[database](folder)
        async with scratch.open(FakeClock(NOW)) as store:
            await store.limits.set_cap(TESTS, allotted=120)
            await store.limits.set_cap(REQUESTS, allotted=12)
            expected = 15 if known else None
            run = await submit(store, *(new_job(n, expected_tests=expected) for n in range(20)))
            flying: list[Claimed] = []
            landed: list[Claimed] = []
            for move, number, tests in script:
                if move == "claim":
                    flying += await claim(store, run, number, quotas=[TESTS, REQUESTS])
                elif move == "refresh":
                    since = await store.reader.total_settled(TESTS)
                    await store.limits.refresh_quota(
                        TESTS, allotted=number, used=tests, since=since
                    )
                elif move == "cap":
                    await store.limits.set_cap(TESTS, allotted=number)
                elif move == "late" and landed:
                    job = landed[number % len(landed)]
                    late = success(job, run, answer=answer(*scores(tests)), reserved=True)
                    await store.queue.settle(late)
                elif move in ("answer", "fail", "give back") and flying:
                    job = flying.pop(number % len(flying))
                    landed.append(job)
                    outcome = {
                        "answer": success(job, run, answer=answer(*scores(tests)), reserved=True),
                        "fail": failure(job, run, reserved=True),
                        "give back": interruption(job, run, reserved=True),
                    }[move]
                    await store.queue.settle(outcome)
                for key in (TESTS, REQUESTS):
                    now = await state(store, key)
                    assert now.used + now.reserved <= now.allotted
                assert (await state(store, REQUESTS)).reserved == len(flying)
            assert scratch.rows("SELECT count(DISTINCT job_id) FROM reservation") == [
                (len(flying),)
            ]

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder)))
