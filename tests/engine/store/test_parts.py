"""What is changed of many jobs at once: in parts, each a transaction, which others can come between."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import anyio

from engine.core.runs import RunState, StopReason
from engine.core.states import State
from engine.store import Store
from engine.store.queries.parts import PART
from engine.testing import FakeClock
from tests.engine.store.databases import Scratch
from tests.engine.store.scenes import begin, new_job, submit
from tests.patience import PAUSE_S

MANY = PART + 5


async def test_an_edit_that_removes_many_jobs_does_so_in_parts_and_is_whole_only_then(
    store: Store, scratch: Scratch
) -> None:
    jobs = [new_job(number, place=number) for number in range(MANY)]
    run = await submit(store, *jobs)
    edited = await begin(store, run.name, "edited")
    await store.matrix.add_jobs(edited, jobs[:1], reuse=False)

    await cut_short(scratch, partial(store.matrix.finish_expansion, edited))
    half, row = scratch.states(), await store.reader.find_run(run.name)
    with store.matrix.expanding(edited):
        await store.matrix.add_jobs(edited, jobs[:1], reuse=False)
        removed = await store.matrix.finish_expansion(edited)
    whole = await store.reader.find_run(run.name)

    assert half == {"pending": 5, "cancelled": PART}
    assert removed == 4
    assert row is not None
    assert whole is not None
    assert (row.is_expanded, whole.is_expanded) == (False, True)
    assert scratch.states() == {"pending": 1, "cancelled": MANY - 1}


async def cut_short(scratch: Scratch, change: Callable[[], Coroutine[Any, Any, int]]) -> None:
    """Begin a change, and stop it as Ctrl-C does while it makes room after its first part, as the clock stands still."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(change)
        while not scratch.states().get("cancelled"):  # noqa: ASYNC110 - a commit sets no event
            await anyio.sleep(PAUSE_S)
        tasks.cancel_scope.cancel()


async def test_what_is_cut_short_ends_after_a_part_and_is_completed_by_doing_it_again(
    store: Store, clock: FakeClock, scratch: Scratch
) -> None:
    run = await submit(store, *(new_job(number) for number in range(MANY)))

    await cut_short(scratch, partial(store.queue.cancel, run.id))
    half = scratch.states()
    async with clock.jumping():
        cancelled = await store.queue.cancel(run.id)
    async with anyio.create_task_group() as tasks:

        def stop_after_first_part(done: int, _total: int | None) -> None:
            if done:
                tasks.cancel_scope.cancel()

        await store.queue.requeue(run.id, [State.CANCELLED], stop_after_first_part)
    found_row = await store.reader.find_run(run.name)
    async with clock.jumping():
        back = await store.queue.requeue(run.id, [State.CANCELLED])
    whole = await store.reader.find_run(run.name)

    assert half == {"cancelled": PART, "pending": 5}
    assert (cancelled, back) == (5, 5)
    assert found_row is not None
    assert whole is not None
    assert (found_row.state, found_row.reason) == (RunState.ACTIVE, StopReason.INTERRUPTED)
    assert "not all jobs are requeued yet" in found_row.message
    assert (whole.state, whole.reason, whole.message) == (RunState.ACTIVE, None, "")
