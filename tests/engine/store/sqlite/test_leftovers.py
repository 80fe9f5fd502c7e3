"""Replies and answers that could not be committed, and their recovery from side files."""

import base64
import json
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from engine.core.errors import StoreLost
from engine.core.listed_tests import ListedTest, Listing
from engine.core.model import Answer
from engine.core.money import Usage
from engine.core.quota import QuotaState
from engine.store import Charge, QuotaKey, RunRow, Store, leftovers, open_store, spill
from engine.store.paid import from_line, to_line
from engine.store.queries.calls import digest
from engine.store.requests import CallReply
from engine.testing import FakeClock
from tests.engine.store.processes import child
from tests.engine.store.scenes import (
    NOW,
    answer,
    begin,
    claim,
    new_job,
    raw_answer,
    rows,
    states,
    submit,
    success,
)
from tests.engine.store.sqlite.test_writer import LARGE, fill_disk, spill_files
from tests.launcher.processes import Launcher

KEY = {"case": "one"}
TESTS = QuotaKey(name="key", period="2027-01")
TOOK = Usage(role="target", endpoint="here", model="a", cost=1.0)


def reply_of(run: RunRow, response: bytes = b"a reply", *, at: float = NOW) -> CallReply:
    return CallReply(
        run_id=run.id,
        run_created_at=run.created_at,
        digest=digest(KEY),
        response=response,
        recorded_at=at,
        charge=Charge(job_id=1, tests=1, quotas=(TESTS,)),
        took=(TOOK,),
    )


def leave_behind(store: Path, *paid: CallReply, worker: str = "gone") -> Path:
    """A side file as a worker leaves it that is killed while the disk is full."""
    folder = store.with_name(f"{store.name}.workers")
    side_file = spill.Spill(folder, worker)
    side_file.reserve()
    side_file.keep(paid)
    side_file.close()
    return folder / f"{worker}.spill"


def remove(store: Path) -> None:
    store.unlink()


async def find_kept(store: Store, run: RunRow) -> bytes | None:
    found = await store.reader.find_reply(run, KEY, of_others=False)
    return None if found is None else found[0]


async def read_counts(store: Store, run: RunRow) -> tuple[int, float, QuotaState]:
    """The calls, their cost, and the quota."""
    totals = await store.reader.usage(run.id)
    quota = (await store.reader.quotas([TESTS]))[TESTS.name, TESTS.period]
    return sum(one.calls for one in totals), sum(one.reported_cost for one in totals), quota


async def test_who_leaves_while_the_disk_is_full_leaves_replies_that_are_charged_once(
    path: Path, clock: FakeClock
) -> None:
    charge = Charge(job_id=1, tests=1, quotas=(TESTS,))
    kept_as_new: list[bool] = []
    async with clock.jumping(), open_store(path, clock) as store:
        await store.limits.set_cap(TESTS, allotted=10)
        run = await submit(store, new_job("one", expected_tests=5))
        await claim(store, run, quotas=[TESTS], charged_by_reply=True)
        fill_disk(store)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:

                async def keep() -> None:
                    kept_as_new.append(
                        await store.attempts.keep_call(run, KEY, LARGE, charge, [TOOK])
                    )

                tasks.start_soon(keep)
                while store.trouble is None:
                    await clock.sleep(0.1)
                scope.cancel()

    assert kept_as_new == [True]
    assert rows(path, "SELECT count(*) FROM call") == [(0,)]
    [left] = spill_files(path)
    content = left.read_bytes()
    for _ in range(2):
        # The second time as after a kill between the commit and the removal.
        left.write_bytes(content)
        async with open_store(path, clock) as store:
            assert await find_kept(store, run) == LARGE
            found = await read_counts(store, run)
        assert found == (1, 1.0, QuotaState(allotted=10, used=1, reserved=4))
        assert spill_files(path) == []


async def test_replies_in_hand_outlive_a_kill_and_come_before_the_dead_workers_jobs_do(
    launcher: Launcher, path: Path, clock: FakeClock
) -> None:
    async with open_store(path, clock) as store:
        run = await submit(store, new_job("one"))
        script = """
from tests.engine.store.sqlite.test_writer import LARGE, fill_disk, spill_files

async def main():
    async with open_store(PATH, FakeClock()) as store, anyio.create_task_group() as tasks:
        run = await store.reader.find_run("run")
        await claim(store, run)
        fill_disk(store)
        tasks.start_soon(store.attempts.keep_call, run, {"case": "one"}, LARGE)
        while not any(b"}" in file.read_bytes() for file in spill_files(PATH)):
            await anyio.sleep(0.01)
        say("in the side file")
        await anyio.sleep_forever()
"""
        with child(launcher, path, script) as killed:
            assert killed.line() == "in the side file"
            killed.kill()

        # A process that was there all the time, and has opened nothing since.
        before = await find_kept(store, run)
        await store.worker.reclaim_from_dead()

        assert before is None
        assert await find_kept(store, run) == LARGE
        assert states(path) == {"pending": 1}
        assert spill_files(path) == []


@pytest.mark.parametrize("meanwhile", ["settled", "asked again", "not sent"])
async def test_a_reply_is_known_by_its_run_whatever_became_of_its_job_and_its_worker(
    path: Path, clock: FakeClock, meanwhile: str
) -> None:
    async with open_store(path, clock) as store:
        run = await submit(store, new_job("one"))
        if meanwhile == "settled":
            [job] = await claim(store, run)
            await store.queue.settle(success(job, run))
        elif meanwhile == "asked again":
            await store.attempts.keep_call(run, KEY, b"another reply", took=[TOOK])
    for _ in range(2):
        leave_behind(path, reply_of(run, at=NOW + 1.0))
        async with open_store(path, clock) as store:
            found = await find_kept(store, run)
            [total] = await store.reader.usage(run.id)

        assert found == (b"another reply" if meanwhile == "asked again" else b"a reply")
        # Both were paid for.
        assert total.calls == (2 if meanwhile == "asked again" else 1)
        assert spill_files(path) == []


async def test_a_reply_from_before_all_was_asked_again_does_not_count(
    path: Path, clock: FakeClock
) -> None:
    async with open_store(path, clock) as store:
        await store.limits.set_cap(TESTS, allotted=10)
        run = await begin(store)
        await store.attempts.keep_call(run, KEY, b"older still", took=[TOOK])
        await clock.advance(60.0)
        fresh = await begin(store, is_fresh=True)
    leave_behind(path, reply_of(run, at=NOW + 1.0))

    async with open_store(path, clock) as store:
        assert await find_kept(store, fresh) is None
        assert await read_counts(store, run) == (2, 2.0, QuotaState(allotted=10))


async def test_a_reply_of_another_run_of_the_same_number_is_left_for_its_own_store(
    path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_store(path, clock) as store:
        run = await begin(store)
        await clock.advance(60.0)
    shutil.move(path, path.with_name("other.db"))
    async with open_store(path, clock) as store:
        namesake = await begin(store)
    left = leave_behind(path, reply_of(run))

    async with open_store(path, clock) as store:
        assert await find_kept(store, namesake) is None

    assert namesake.id == run.id
    assert f"{left} holds 1 reply of another store" in caplog.text
    assert spill_files(path) == [left]


async def test_unreadable_lines_do_not_prevent_the_recovery_of_the_rest(
    path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_store(path, clock) as store:
        run = await begin(store)
    left = leave_behind(path, reply_of(run))
    whole = left.read_bytes().rstrip(b"\0")
    left.write_bytes(b'not JSON\n[]\n{"kind": "of a later version"}\n' + whole + whole[:-9])

    async with open_store(path, clock) as store:
        assert await find_kept(store, run) == b"a reply"

    assert f"{left} has 3 lines that cannot be read; left as it is" in caplog.text
    assert left.exists()


async def test_a_side_file_of_an_older_version_is_taken_in(path: Path, clock: FakeClock) -> None:
    async with open_store(path, clock) as store:
        run = await submit(store, new_job("one"))
        [job] = await claim(store, run)
        worker = store.worker_id
    line = {
        "job_id": job.id,
        "run_id": run.id,
        "fence": job.fence,
        "ended_at": NOW,
        "service": "scripted",
        "cost_class": "group",
        "reserved": False,
        "passed": 1,
        "failed": 0,
        "tests": 1,
        "scores": [0.9],
        "note": None,
        "provenance": None,
        "raw": base64.b64encode(b"as it came").decode(),
    }
    folder = path.with_name("store.db.workers")
    (folder / f"{worker}.spill").write_bytes(json.dumps(line).encode() + b"\n\0\0")

    async with open_store(path, clock) as store:
        assert await raw_answer(store, job.id) == b"as it came"

    assert spill_files(path) == []


async def test_the_side_file_of_a_living_process_next_to_the_copy_of_a_lost_store_is_left_alone(
    path: Path, clock: FakeClock
) -> None:
    def copies() -> list[Path]:
        return sorted(path.parent.glob("*-rescued-*.db"))

    async with open_store(path, clock) as store:
        run = await submit(store, new_job("one"), new_job("other"))
        [job, _] = await claim(store, run)
        remove(path)
        with pytest.raises(StoreLost, match=r"1 reply in hand is kept in"):
            await store.attempts.keep_call(run, KEY, b"a reply")
        [copy] = copies()
        async with open_store(copy, clock) as other:
            early = await find_kept(other, run)
        assert await store.queue.settle(success(job, run, answer=answer(0.9, raw=b"an answer")))
        with pytest.raises(StoreLost, match=r"1 answer and 1 reply in hand are kept in"):
            await store.worker.record_heartbeat()

    assert early is None
    async with open_store(copy, clock) as other:
        assert await find_kept(other, run) == b"a reply"
        assert await raw_answer(other, job.id) == b"an answer"
    assert [one.name for one in copy.with_name(f"{copy.name}.workers").iterdir()] == []


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="files cannot be limited")
async def test_replies_that_do_not_fit_leave_room_for_those_that_do_and_are_reported_once(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = await begin(store)
    large, small, later = (
        reply_of(run, response, at=NOW + n) for n, response in enumerate((LARGE, b"s", b"l"))
    )
    side_file = spill.Spill(tmp_path, "worker")
    side_file.reserve()

    free = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(LARGE), free[1]))
    try:
        for _ in range(3):
            side_file.keep([large, small])
        side_file.keep([large, small, later])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, free)

    assert [side_file.holds(one) for one in (large, small, later)] == [False, True, True]
    assert leftovers.read(tmp_path / "worker.spill").replies == [small, later]
    assert caplog.text.count("has no space for all uncommitted answers") == 1
    side_file.close()


async def test_an_answer_that_is_put_aside_comes_back_with_all_that_was_read_from_it(
    store: Store,
) -> None:
    run = await submit(store, new_job("a"))
    [job] = await claim(store, run)
    measured = replace(
        answer(0.2).measurement,
        note="a note",
        unanswered={"empty": 1},
        values={"turns": 3},
        listing=Listing.of([ListedTest("a case", 0, 0.2), ListedTest("another", 0, None)]),
    )
    outcome = success(job, run, answer=Answer(raw=b"raw", measurement=measured))

    assert from_line(to_line(outcome)) == outcome
