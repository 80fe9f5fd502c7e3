"""How many rows SQLite writes in each part of a change."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from engine.core.runs import RunState
from engine.core.states import State
from engine.store import RunRow, Store
from engine.store.queries.parts import PART
from engine.testing import FakeClock, ScriptedService
from tests.engine.scenes import good, opened, sweep
from tests.engine.store.databases import Scratch
from tests.engine.store.scenes import begin, new_job, sqlite_of, submit
from tests.engine.store.test_parts import MANY, cut_short


@pytest.fixture
def written(store: Store) -> Iterator[list[int]]:
    """Yield the numbers of rows that each transaction of the block writes.

    With each job these are the kept counts of its kind, and of its cells: two if it is new, two or four if it
    changes its state.
    """
    counts: list[int] = []
    before = 0

    def began(connection: Any) -> None:
        nonlocal before
        before = connection.connection.driver_connection.total_changes

    def on_commit(connection: Any) -> None:
        counts.append(connection.connection.driver_connection.total_changes - before)

    database = sqlite_of(store)._writer
    event.listen(database, "begin", began)
    event.listen(database, "commit", on_commit)
    yield counts
    event.remove(database, "begin", began)
    event.remove(database, "commit", on_commit)


async def test_many_jobs_are_cancelled_and_put_back_in_parts(
    store: Store, clock: FakeClock, written: list[int]
) -> None:
    run = await submit(store, *(new_job(number) for number in range(MANY)))
    await store.runs.set_state(run.id, RunState.CANCELLED)
    written.clear()

    async with clock.jumping():
        cancelled = await store.queue.cancel(run.id)
        by_cancel = list(written)
        back = await store.queue.requeue(run.id, [State.CANCELLED])

    assert (cancelled, back) == (MANY, MANY)
    assert by_cancel == [5 * PART, 5 * 5]
    # With each part the run itself, and before the first and after the last.
    assert written[2:] == [1, 5 * PART + 1, 5 * 5 + 1, 1]


async def test_an_expansion_that_is_done_again_writes_no_job_that_is_there(
    store: Store, written: list[int]
) -> None:
    jobs = [new_job(number, place=number) for number in range(50)]
    run = await submit(store, *jobs)
    edited = await begin(store, run.name, "edited")
    await store.matrix.add_jobs(edited, jobs[:30], reuse=False)
    written.clear()

    await store.matrix.add_jobs(edited, jobs[:30], reuse=False)
    await store.matrix.add_jobs(edited, [*jobs[:30], new_job("new", place=29)], reuse=False)

    assert written == [0, 3]


async def test_an_edit_writes_what_is_new_and_what_is_gone_and_no_other_job(
    store: Store, written: list[int], scratch: Scratch
) -> None:
    jobs = [new_job(number, place=number) for number in range(50)]
    run = await submit(store, *jobs)
    longer = await begin(store, run.name, "longer")
    written.clear()

    await store.matrix.add_jobs(longer, [*jobs, new_job("new", place=99)], reuse=False)
    await store.matrix.finish_expansion(longer)
    shorter = await begin(store, run.name, "shorter")
    await store.matrix.add_jobs(shorter, jobs[:49], reuse=False)
    removed = await store.matrix.finish_expansion(shorter)

    # One new job, the run; the run, nothing, two jobs cancelled and past, the run.
    assert written == [3, 1, 1, 0, 18, 1]
    assert removed == 2
    assert scratch.states() == {"pending": 49, "cancelled": 2}


@pytest.mark.parametrize("is_executed", [True, False])
async def test_a_run_whose_cancelling_was_cut_short_says_so_and_sends_nothing_more(
    path: Path, clock: FakeClock, scratch: Scratch, is_executed: bool
) -> None:
    service = ScriptedService(good)
    async with opened(path, service, clock) as engine:
        submitted = await engine.submit(sweep(service))
        found = await engine.store.reader.find_run(submitted.name)
        assert found is not None
        await submit_to(engine.store, found, MANY)
        run = await engine.run()

        await cut_short(scratch, run.cancel)
        half = await run.status()
        async with clock.jumping():
            await (run.execute() if is_executed else run.unpause())
        whole = await run.status()

    assert (half.state, half.jobs["pending"]) == (RunState.CANCELLED, 5)
    assert "not all of its jobs are cancelled yet" in half.message
    assert (whole.state, whole.jobs["pending"]) == (RunState.CANCELLED, 0)
    assert whole.message.startswith("cancelled;")
    assert not service.recording.started


async def submit_to(store: Store, run: RunRow, count: int) -> None:
    await store.matrix.add_jobs(run, [new_job(number) for number in range(count)], reuse=False)
    await store.matrix.finish_expansion(run)
