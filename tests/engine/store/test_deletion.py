"""Deleted runs leave nothing of their own, and take nothing that others need."""

import os
from dataclasses import replace

import anyio
import pytest

from engine.clock import SystemClock
from engine.core.errors import StoreError, UsageError
from engine.core.runs import RunState
from engine.core.states import State
from engine.store import NewJob, QuotaKey, RunRow, Store
from engine.store.queries import deletion, parts
from engine.store.schema import metadata
from engine.testing import FakeClock
from tests.engine.store.databases import Scratch
from tests.engine.store.scenes import answer, begin, claim, new_job, raw_answer, submit, success

LONG = bytes(range(256)) * 400


async def submit_answered(store: Store, *jobs: NewJob, name: str, raw: bytes = b"{}") -> RunRow:
    """A run of which every job has an answer; it has calls, events and unread answers of its own."""
    run = await submit(store, *jobs, name=name, reuse=True)
    claimed = await claim(store, run)
    for job in claimed:
        await store.queue.settle(success(job, run, answer=answer(0.1, 0.9, raw=raw)))
    for job in claimed[:1]:
        await store.attempts.keep_unread(run.id, job.id, job.fence, where="x", body=b"<html>")
    await store.attempts.keep_call(run, {"of": name}, b"a reply")
    await store.runs.add_event(run.id, "lane", "something happened")
    await store.runs.set_state(run.id, RunState.FINISHED)
    found = await store.reader.find_run(name)
    assert found is not None
    return found


def left_of(scratch: Scratch, run_id: int) -> dict[str, int]:
    """How many rows each table has of a run, those without any left out."""
    counts = {
        table.name: scratch.rows(f"SELECT 1 FROM {table.name} WHERE run_id = ?", run_id)  # noqa: S608
        for table in metadata.sorted_tables
        if "run_id" in table.c
    }
    return {name: len(found) for name, found in counts.items() if found}


def sending(name: str, document: str) -> NewJob:
    return replace(new_job(name), documents={"prompt": document})


async def test_a_deleted_run_leaves_no_row_and_other_runs_as_they_were(
    store: Store, scratch: Scratch
) -> None:
    first = await submit_answered(store, new_job("one"), new_job("two"), name="first")
    second = await submit_answered(store, new_job("three"), name="second")
    before = left_of(scratch, second.id)
    own = {"job", "attempt", "result", "settled", "call", "event", "unread"}
    own |= {"job_count", "answer_count", "cell_count"}
    assert set(left_of(scratch, first.id)) == own

    deleted = await store.removal.delete_run(first, ["run first"])

    assert (deleted.run, deleted.jobs, deleted.answers, deleted.answers_kept) == ("first", 2, 2, 0)
    assert left_of(scratch, first.id) == {}
    assert await store.reader.find_run("first") is None
    assert left_of(scratch, second.id) == before
    assert scratch.rows("SELECT count(*) FROM answer") == [(1,)]
    assert scratch.find_broken_references() == []


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three rows each, as if a run had very many."""
    monkeypatch.setattr(parts, "PART", 3)


async def delete_first_part(store: Store, of: RunRow) -> None:
    """Begin to delete a run, and stop as Ctrl-C does while it makes room after its first part."""
    with anyio.CancelScope() as scope:
        await store.removal.delete_run(of, [], on_progress=lambda _: scope.cancel())
    assert scope.cancelled_caught


@pytest.mark.usefixtures("in_parts")
async def test_a_large_run_is_deleted_in_parts_that_take_jobs_with_all_that_they_have(
    store: Store, clock: FakeClock, scratch: Scratch
) -> None:
    run = await submit_answered(store, *map(new_job, range(7)), name="first")
    for number in range(4):
        await store.attempts.keep_call(run, {"number": number}, b"a reply")
    await submit_answered(store, new_job("kept"), name="second")
    left: list[tuple[int, dict[str, int]]] = []

    async with clock.jumping():
        deleted = await store.removal.delete_run(
            run, [], on_progress=lambda gone: left.append((gone, left_of(scratch, run.id)))
        )

    assert [(gone, had.get("job", 0)) for gone, had in left[:3]] == [(3, 4), (6, 1), (7, 0)]
    assert all(had["attempt"] == had["result"] == had["job"] for _, had in left[:2])
    of_runs = {"call", "event", "settled", "job_count", "answer_count", "cell_count"}
    assert all(set(had) <= of_runs for _, had in left[2:])
    assert left[-1] == (7, {})
    assert (deleted.jobs, deleted.answers) == (7, 7)
    assert scratch.rows("SELECT name FROM run") == [("second",)]
    assert scratch.find_broken_references() == []


@pytest.mark.parametrize(("size", "of_parts"), [(1, 1), (6_000, 3), (100_000, 5)])
async def test_a_part_is_the_smaller_the_larger_the_answers_are(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, size: int, of_parts: int
) -> None:
    # Each job counts with its answer and a page for its attempt.
    monkeypatch.setattr(deletion, "PART_BYTES", 20_000)
    run = await submit_answered(store, *map(new_job, range(4)), name="first", raw=os.urandom(size))
    counts: list[int] = []

    async with clock.jumping():
        await store.removal.delete_run(run, [], on_progress=counts.append)

    assert (len(counts), counts[-1]) == (of_parts, 4)


@pytest.mark.usefixtures("in_parts")
async def test_answers_that_others_reuse_stay_with_them_while_their_run_is_half_deleted(
    store: Store, clock: FakeClock, scratch: Scratch
) -> None:
    jobs = [new_job(number) for number in range(7)]
    first = await submit_answered(store, *jobs, name="first", raw=b"the bytes")
    second = await submit_answered(store, *jobs[:2], *jobs[4:], name="second")

    await delete_first_part(store, first)
    # What is left of it is whole, and is reused as before.
    third = await submit_answered(store, *jobs[3:], name="third")
    half, found = left_of(scratch, first.id)["job"], await store.reader.find_run("first")
    assert found is not None
    async with clock.jumping():
        deleted = await store.removal.delete_run(found, [])

    assert (half, deleted.jobs, deleted.answers, deleted.answers_kept) == (4, 4, 0, 4)
    for run, count in ((second, 5), (third, 4)):
        kept = [row async for row in store.reader.job_rows(run)]
        assert [(row.reused, row.passed) for row in kept] == [(True, 1)] * count
        assert {await raw_answer(store, row.id) for row in kept} == {b"the bytes"}
    assert scratch.find_broken_references() == []


@pytest.mark.usefixtures("in_parts")
async def test_nothing_but_deleting_can_be_done_to_what_is_left_of_a_run(
    store: Store, clock: FakeClock
) -> None:
    run = await submit_answered(store, *map(new_job, range(7)), name="first")
    await submit_answered(store, new_job("one"), name="second")

    await delete_first_part(store, run)
    await store.runs.set_state(run.id, RunState.PAUSED)
    async with clock.jumping():
        await store.queue.requeue(run.id, [State.FAILED, State.SUCCEEDED])
    found, latest = await store.reader.find_run("first"), await store.reader.find_run(None)

    assert found is not None
    assert latest is not None
    assert (found.state, latest.name) == (RunState.DELETING, "second")
    for change in (
        store.runs.activate(run.id),
        store.runs.record_facts("first", []),
        store.runs.rename_run(found, "other", []),
        begin(store, "first", "another sweep"),
    ):
        with pytest.raises(UsageError, match="the run 'first' is being deleted, and a part of it"):
            await change
    async with clock.jumping():
        assert (await store.removal.delete_run(run, [])).jobs == 4


@pytest.mark.usefixtures("in_parts")
async def test_who_still_writes_out_the_matrix_of_a_run_adds_nothing_once_it_is_deleted(
    store: Store, clock: FakeClock, scratch: Scratch
) -> None:
    run = await submit_answered(store, *map(new_job, range(7)), name="first")

    await delete_first_part(store, run)
    await store.matrix.add_jobs(run, [new_job("more")], reuse=False)
    async with clock.jumping():
        deleted = await store.removal.delete_run(run, [])
    await store.matrix.add_jobs(run, [new_job("more")], reuse=False)

    assert deleted.jobs == 4
    assert scratch.rows("SELECT count(*) FROM job") == [(0,)]


async def test_keeping_a_reply_of_a_run_that_is_being_deleted_is_refused(store: Store) -> None:
    run = await submit_answered(store, new_job("one"), name="first")
    await store.removal.delete_run(run, [])

    for change in (
        store.attempts.keep_call(run, {"of": "first"}, b"a reply"),
        store.runs.add_event(run.id, "lane", "something happened"),
    ):
        with pytest.raises(StoreError, match="the run that this process was executing was deleted"):
            await change


async def test_its_own_caps_go_and_the_account_s_quota_stays(
    store: Store, scratch: Scratch
) -> None:
    run = await submit_answered(store, new_job("one"), name="first")
    for name in ("run first", "requests of first", "the account"):
        await store.limits.set_cap(QuotaKey(name=name, period="2027-01"), allotted=5)

    await store.removal.delete_run(run, ["run first", "requests of first"])

    assert scratch.rows("SELECT name FROM quota") == [("the account",)]


async def test_answers_that_other_runs_reuse_stay_with_them(store: Store, scratch: Scratch) -> None:
    first = await submit_answered(
        store, new_job("one"), new_job("two"), name="first", raw=b"the bytes"
    )
    second = await submit_answered(store, new_job("one"), name="second")
    third = await submit_answered(store, new_job("one"), name="third")

    deleted = await store.removal.delete_run(first, [])

    assert (deleted.answers, deleted.answers_kept) == (1, 1)
    for run in (second, third):
        [row] = [row async for row in store.reader.job_rows(run)]
        assert (row.reused, row.passed, row.failed) == (True, 1, 1)
        assert await raw_answer(store, row.id) == b"the bytes"

    again = await store.removal.delete_run(second, [])
    assert (again.answers, again.answers_kept) == (0, 1)
    [row] = [row async for row in store.reader.job_rows(third)]
    assert await raw_answer(store, row.id) == b"the bytes"

    assert (await store.removal.delete_run(third, [])).answers == 1
    assert scratch.rows("SELECT count(*) FROM answer") == [(0,)]
    assert scratch.find_broken_references() == []


async def test_who_keeps_a_copy_of_an_answer_that_was_asked_again_outlives_its_run(
    store: Store, scratch: Scratch
) -> None:
    first = await submit(store, new_job("one"), name="first")
    [job] = await claim(store, first)
    partial = answer(0.6, 0.7, 0.8, 0.9, raw=b"with a gap", empty=1)
    await store.queue.settle(success(job, first, answer=partial))
    second = await submit(store, new_job("one"), name="second", reuse=True)
    await store.queue.requeue(first.id, [State.SUCCEEDED])
    [again] = await claim(store, first)
    whole = answer(0.6, 0.7, 0.8, 0.9, 0.9, raw=b"whole")
    await store.queue.settle(success(again, first, answer=whole))
    third = await submit(store, new_job("one"), name="third", reuse=True)
    found = await store.reader.find_run("first")
    assert found is not None

    await store.removal.delete_run(found, [])

    for run, raw in ((second, b"with a gap"), (third, b"whole")):
        [row] = [row async for row in store.reader.job_rows(run)]
        assert row.reused
        assert await raw_answer(store, row.id) == raw
    assert scratch.find_broken_references() == []


async def test_a_later_run_reuses_an_answer_that_was_handed_over(store: Store) -> None:
    first = await submit_answered(store, new_job("one"), name="first", raw=b"the bytes")
    await submit_answered(store, new_job("one"), name="second")
    await store.removal.delete_run(first, [])

    third = await submit_answered(store, new_job("one"), name="third")

    [row] = [row async for row in store.reader.job_rows(third)]
    assert row.reused
    assert await raw_answer(store, row.id) == b"the bytes"


async def test_documents_go_with_the_last_run_that_sends_them(store: Store) -> None:
    await store.matrix.add_documents({"shared": "Help.", "own": "Help kindly."})
    first = await submit_answered(
        store, sending("one", "shared"), sending("two", "own"), name="first"
    )
    second = await submit_answered(store, sending("three", "shared"), name="second")

    assert (await store.removal.delete_run(first, [])).documents == 1
    assert set(await store.reader.documents(["shared", "own"])) == {"shared"}
    assert (await store.removal.delete_run(second, [])).documents == 1


async def test_no_document_goes_while_a_run_writes_its_matrix(store: Store) -> None:
    await store.matrix.add_documents({"old": "Help."})
    first = await submit_answered(store, sending("one", "old"), name="first")
    await submit(store, name="second")
    with_another_sweep = await begin(store, "second", "another sweep")
    await store.matrix.add_documents({"new": "Help kindly."})

    assert (await store.removal.delete_run(first, [])).documents == 0
    await store.matrix.add_jobs(with_another_sweep, [sending("two", "new")], reuse=False)
    await store.matrix.finish_expansion(with_another_sweep)
    pruned = await store.removal.prune()

    assert pruned.documents == 1
    assert set(await store.reader.documents(["old", "new"])) == {"new"}


async def test_no_document_goes_where_a_run_has_got_another_matrix_since_it_was_looked_for(
    store: Store,
) -> None:
    await store.matrix.add_documents({"old": "Help."})
    run = await submit(store, name="first")
    matrices, unused = await store._database.ask(deletion.find_unused_documents)
    edited = await begin(store, "first", "another sweep")
    await store.matrix.add_jobs(edited, [sending("one", "old")], reuse=False)
    await store.matrix.finish_expansion(edited)

    removed = await store.worker.writer.write(
        lambda connection: deletion.remove_documents(connection, unused, matrices)
    )

    assert (run.id, unused, removed) == (edited.id, ["old"], 0)
    assert set(await store.reader.documents(["old"])) == {"old"}


async def test_a_run_with_requests_in_flight_is_not_deleted(store: Store, scratch: Scratch) -> None:
    run = await submit(store, new_job("one"), name="first")
    await claim(store, run)

    with pytest.raises(UsageError, match="a process works on the run 'first'"):
        await store.removal.delete_run(run, [])

    assert left_of(scratch, run.id)["job"] == 1


async def test_a_run_that_was_touched_since_it_was_looked_at_is_not_deleted(store: Store) -> None:
    run = await submit_answered(store, new_job("one"), name="first")
    await store.runs.set_state(run.id, RunState.ACTIVE)

    with pytest.raises(UsageError, match="a process works on the run 'first'"):
        await store.removal.delete_run(run, [])
    found = await store.reader.find_run("first")
    assert found is not None
    await store.removal.delete_run(found, [])
    with pytest.raises(UsageError, match="the run 'first' was deleted or renamed meanwhile"):
        await store.removal.delete_run(found, [])


async def test_the_file_keeps_its_size_while_another_process_works_on_it(scratch: Scratch) -> None:
    async with scratch.open(SystemClock()) as store, scratch.open(SystemClock()) as other:
        await other.worker.record_heartbeat()
        pruned = await store.removal.prune()

    assert (pruned.compacted, pruned.bytes) == (False, 0)
