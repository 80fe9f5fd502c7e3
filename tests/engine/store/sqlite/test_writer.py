"""The writer on a full disk, with other processes, and after a kill."""

import logging
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from random import Random

import anyio
import pytest
from anyio.abc import TaskGroup
from sqlalchemy import event
from sqlalchemy.engine import Connection

from engine.core.errors import StoreError
from engine.core.states import State
from engine.store import Outcome, Store, leftovers, open_store, spill
from engine.store.writer import PATIENCE_S
from engine.testing import FakeClock
from tests.engine.store.processes import child
from tests.engine.store.scenes import (
    answer,
    claim,
    count_tests,
    failure,
    new_job,
    raw_answer,
    rows,
    sqlite_of,
    states,
    submit,
    success,
)
from tests.launcher.processes import Launcher

LARGE = Random(1).randbytes(200_000)


def fill_disk(store: Store) -> None:
    """Let the database grow no more, as on a full disk; reading and small changes still work."""
    [[pages]] = rows(sqlite_of(store).path, "PRAGMA page_count")
    limit_pages(store, pages)


def limit_pages(store: Store, pages: int) -> None:
    connection = sqlite_of(store)._writer.raw_connection()
    connection.cursor().execute(f"PRAGMA max_page_count = {pages}")
    connection.close()


def free_disk(store: Store) -> None:
    limit_pages(store, 1_000_000)


def spill_files(path: Path) -> list[Path]:
    return sorted(path.with_name(f"{path.name}.workers").glob("*.spill"))


@asynccontextmanager
async def full_disk(store: Store, clock: FakeClock) -> AsyncIterator[TaskGroup]:
    """A disk that is full within the block; after it, however it ends, tasks get their commits."""
    async with anyio.create_task_group() as tasks:
        fill_disk(store)
        try:
            yield tasks
        finally:
            free_disk(store)
            with anyio.CancelScope(shield=True):
                await clock.advance(1.0)


async def until_in_trouble(store: Store, clock: FakeClock) -> None:
    while store.trouble is None:
        await clock.advance(0.0)


async def test_changes_that_come_together_are_committed_together(store: Store) -> None:
    run = await submit(store, *(new_job(number) for number in range(50)))
    jobs = await claim(store, run)
    commits: list[Connection] = []
    event.listen(sqlite_of(store)._writer, "commit", commits.append)

    async with anyio.create_task_group() as tasks:
        for job in jobs:
            tasks.start_soon(store.queue.settle, success(job, run))

    assert states(sqlite_of(store).path) == {"succeeded": 50}
    assert len(commits) <= 3


async def test_what_was_acknowledged_is_there_after_a_kill(
    launcher: Launcher, path: Path, clock: FakeClock
) -> None:
    async with open_store(path, clock) as store:
        await submit(store, *(new_job(number) for number in range(20)))
    script = """
async def main():
    async with open_store(PATH, SystemClock()) as store:
        run = await store.reader.find_run("run")
        for job in await claim(store, run):
            await store.queue.settle(success(job, run))
            say(job.id)
"""

    with child(launcher, path, script) as killed:
        acknowledged = [int(killed.line()) for _ in range(7)]
        killed.kill()

    answered = {job_id for (job_id,) in rows(path, "SELECT job_id FROM result")}
    assert set(acknowledged) <= answered
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


async def test_a_full_disk_is_waited_for_and_nothing_in_hand_is_lost(
    store: Store, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    run = await submit(store, *(new_job(number) for number in range(3)))
    jobs = await claim(store, run)
    kept: list[bool] = []
    attempts: list[Connection] = []
    event.listen(sqlite_of(store)._writer, "rollback", attempts.append)

    async def settle(outcome: Outcome) -> None:
        kept.append(await store.queue.settle(outcome))

    with caplog.at_level(logging.WARNING), store.worker.retrying_commits():
        async with full_disk(store, clock) as tasks:
            for job in jobs:
                tasks.start_soon(settle, success(job, run, answer=answer(0.1, raw=LARGE)))
            await until_in_trouble(store, clock)
            trouble = store.trouble
            for _ in range(20):
                await clock.advance(0.5)
            while_full = len(attempts)

    assert "the disk is full; free some space" in str(trouble)
    assert len(caplog.records) == 1
    # It is tried again once a second, and not in between.
    assert 2 <= while_full <= 11
    assert kept == [True] * 3
    assert store.trouble is None
    assert states(sqlite_of(store).path) == {"succeeded": 3}
    assert await raw_answer(store, jobs[0].id) == LARGE


async def test_a_change_outside_of_a_run_fails_on_a_full_disk_instead_of_waiting_for_ever(
    store: Store, clock: FakeClock
) -> None:
    run = await submit(store, new_job("one"))
    failures: list[StoreError] = []

    async def note() -> None:
        try:
            await store.runs.add_event(run.id, "kind", LARGE.hex())
        except StoreError as error:
            failures.append(error)

    async with full_disk(store, clock) as tasks:
        tasks.start_soon(note)
        await until_in_trouble(store, clock)
        for _ in range(int(PATIENCE_S) + 1):
            await clock.advance(1.0)

    assert "the disk is full; free some space" in str(failures[0])


async def test_who_only_reads_writes_nothing_and_does_not_wait_for_who_does(
    store: Store, path: Path, clock: FakeClock
) -> None:
    run = await submit(store, new_job("one"))
    await claim(store, run)
    before = path.with_name("store.db-wal").read_bytes()

    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        # As if no commit went through.
        holder.execute("BEGIN IMMEDIATE")
        async with open_store(path, clock) as reader:
            totals = await reader.reader.totals(run.id)
            at_work = await store.reader.find_other_workers()

    assert totals.jobs[State.RUNNING] == 1
    assert at_work == []
    assert path.with_name("store.db-wal").read_bytes() == before


async def test_answers_in_hand_are_in_the_side_file_until_they_are_committed(
    store: Store, clock: FakeClock
) -> None:
    run = await submit(store, new_job("one"), new_job("other"))
    one, other = await claim(store, run)
    left: list[Sequence[Outcome]] = []

    async def settle_and_look() -> None:
        await store.queue.settle(success(one, run, answer=answer(0.1, raw=LARGE)))
        left.append(leftovers.read(*spill_files(sqlite_of(store).path)).answers)

    async with full_disk(store, clock) as tasks:
        tasks.start_soon(settle_and_look)
        await until_in_trouble(store, clock)
        tasks.start_soon(store.queue.settle, success(other, run, answer=answer(0.9, raw=b"late")))
        await clock.advance(2.0)
        [path] = spill_files(sqlite_of(store).path)
        kept = leftovers.read(path).answers
        mode = path.stat().st_mode & 0o777

    assert [outcome.answer and outcome.answer.raw for outcome in kept] == [LARGE, b"late"]
    assert mode == 0o600
    # The answer is no longer in the side file when its caller returns.
    assert left == [[]]


async def test_who_leaves_while_the_disk_is_full_is_not_kept_and_the_next_one_takes_in_the_answers(
    path: Path, clock: FakeClock
) -> None:
    kept: list[bool] = []
    async with clock.jumping(), open_store(path, clock) as store:
        run = await submit(store, new_job("answered"), new_job("failed"), new_job("in flight"))
        answered, unlucky, _ = await claim(store, run)
        fill_disk(store)
        began = clock.now()
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:

                async def settle(outcome: Outcome) -> None:
                    try:
                        kept.append(await store.queue.settle(outcome))
                    except StoreError:
                        kept.append(False)

                good = success(answered, run, answer=answer(0.1, 0.9, raw=LARGE))
                tasks.start_soon(settle, good)
                tasks.start_soon(settle, failure(unlucky, run, detail="long " * 10_000))
                while store.trouble is None:
                    await clock.sleep(0.1)
                scope.cancel()
        took = clock.now() - began

    assert sorted(kept) == [False, True]
    assert PATIENCE_S <= took < PATIENCE_S + 5
    assert len(spill_files(path)) == 1

    async with open_store(path, clock) as store:
        assert spill_files(path) == []
        assert states(path) == {"succeeded": 1, "running": 2}
        assert await raw_answer(store, answered.id) == LARGE
        assert count_tests(await store.reader.totals(run.id)) == (1, 1)
        assert await store.worker.reclaim_from_dead(attempts=6) == (2, 0)


async def test_answers_in_hand_outlive_a_kill_while_the_disk_is_full(
    launcher: Launcher, path: Path, clock: FakeClock
) -> None:
    async with open_store(path, clock) as store:
        await submit(store, new_job("one"))
    script = """
from tests.engine.store.sqlite.test_writer import LARGE, fill_disk, spill_files

async def main():
    async with open_store(PATH, SystemClock()) as store, anyio.create_task_group() as tasks:
        run = await store.reader.find_run("run")
        [job] = await claim(store, run)
        fill_disk(store)
        tasks.start_soon(store.queue.settle, success(job, run, answer=answer(0.1, raw=LARGE)))
        clock = SystemClock()
        while not any(file.read_bytes()[:1] == b"{" for file in spill_files(PATH)):
            await clock.sleep(0.01)
        await clock.sleep(0.2)
        say("in trouble")
        await anyio.sleep_forever()
"""

    with child(launcher, path, script) as killed:
        assert killed.line() == "in trouble"
        killed.kill()
    async with open_store(path, clock) as store:
        run = await store.reader.find_run("run")
        assert run is not None
        found = [row async for row in store.reader.job_rows(run)]
        assert await raw_answer(store, found[0].id) == LARGE

    assert states(path) == {"succeeded": 1}
    assert spill_files(path) == []


async def test_a_side_file_of_another_store_changes_nothing_and_is_left_for_that_store(
    path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_store(path, clock) as store:
        run = await submit(store, new_job("one"))
        [job] = await claim(store, run)
        stranger = spill.Spill(path.with_name("store.db.workers"), "somebody else")
        stranger.reserve()
        stranger.keep([success(job, run)])
        stranger.close()

    async with open_store(path, clock):
        pass

    assert states(path) == {"waiting": 1}
    [left] = spill_files(path)
    assert f"{left} holds 1 answer of another store" in caplog.text


async def test_answers_that_were_committed_after_all_are_not_taken_in_twice(
    path: Path, clock: FakeClock
) -> None:
    async with open_store(path, clock) as store:
        run = await submit(store, new_job("one"))
        [job] = await claim(store, run)
        left = spill.Spill(path.with_name("store.db.workers"), store.worker_id)
        left.reserve()
        left.keep([success(job, run, answer=answer(0.1))])
        await store.queue.settle(success(job, run, answer=answer(0.1)))
        content = spill_files(path)[0].read_bytes()
    path.with_name("store.db.workers").joinpath(f"{store.worker_id}.spill").write_bytes(content)

    async with open_store(path, clock) as store:
        totals = await store.reader.totals(run.id)

    assert count_tests(totals) == (0, 1)
    assert spill_files(path) == []


async def test_the_side_file_is_kept_while_any_answer_is_in_it_alone(
    store: Store, tmp_path: Path
) -> None:
    run = await submit(store, new_job("one"), new_job("other"))
    one, other = [success(job, run) for job in await claim(store, run)]
    side_file = spill.Spill(tmp_path, "worker")
    side_file.reserve()
    side_file.keep([one, other])

    side_file.forget([one])
    kept = leftovers.read(tmp_path / "worker.spill").answers
    side_file.forget([other])

    assert other in kept
    assert leftovers.read(tmp_path / "worker.spill").answers == []
    side_file.close()


def test_a_line_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "worker.spill"
    path.write_bytes(b'{"job_id": 1, "raw": "unfini')

    assert leftovers.read(path).answers == []


async def test_a_working_store_leaves_no_side_file(path: Path, clock: FakeClock) -> None:
    async with open_store(path, clock) as store:
        run = await submit(store, new_job("one"))
        [job] = await claim(store, run)
        await store.queue.settle(success(job, run))
        [reserve] = spill_files(path)
        assert reserve.stat().st_size == spill.RESERVE_BYTES

    assert spill_files(path) == []
