from typing import Any

import pytest

from engine.core.runs import WaitReason
from engine.core.states import State
from engine.store import Claimed, RunRow, Store
from engine.testing import FakeClock
from tests.engine.store.databases import Scratch
from tests.engine.store.scenes import (
    NOW,
    answer,
    begin,
    claim,
    failure,
    grants,
    interruption,
    later_retry,
    new_job,
    raw_answer,
    submit,
    success,
)


async def test_a_claim_raises_the_fence_and_counts_the_attempt(
    store: Store, scratch: Scratch
) -> None:
    run = await submit(store, new_job("one"))

    [job] = await claim(store, run)

    assert (job.fence, job.attempt, job.labels["name"]) == (1, 1, "one")
    assert scratch.states() == {"running": 1}
    assert scratch.rows("SELECT job_id, fence, worker, outcome, ended_at FROM attempt") == [
        (job.id, 1, store.worker_id, "sent", None)
    ]


async def test_no_job_is_claimed_twice_by_two_stores_on_one_file(
    store: Store, clock: FakeClock, scratch: Scratch
) -> None:
    run = await submit(store, *(new_job(number) for number in range(10)))
    async with scratch.open(clock) as other:
        ours, theirs = [], []
        for _ in range(3):
            ours += await claim(store, run, 2)
            theirs += await claim(other, run, 2)

        assert len(ours) == 6
        assert len(theirs) == 4
        assert len({job.id for job in ours + theirs}) == 10
        assert await other.reader.count_peers(run.id) == 1


async def test_jobs_are_claimed_in_the_order_they_were_asked_for(store: Store) -> None:
    run = await submit(store, *(new_job(number) for number in range(5)))

    first = await claim(store, run, 2)
    second = await claim(store, run, 9)

    assert [job.labels["name"] for job in first + second] == [0, 1, 2, 3, 4]


async def test_a_waiting_job_is_not_claimed_before_it_is_due(store: Store) -> None:
    run = await submit(store, new_job("one"))
    [job] = await claim(store, run)
    await store.queue.settle(later_retry(job, run, due_at=NOW + 30.0))

    [early] = await grants(store, run, now=NOW + 29.9)
    [late] = await grants(store, run, now=NOW + 30.0)

    assert early.jobs == ()
    assert (early.next_at, early.why) == (NOW + 30.0, WaitReason.RETRY)
    assert [(again.fence, again.attempt) for again in late.jobs] == [(2, 2)]


async def test_an_empty_cost_class_is_reported_as_empty(store: Store) -> None:
    run = await submit(store, new_job("one"))

    [grant] = await grants(store, run, classes=("group", "other"))

    assert grant.empty_classes == {"group", "other"}


async def test_a_transient_failure_uses_the_attempt_and_a_429_gives_it_back(store: Store) -> None:
    run = await submit(store, new_job("used"), new_job("given back"))
    used, back = await claim(store, run)

    await store.queue.settle(later_retry(used, run, due_at=0.0))
    await store.queue.settle(interruption(back, run))

    again = {job.labels["name"]: job for job in await claim(store, run)}
    assert (again["used"].attempt, again["used"].fence) == (2, 2)
    assert (again["given back"].attempt, again["given back"].fence) == (1, 2)


async def test_a_lost_lease_settles_nothing_negative(store: Store, scratch: Scratch) -> None:
    run = await submit(store, new_job("one"))
    [lost] = await claim(store, run)
    await store.queue.settle(interruption(lost, run))
    [held] = await claim(store, run)

    for outcome in (
        failure(lost, run),
        interruption(lost, run),
        later_retry(lost, run, due_at=NOW + 9),
    ):
        assert not await store.queue.settle(outcome)

    assert scratch.rows("SELECT state, fence, attempts, due_at FROM job") == [
        ("running", held.fence, 1, 0.0)
    ]


async def test_a_late_success_is_kept_once_and_its_attempt_recorded(
    store: Store, scratch: Scratch
) -> None:
    run = await submit(store, new_job("one"))
    [late] = await claim(store, run)
    await store.queue.settle(interruption(late, run))
    [held] = await claim(store, run)

    first = await store.queue.settle(success(late, run))
    second = await store.queue.settle(success(held, run, answer=answer(0.1, 0.1, 0.1)))

    assert (first, second) == (True, False)
    assert scratch.rows("SELECT state, owner, attempts FROM job") == [("succeeded", None, 1)]
    assert scratch.rows("SELECT passed, failed FROM result") == [(1, 1)]
    # Both were answered, and the history says so.
    assert scratch.rows("SELECT fence, outcome FROM attempt ORDER BY fence") == [
        (1, "succeeded"),
        (2, "succeeded"),
    ]


async def test_an_answer_is_kept_even_after_its_job_failed_or_was_cancelled(
    store: Store, scratch: Scratch
) -> None:
    run = await submit(store, new_job("failed"), new_job("cancelled"))
    one, other = await claim(store, run)
    await store.queue.settle(failure(one, run))
    await store.queue.settle(interruption(other, run))
    await store.queue.cancel(run.id)

    kept = [await store.queue.settle(success(job, run)) for job in (one, other)]

    assert kept == [True, True]
    assert scratch.states() == {"succeeded": 2}
    assert scratch.rows("SELECT error, detail FROM job") == [(None, None)] * 2


async def test_an_answer_in_the_same_commit_as_a_failure_is_not_lost(
    store: Store, scratch: Scratch
) -> None:
    from engine.store.queries import outcomes

    run = await submit(store, new_job("one"))
    [lost] = await claim(store, run)
    await store.queue.settle(interruption(lost, run))
    [held] = await claim(store, run)
    together = (failure(held, run), success(lost, run), success(held, run))

    counts = await store.worker.writer.write(
        lambda connection: outcomes.settle(connection, together)
    )

    assert counts == [True, True, False]
    assert scratch.states() == {"succeeded": 1}
    assert scratch.rows("SELECT count(*) FROM result") == [(1,)]


async def test_the_raw_answer_is_kept_whole(store: Store) -> None:
    run = await submit(store, new_job("one"), new_job("other"))
    one, other = await claim(store, run)
    raw = bytes(range(256)) * 300

    await store.queue.settle(success(one, run, answer=answer(0.1, raw=raw)))

    assert await raw_answer(store, one.id) == raw
    assert await raw_answer(store, other.id) is None


async def test_a_permanent_failure_is_stored_with_its_detail(
    store: Store, scratch: Scratch
) -> None:
    run = await submit(store, new_job("one"))
    [job] = await claim(store, run)

    await store.queue.settle(failure(job, run, status=404, detail="unknown model"))

    assert scratch.rows("SELECT state, error, detail FROM job") == [
        ("failed", "no such model", "unknown model")
    ]
    assert scratch.rows("SELECT outcome, status, error, detail FROM attempt") == [
        ("failed", 404, "no such model", "unknown model")
    ]


async def test_a_cancelled_job_has_no_explanation_of_an_earlier_error(
    store: Store, scratch: Scratch
) -> None:
    run = await submit(store, new_job("one"))
    [job] = await claim(store, run)
    await store.queue.settle(later_retry(job, run, due_at=NOW + 60.0, detail="too many requests"))

    await store.queue.cancel(run.id)

    assert scratch.rows("SELECT error, detail FROM job") == [("cancelled", None)]
    assert scratch.rows("SELECT error, detail FROM attempt") == [("a hiccup", "too many requests")]


async def test_cancelling_leaves_what_is_in_flight_to_its_worker(
    store: Store, scratch: Scratch
) -> None:
    run = await submit(store, *(new_job(number) for number in range(3)))
    [job] = await claim(store, run, 1)

    assert await store.queue.cancel(run.id) == 2

    assert scratch.states() == {"running": 1, "cancelled": 2}
    assert await store.queue.settle(success(job, run))
    assert not await store.reader.has_open_jobs(run.id)


async def test_putting_back_in_line_gives_fresh_attempts_and_leaves_answers_alone(
    store: Store,
) -> None:
    run = await submit(store, new_job("failed"), new_job("cancelled"), new_job("answered"))
    one, other, third = await claim(store, run)
    await store.queue.settle(failure(one, run))
    await store.queue.settle(interruption(other, run))
    await store.queue.cancel(run.id)
    await store.queue.settle(success(third, run))

    assert await store.queue.requeue(run.id, [State.FAILED]) == 1
    assert await store.queue.requeue(run.id, [State.CANCELLED, State.SUCCEEDED]) == 1
    assert await store.queue.requeue(run.id, []) == 0

    again = await claim(store, run)
    assert [(job.labels["name"], job.attempt, job.fence) for job in again] == [
        ("failed", 1, 2),
        ("cancelled", 1, 2),
    ]


async def _ask_again(store: Store) -> tuple[RunRow, Claimed]:
    """A job whose answer lacks a question, claimed once more."""
    run = await submit(store, new_job("partial"), new_job("whole"))
    partial, whole = await claim(store, run)
    await store.queue.settle(success(partial, run, answer=answer(0.9, moderated=1)))
    await store.queue.settle(success(whole, run))
    assert await store.queue.requeue(run.id, [State.SUCCEEDED]) == 1
    [again] = await claim(store, run)
    return run, again


def _kill(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave what SIGKILL leaves of a process: a free lock and no sign-off."""

    async def say_nothing() -> None:
        store.worker._signed_off.set()
        store.worker.writer.close()

    monkeypatch.setattr(store.worker, "sign_off", say_nothing)


async def _numbers(store: Store, run: RunRow) -> list[tuple[State, int | None, Any]]:
    found = [row async for row in store.reader.job_rows(run)]
    return [(row.state, row.passed, dict(row.unanswered)) for row in found][:1]


async def test_an_answer_with_unanswered_questions_can_be_asked_for_again(store: Store) -> None:
    run, again = await _ask_again(store)
    before = await _numbers(store, run)

    await store.queue.settle(success(again, run, answer=answer(0.8, 0.9, raw=b"whole now")))

    assert (again.attempt, again.fence) == (1, 2)
    assert before == [("running", 1, {"moderated": 1})]
    assert await _numbers(store, run) == [("succeeded", 2, {})]
    assert await raw_answer(store, again.id) == b"whole now"
    assert await store.queue.requeue(run.id, [State.SUCCEEDED]) == 0


@pytest.mark.parametrize("end", ["failed", "cancelled", "died"])
async def test_an_answer_that_is_asked_for_again_in_vain_stays(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, end: str, scratch: Scratch
) -> None:
    async with scratch.open(clock) as store:
        run, again = await _ask_again(store)
        if end == "failed":
            await store.queue.settle(failure(again, run))
        elif end == "cancelled":
            await store.queue.settle(interruption(again, run))
            await store.queue.cancel(run.id)
        else:
            _kill(store, monkeypatch)
    async with scratch.open(clock) as store:
        await store.worker.reclaim_from_dead(attempts=1)

        assert await _numbers(store, run) == [("succeeded", 1, {"moderated": 1})]


async def test_who_took_over_an_answer_keeps_it_when_it_is_asked_for_again(store: Store) -> None:
    first = await submit(store, new_job("one"), name="first")
    [job] = await claim(store, first)
    kept = answer(0.6, 0.7, 0.8, 0.9, raw=b"with a gap", empty=1)
    await store.queue.settle(success(job, first, answer=kept))
    second = await submit(store, new_job("one"), name="second", reuse=True)
    [reused] = [row async for row in store.reader.job_rows(second)]

    await store.queue.requeue(first.id, [State.SUCCEEDED])
    [again] = await claim(store, first)
    await store.queue.settle(success(again, first, answer=answer(0.1, 0.9, raw=b"whole")))

    assert await _numbers(store, second) == [("succeeded", 4, {"empty": 1})]
    assert await raw_answer(store, reused.id) == b"with a gap"
    assert await raw_answer(store, job.id) == b"whole"


async def test_totals_tell_answers_apart_by_what_is_unanswered(store: Store) -> None:
    run = await submit(store, *(new_job(name) for name in range(3)))
    one, two, three = await claim(store, run)
    await store.queue.settle(success(one, run, answer=answer(0.9, empty=2)))
    await store.queue.settle(success(two, run, answer=answer(0.9, empty=2)))
    await store.queue.settle(success(three, run, answer=answer(0.9, moderated=1, empty=1)))

    found = (await store.reader.totals(run.id)).answers
    assert sorted((one.jobs, dict(one.unanswered)) for one in found) == [
        (1, {"moderated": 1, "empty": 1}),
        (2, {"empty": 2}),
    ]


async def test_a_job_removed_while_in_flight_gets_no_other_attempt(
    store: Store, scratch: Scratch
) -> None:
    run = await submit(store, new_job("stays"), new_job("goes"))
    stays, goes = await claim(store, run)
    await submit(store, new_job("stays"), sweep="second")

    for job in (stays, goes):
        await store.queue.settle(later_retry(job, run, due_at=0.0))

    assert scratch.states() == {"waiting": 1, "cancelled": 1}
    assert [job.labels["name"] for job in await claim(store, run)] == ["stays"]


async def test_what_a_run_still_has_to_claim_is_found_lane_by_lane(store: Store) -> None:
    run = await submit(
        store,
        *(
            new_job((lane, cost_class, number), lane=lane, cost_class=cost_class)
            for lane in ("a", "b")
            for cost_class in ("x", "y")
            for number in range(3)
        ),
    )
    other = await begin(store, "other")
    await store.matrix.add_jobs(other, [new_job("elsewhere", lane="c")], reuse=False)
    await claim(store, run, lanes=("b",), classes=("y",))

    assert await store.reader.queues(run.id) == {"a": ("x", "y"), "b": ("x",)}


@pytest.mark.parametrize("count", [0, 1, 7])
async def test_a_claim_gives_no_more_than_was_asked_for(store: Store, count: int) -> None:
    run = await submit(store, *(new_job(number) for number in range(9)))

    assert len(await claim(store, run, count)) == count
