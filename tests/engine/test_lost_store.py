"""A store that vanishes under a run that is executed from Python."""

from pathlib import Path

import anyio

from engine import StoreLost
from engine.testing import FakeClock, ScriptedService
from tests.engine.scenes import good, opened, starts, sweep

NOTICED_S = 2.0
TAKES_S = 5.0


async def test_executing_raises_that_the_store_was_lost_and_the_next_start_has_what_was_in_hand(
    tmp_path: Path, clock: FakeClock
) -> None:
    store, moved = tmp_path / "store.db", tmp_path / "moved.db"
    service = ScriptedService(good, takes_s=TAKES_S)
    of = sweep(service, repeats=10, limits={"max_in_flight": 2})
    raised: list[StoreLost] = []
    ended_at: list[float] = []

    async with opened(store, service, clock) as engine:
        run = await engine.submit(of)

        async def execute() -> None:
            try:
                await run.execute()
            except StoreLost as error:
                raised.append(error)
                ended_at.append(clock.now())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(execute)
            await clock.advance(TAKES_S + 1.0)
            store.rename(moved)
            lost_at = clock.now()
            sent = len(service.recording.started)
            async with clock.jumping():
                while not raised:
                    await clock.sleep(0.1)

    assert f"it is at {moved} now: move it back" in str(raised[0])
    assert "2 answers in hand are kept in" in str(raised[0])
    assert len(service.recording.started) == sent
    assert ended_at[0] <= lost_at + TAKES_S + NOTICED_S

    moved.rename(store)
    async with opened(store, service, clock) as engine:
        run = await engine.submit(of)
        async with clock.jumping():
            status = await run.execute()

    assert status.cells_done == status.cells
    assert len(starts(service)) == 10
