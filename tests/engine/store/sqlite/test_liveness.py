import os
import signal
from pathlib import Path

import anyio

from engine.core.states import AttemptOutcome
from engine.store import RunRow, Store, open_store
from engine.store.sqlite.liveness import LEASE_S, OBSERVATION_MAX_S, FileLiveness, WorkerLock
from engine.testing import FakeClock
from tests.engine.store.processes import child
from tests.engine.store.scenes import (
    NOW,
    claim,
    failure,
    later_retry,
    new_job,
    rows,
    sqlite_of,
    states,
    submit,
    success,
)
from tests.launcher.processes import Launcher

CLAIM_AND_HANG = """
async def main():
    async with open_store(PATH, FakeClock(NOW)) as store:
        run = await store.reader.find_run("run")
        jobs = await claim(store, run, 2, now=NOW)
        say("claimed", *(job.id for job in jobs))
        await anyio.to_thread.run_sync(sys.stdin.readline)
        for job in jobs:
            say(await store.queue.settle(success(job, run)))
"""


async def observe(store: Store, clock: FakeClock, seconds: float) -> list[tuple[int, int]]:
    """Look for dead workers every few seconds, as a scheduler does."""
    found = []
    end = clock.now() + seconds
    while clock.now() < end:
        await clock.advance(OBSERVATION_MAX_S / 2)
        found.append(await store.worker.reclaim_from_dead(attempts=6))
    return found


async def test_a_killed_process_loses_its_jobs_at_once(launcher: Launcher, store: Store) -> None:
    await submit(store, *(new_job(number) for number in range(3)))
    with child(launcher, sqlite_of(store).path, CLAIM_AND_HANG) as dead:
        assert dead.line().startswith("claimed")
        assert await store.worker.reclaim_from_dead(attempts=6) == (0, 0)
        dead.kill()

        assert await store.worker.reclaim_from_dead(attempts=6) == (2, 0)

    assert states(sqlite_of(store).path) == {"pending": 3}
    assert (
        rows(sqlite_of(store).path, "SELECT outcome, error FROM attempt")
        == [("lost", "the process that was working on it died")] * 2
    )
    assert rows(sqlite_of(store).path, "SELECT attempts FROM job ORDER BY id") == [(1,), (1,), (0,)]


async def test_the_jobs_of_a_live_process_are_never_taken(
    store: Store, path: Path, clock: FakeClock
) -> None:
    run = await submit(store, new_job("one"))
    async with open_store(path, clock) as other:
        [job] = await claim(other, run)

        for _ in range(5):
            await clock.advance(LEASE_S / 2)
            await other.worker.record_heartbeat()
            assert await store.worker.reclaim_from_dead(attempts=6) == (0, 0)

        assert await other.queue.settle(success(job, run))


async def test_a_worker_whose_heartbeat_stands_still_is_given_up(
    store: Store, path: Path, clock: FakeClock
) -> None:
    run = await submit(store, new_job("one"))
    async with open_store(path, clock) as hung:
        [job] = await claim(hung, run)

        early = await observe(store, clock, LEASE_S)
        late = await observe(store, clock, OBSERVATION_MAX_S)

        assert set(early) == {(0, 0)}
        assert (1, 0) in late
        # It comes back to life: what it still holds changes nothing, but its answer is kept.
        assert not await hung.queue.settle(failure(job, run))
        assert await hung.queue.settle(success(job, run))


async def test_an_observer_that_was_stopped_itself_does_not_blame_others(
    store: Store, path: Path, clock: FakeClock
) -> None:
    run = await submit(store, new_job("one"))
    async with open_store(path, clock) as other:
        await claim(other, run)
        await store.worker.reclaim_from_dead(attempts=6)

        await clock.advance(10 * LEASE_S)

        assert await store.worker.reclaim_from_dead(attempts=6) == (0, 0)


async def test_a_worker_that_came_back_to_life_is_watched_again(
    store: Store, path: Path, clock: FakeClock
) -> None:
    run = await submit(store, new_job("one"))
    async with open_store(path, clock) as hung:
        await observe(store, clock, LEASE_S + OBSERVATION_MAX_S)
        assert await store.reader.find_other_workers() == []

        await claim(hung, run)
        holding = await store.reader.find_other_workers()
        await hung.worker.record_heartbeat()

        assert [worker_id for worker_id, _ in holding] == [hung.worker_id]
        assert [worker_id for worker_id, _ in await store.reader.find_other_workers()] == [
            hung.worker_id
        ]


async def test_what_a_worker_claims_after_it_was_given_up_is_its_own(
    store: Store, path: Path, clock: FakeClock
) -> None:
    run = await submit(store, new_job("one"))
    async with open_store(path, clock) as hung, open_store(path, clock) as other:
        await hung.worker.record_heartbeat()
        for _ in range(int(LEASE_S / OBSERVATION_MAX_S) + 2):
            await clock.advance(OBSERVATION_MAX_S)
            for observer in (other, store):
                await observer.worker.record_heartbeat()
                await observer.worker.reclaim_from_dead(attempts=6)
        assert rows(path, "SELECT count(*) FROM worker WHERE ended_at IS NOT NULL") == [(1,)]

        # It comes back to life, and works before its heart beats again.
        await claim(hung, run)
        await clock.advance(OBSERVATION_MAX_S)

        assert await other.worker.reclaim_from_dead(attempts=6) == (0, 0)
        assert await store.worker.reclaim_from_dead(attempts=6) == (0, 0)
        assert states(path) == {"running": 1}


async def test_a_worker_that_comes_back_to_life_while_it_is_being_given_up_keeps_its_jobs(
    store: Store, path: Path, clock: FakeClock
) -> None:
    run = await submit(store, new_job("one"))
    async with open_store(path, clock) as hung:
        await claim(hung, run)
        [(worker_id, heartbeat_at)] = await store.reader.find_other_workers()
        await clock.advance(1.0)

        await hung.worker.record_heartbeat()
        bury = store.worker._bury(worker_id, heartbeat_at, attempts=6, run_id=None)

        assert await store.worker.writer.write(bury) is None
        assert states(path) == {"running": 1}


async def test_a_stopped_process_changes_nothing_after_it_was_given_up_but_its_answers_are_kept(
    launcher: Launcher, store: Store, clock: FakeClock
) -> None:
    run = await submit(store, new_job("one"), new_job("other"))
    with child(launcher, sqlite_of(store).path, CLAIM_AND_HANG) as stopped:
        assert stopped.line().startswith("claimed")
        os.kill(stopped.pid, signal.SIGSTOP)
        found = await observe(store, clock, LEASE_S + OBSERVATION_MAX_S)
        again, _ = await claim(store, run)
        assert await store.queue.settle(success(again, run))

        os.kill(stopped.pid, signal.SIGCONT)
        stopped.go_on()

        assert (2, 0) in found
        assert [stopped.line(), stopped.line()] == ["False", "True"]
    assert states(sqlite_of(store).path) == {"succeeded": 2}
    assert rows(sqlite_of(store).path, "SELECT count(*) FROM result") == [(2,)]


async def test_a_job_that_kills_its_process_each_time_fails_after_its_attempts(
    launcher: Launcher,
    store: Store,
) -> None:
    run = await submit(store, new_job("poison"))
    taken = []
    for _ in range(2):
        with child(launcher, sqlite_of(store).path, CLAIM_AND_HANG) as dead:
            assert dead.line().startswith("claimed")
            dead.kill()
        taken.append(await store.worker.reclaim_from_dead(attempts=2))

    assert taken == [(1, 0), (0, 1)]
    assert states(sqlite_of(store).path) == {"failed": 1}
    assert not await store.reader.has_open_jobs(run.id)


async def test_another_runs_limit_of_attempts_fails_no_job(
    launcher: Launcher, store: Store
) -> None:
    run = await submit(store, new_job("one"))
    strict = await submit(store, new_job("other"), name="strict")
    with child(launcher, sqlite_of(store).path, CLAIM_AND_HANG) as dead:
        assert dead.line().startswith("claimed")
        dead.kill()

    assert await store.worker.reclaim_from_dead(attempts=1, run_id=strict.id) == (1, 0)

    assert await store.reader.queues(run.id) == {"model": ("group",)}


async def test_cancelling_a_run_takes_what_dead_processes_held(
    launcher: Launcher, store: Store
) -> None:
    run = await submit(store, new_job("one"))
    with child(launcher, sqlite_of(store).path, CLAIM_AND_HANG) as dead:
        assert dead.line().startswith("claimed")
        dead.kill()

    assert await store.queue.cancel(run.id) == 1

    assert states(sqlite_of(store).path) == {"cancelled": 1}


async def test_a_retry_may_be_reclaimed_while_it_waits(store: Store) -> None:
    run = await submit(store, new_job("one"))
    [job] = await claim(store, run)
    await store.queue.settle(later_retry(job, run, due_at=NOW + 60))

    assert await store.worker.reclaim_from_dead(attempts=6) == (0, 0)

    assert states(sqlite_of(store).path) == {"waiting": 1}


async def test_every_opening_is_a_worker_of_its_own(path: Path, clock: FakeClock) -> None:
    ids = set()
    for _ in range(3):
        async with open_store(path, clock) as store:
            ids.add(store.worker_id)

    assert len(ids) == 3


def test_a_lock_that_was_released_is_free_and_one_that_is_gone_proves_nothing(
    tmp_path: Path,
) -> None:
    lock = WorkerLock(tmp_path)
    observer = FileLiveness(tmp_path, "observer")

    held = observer.is_dead(lock.id, NOW, NOW)
    lock.release()
    gone = observer.is_dead(lock.id, NOW, NOW)
    (tmp_path / f"{lock.id}.lock").touch()
    free = observer.is_dead(lock.id, NOW, NOW)
    observer.forget(lock.id)

    assert (held, gone, free) == (False, False, True)
    assert list(tmp_path.iterdir()) == []


async def test_a_cancelled_opening_still_says_goodbye(path: Path, clock: FakeClock) -> None:
    run: RunRow | None = None
    with anyio.CancelScope() as scope:
        async with open_store(path, clock) as store:
            run = await submit(store, new_job("one"))
            [job] = await claim(store, run)
            scope.cancel()
            # A cancelled process still settles answers, which were paid for.
            assert await store.queue.settle(success(job, run))

    assert run is not None
    assert states(path) == {"succeeded": 1}
    assert rows(path, "SELECT count(*) FROM worker WHERE ended_at IS NULL") == [(0,)]
    assert rows(path, "SELECT outcome FROM attempt") == [(AttemptOutcome.SUCCEEDED,)]
