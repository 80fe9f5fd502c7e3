from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from engine.core.error_kinds import ErrorKind
from engine.core.listed_tests import ListedTest, Listing
from engine.core.money import Usage
from engine.core.runs import EventKind, RunState, StopReason
from engine.core.states import State
from engine.store import Bucket, Store
from engine.testing import FakeClock
from tests.engine.store.databases import Scratch
from tests.engine.store.scenes import (
    NOW,
    answer,
    begin,
    claim,
    count_tests,
    failure,
    later_retry,
    new_job,
    submit,
    success,
)
from tests.statements import watched_statements


@contextmanager
def counting_statements(containing: str, statements: list[str]) -> Iterator[None]:
    """Add the statements that contain a text to a list."""

    def add(statement: str, _values: object) -> None:
        if containing in statement:
            statements.append(statement)

    with watched_statements(add):
        yield


async def scene(store: Store) -> int:
    """Three lanes in all states; the run's id."""
    run = await submit(
        store,
        *(new_job((lane, n), 0.7, [0.3, 0.7], lane=lane) for lane in ("a", "b") for n in range(6)),
        new_job("plain", lane="c"),
    )
    for lane in ("a", "b"):
        one, other, third, fourth = await claim(store, run, 4, lanes=(lane,))
        await store.queue.settle(success(one, run, answer=answer(0.1, 0.5, 0.9, threshold=0.7)))
        await store.queue.settle(failure(other, run, error=f"no {lane}"))
        await store.queue.settle(later_retry(third, run, due_at=NOW + 30))
        del fourth
    return run.id


async def test_totals_are_what_counting_the_rows_gives(store: Store, scratch: Scratch) -> None:
    run_id = await scene(store)

    totals = await store.reader.totals(run_id)

    counted = scratch.rows("SELECT state, count(*), sum(cell_count) FROM job GROUP BY state")
    assert {str(s): n for s, n in totals.jobs.items() if n} == {s: n for s, n, _ in counted}
    assert {str(s): n for s, n in totals.cells.items() if n} == {s: n for s, _, n in counted}
    assert sum(totals.jobs.values()) == 13
    assert sum(totals.cells.values()) == 25
    assert totals.lanes["a"][State.WAITING] == 1
    assert count_tests(totals) == (2, 4)
    assert [(kind.message, kind.jobs) for kind in totals.errors] == [("no a", 1), ("no b", 1)]
    assert totals.sent_last_minute == 8


async def test_the_totals_of_a_run_with_nothing_in_it_are_zero(store: Store) -> None:
    run = await begin(store)

    totals = await store.reader.totals(run.id)

    assert set(totals.jobs.values()) == {0}
    assert (totals.answers, totals.lanes) == ((), {})


async def test_requests_of_the_last_minute_are_forgotten_after_it(
    store: Store, clock: FakeClock
) -> None:
    run_id = await scene(store)

    await clock.advance(61.0)

    assert (await store.reader.totals(run_id)).sent_last_minute == 0


async def test_of_what_is_claimed_ahead_only_what_is_due_counts_as_sent(
    store: Store, clock: FakeClock
) -> None:
    run = await submit(store, *(new_job(number) for number in range(9)))
    ahead = {"buckets": [Bucket(name="key", rate_per_min=60)], "horizon_s": 4.0}
    claimed = await claim(store, run, 9, **ahead)

    await clock.advance(claimed[2].start_at - clock.now())

    assert len(claimed) > 3
    assert (await store.reader.totals(run.id)).sent_last_minute == 3


async def test_the_speed_of_a_resumed_run_starts_at_the_resume(
    store: Store, clock: FakeClock
) -> None:
    run = await submit(store, *(new_job(number) for number in range(9)))
    for job in await claim(store, run, 4):
        await store.queue.settle(success(job, run))
    before = await store.reader.totals(run.id)

    await clock.advance(600.0)
    await store.runs.activate(run.id)
    [job] = await claim(store, run, 1, now=clock.now())
    await clock.advance(5.0)
    await store.queue.settle(success(job, run, now=clock.now()))
    resumed = await store.reader.totals(run.id)

    assert before.ended == 4
    assert (resumed.ended, resumed.ended_over_s) == (1, 5.0)


async def test_errors_of_jobs_that_the_sweep_no_longer_asks_for_are_not_counted(
    store: Store,
) -> None:
    run = await submit(store, new_job("removed"), new_job("kept"))
    removed, kept = await claim(store, run)
    await store.queue.settle(failure(removed, run, error="no such model"))
    await store.queue.settle(failure(kept, run, error="a timeout"))

    await submit(store, new_job("kept"), sweep="second")

    totals = await store.reader.totals(run.id)
    assert totals.errors == (ErrorKind(message="a timeout", jobs=1),)


async def test_jobs_that_failed_alike_are_one_kind_of_error_whatever_the_details(
    store: Store,
) -> None:
    run = await submit(store, *(new_job(number) for number in range(12)))
    for number, job in enumerate(await claim(store, run)):
        words = f"case {'abc'[number % 3]}: {number} bytes"
        error = f"not JSON: {words} (gave up after 1 attempts)"
        await store.queue.settle(failure(job, run, error=error, detail=words))

    [kind] = (await store.reader.totals(run.id)).errors

    assert (kind.message, kind.jobs) == ("not JSON (gave up after 1 attempts)", 12)
    assert kind.example == "case a: 0 bytes"


async def test_answers_of_some_jobs_come_in_the_order_of_the_file_if_the_sweep_asks_for_them(
    store: Store,
) -> None:
    run = await submit(store, *(new_job(name) for name in ("removed", "last", "first")))
    for one in await claim(store, run):
        await store.queue.settle(success(one, run))
    run = await submit(store, new_job("first"), new_job("last"), sweep="second")

    found = [job.labels["name"] async for job, _ in store.reader.answers_of_jobs(run, [2, 3, 1])]

    assert found == ["first", "last"]


async def test_jobs_are_read_page_by_page_and_none_is_missed(store: Store) -> None:
    run = await submit(store, *(new_job(number) for number in range(2_001)))

    names = [row.labels["name"] async for row in store.reader.job_rows(run)]

    assert names == list(range(2_001))


async def test_a_job_row_tells_all_that_is_known(store: Store) -> None:
    await scene(store)
    run = await store.reader.find_run("run")
    assert run is not None

    first, *_ = [row async for row in store.reader.job_rows(run)]

    assert (first.state, first.threshold, first.cells) == (State.SUCCEEDED, 0.7, (0.3, 0.7))
    assert (first.passed, first.failed, first.scores) == (1, 2, (0.1, 0.5, 0.9))
    assert (first.error, first.reused, first.is_asked, first.past_cells) == (None, False, True, ())
    assert first.listing is not None
    assert Listing.decode(first.listing).tests == tuple(
        ListedTest(None, 0, score) for score in (0.1, 0.5, 0.9)
    )


async def test_all_runs_are_listed_the_latest_first(store: Store, clock: FakeClock) -> None:
    await submit(store, new_job("one"), name="first")
    await clock.advance(1.0)
    await submit(store, new_job("one"), new_job("other"), name="second")

    listed = await store.reader.runs()

    assert [(run.name, jobs[State.PENDING]) for run, jobs in listed] == [
        ("second", 2),
        ("first", 1),
    ]
    latest = await store.reader.find_run(None)
    assert latest is not None
    assert latest.name == "second"
    assert await store.reader.find_run("third") is None


async def test_other_processes_see_the_state_of_a_run(store: Store, scratch: Scratch) -> None:
    run = await begin(store)
    before, _ = await store.reader.observe(run.id)

    async with scratch.open(FakeClock(NOW + 60)) as other:
        await other.runs.set_state(
            run.id, RunState.PAUSED, reason=StopReason.PAUSED, message="paused", resume_at=NOW
        )
        await other.runs.set_state(run.id, RunState.ACTIVE, unless=(RunState.PAUSED,))

    after, _ = await store.reader.observe(run.id)
    found = await store.reader.find_run("run")
    assert found is not None
    assert before is not None
    assert after is not None
    assert (before.state, after.state) == (RunState.ACTIVE, RunState.PAUSED)
    assert after.arrived_at == before.arrived_at + 60
    assert (found.reason, found.message, found.resume_at) == ("paused", "paused", NOW)


async def test_a_call_is_kept_once_and_found_by_what_decides_it(store: Store) -> None:
    run = await begin(store)
    key = {"case": "one", "seed": 1}

    await store.attempts.keep_call(run, key, b"the first")
    await store.attempts.keep_call(run, key, b"the second")

    kept = await store.reader.find_reply(run, {"seed": 1, "case": "one"}, of_others=False)
    assert kept == (b"the first", NOW)
    assert await store.reader.find_reply(run, {"case": "one", "seed": 2}, of_others=False) is None


async def test_calls_that_begin_together_find_their_replies_with_one_question(store: Store) -> None:
    run, other = await begin(store), await begin(store, name="another")
    for of, name, reply in [(run, "a", b"own"), (other, "a", b"another"), (other, "b", b"another")]:
        await store.attempts.keep_call(of, {"of": name}, reply)
    asked: list[str] = []
    found: dict[tuple[str, bool], bytes | None] = {}

    async def look_up(name: str, of_others: bool) -> None:
        kept = await store.reader.find_reply(run, {"of": name}, of_others=of_others)
        found[name, of_others] = None if kept is None else kept.response

    with counting_statements("FROM call", asked):
        async with anyio.create_task_group() as tasks:
            for name in ("a", "b", *map(str, range(50))):
                tasks.start_soon(look_up, name, True)
            tasks.start_soon(look_up, "b", False)

    assert {key: reply for key, reply in found.items() if reply is not None} == {
        ("a", True): b"own",
        ("b", True): b"another",
    }
    assert len(found) == 53
    # One statement for those that take replies of others, and one for those that do not.
    assert len(asked) == 2


async def test_a_call_that_is_cancelled_leaves_the_others_their_replies(store: Store) -> None:
    run = await begin(store)
    await store.attempts.keep_call(run, {"of": "a"}, b"kept")
    found = []

    async def look_up(scope: anyio.CancelScope) -> None:
        with scope:
            found.append(await store.reader.find_reply(run, {"of": "a"}, of_others=False))

    cancelled, *others = (anyio.CancelScope() for _ in range(3))
    async with anyio.create_task_group() as tasks:
        for scope in (cancelled, *others):
            tasks.start_soon(look_up, scope)
        await anyio.lowlevel.checkpoint()
        cancelled.cancel()

    assert [kept.response for kept in found if kept is not None][-2:] == [b"kept"] * 2


async def test_replies_that_are_not_kept_stay_in_what_calls_took_as_when_all_is_asked_again(
    store: Store, clock: FakeClock
) -> None:
    key = {"case": "one"}

    async def keep(response: bytes, cost: float) -> bool:
        usage = Usage(role="target", endpoint="here", model="a", cost=cost)
        return await store.attempts.keep_call(run, key, response, took=[usage])

    async def in_run() -> tuple[bytes, float] | None:
        # As a process asks that has read the run before it began to ask everything again.
        return await store.reader.find_reply(run, key, of_others=False)

    run = await begin(store)
    kept = [await keep(b"the first", 1.0), await keep(b"at once", 2.0)]
    async with clock.jumping():
        await clock.sleep(60.0)
    await begin(store, is_fresh=True)
    forgotten = await in_run(), await store.reader.find_reply(run, key, of_others=True)
    kept += [await keep(b"afresh", 4.0), await keep(b"late", 8.0)]

    assert kept == [True, False, True, False]
    assert forgotten == (None, None)
    assert await in_run() == (b"afresh", NOW + 60.0)
    [total] = await store.reader.usage(run.id)
    assert (total.calls, total.reported_cost) == (4, 15.0)


async def test_fresh_answers_stay_fresh_when_the_clock_is_set_back(
    scratch: Scratch,
) -> None:
    async def find_replies(store: Store) -> list[bytes | None]:
        found = [
            await store.reader.find_reply(run, {"of": name}, of_others=False) for name in "abc"
        ]
        return [None if one is None else one[0] for one in found]

    clock = FakeClock(NOW)
    async with clock.jumping(), scratch.open(clock) as store:
        run = await begin(store)
        await store.attempts.keep_call(run, {"of": "a"}, b"before")
        await store.attempts.keep_call(run, {"of": "b"}, b"before")
        await clock.sleep(60.0)
        await begin(store, is_fresh=True)
        await store.attempts.keep_call(run, {"of": "b"}, b"afresh")
        await clock.sleep(60.0)

    async with scratch.open(FakeClock(NOW - 3600.0)) as store:
        await store.queue.follow_clock()
        at_first = await find_replies(store)
        is_new = [await store.attempts.keep_call(run, {"of": "c"}, reply) for reply in (b"1", b"2")]

        assert at_first == [None, b"afresh", None]
        assert is_new == [True, False]
        assert await find_replies(store) == [None, b"afresh", b"1"]


async def test_events_are_listed_oldest_first(store: Store) -> None:
    run = await begin(store)
    for number in range(5):
        await store.runs.add_event(run.id, "kind", f"message {number}", lane="a")

    events = await store.inspection.latest_events(run.id, limit=2)

    assert [(one.at, one.kind, one.lane, one.message) for one in events] == [
        (NOW, "kind", "a", "message 3"),
        (NOW, "kind", "a", "message 4"),
    ]


async def test_a_lane_stays_away_while_its_machine_runs_short(store: Store) -> None:
    run = await submit(store, new_job("one"))
    await store.runs.add_event(run.id, EventKind.OUTAGE, "away since noon", lane="model")

    await store.runs.add_event(run.id, EventKind.MACHINE, "too many files", lane="model")

    assert await store.reader.lanes_in_trouble(run.id) == {"model": EventKind.OUTAGE}


async def test_an_answer_since_a_fresh_run_began_counts_before_the_matrix_reaches_its_job(
    store: Store,
) -> None:
    first = await submit(store, new_job("early"), new_job("late"))
    early, late = await claim(store, first, 2)
    await store.queue.settle(success(early, first, now=NOW - 60))
    await store.queue.settle(later_retry(late, first, due_at=NOW))
    fresh = await begin(store, is_fresh=True)
    since = fresh.fresh_at
    assert since is not None
    [late] = await claim(store, fresh, now=since)
    await store.queue.settle(success(late, fresh, now=since))

    totals = await store.reader.totals(fresh.id)

    assert (totals.jobs[State.SUCCEEDED], totals.jobs[State.PENDING]) == (1, 1)
    assert [one.jobs for one in totals.answers] == [1]
    assert [row.outdated async for row in store.reader.job_rows(fresh)] == [True, False]
