"""Taking part in a run: what `Run.join` and the workers of a store leave alone, and when they try again."""

from pathlib import Path

import anyio
import pytest

from engine import RunState, UsageError
from engine.cluster.work import AGAIN_S, RunWorker
from engine.core.status import Status
from engine.kinds import Allotment
from engine.session import Run
from engine.settings import Settings
from engine.testing import FakeClock, Memory, ScriptedService
from tests.engine.scenes import NOW, good, opened, sweep


class Listener:
    """Keeps what a worker tells."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.has_left = anyio.Event()

    def joined(self, run: Run) -> None:
        self.lines.append(f"joined {run.name}")

    def left(self, status: Status) -> None:
        self.lines.append(f"left {status.run}: {status.reason or status.state}")
        self.has_left.set()

    def lacks(self, name: str, why: str) -> None:
        self.lines.append(f"lacks {name}: {why}")


@pytest.mark.parametrize("state", [RunState.PAUSED, RunState.CANCELLED])
async def test_joining_a_run_that_is_not_active_leaves_it_as_it_is(
    tmp_path: Path, state: RunState
) -> None:
    service = ScriptedService(good)
    async with opened(tmp_path / "store.db", service) as engine:
        run = await engine.submit(sweep(service, models=["a"]))
        await (run.pause() if state is RunState.PAUSED else run.cancel())

        status = await run.join()

        assert (status.state, service.recording.started) == (state, [])
        assert (await run.execute()).state is RunState.FINISHED


async def test_no_less_than_one_job_in_flight_can_be_asked_for(tmp_path: Path) -> None:
    service = ScriptedService(good)
    async with opened(tmp_path / "store.db", service) as engine:
        run = await engine.submit(sweep(service, models=["a"]))

        with pytest.raises(UsageError, match="at least 1"):
            await run.join(max_in_flight=0)


async def test_a_worker_takes_part_in_all_active_runs_at_once_and_ends(tmp_path: Path) -> None:
    service, listener = ScriptedService(good), Listener()
    async with opened(tmp_path / "store.db", service) as engine:
        for name in ("one", "two"):
            await engine.submit(sweep(service, models=[name], name=name))

        await RunWorker(engine, listener).work()

        assert [run.state for run in await engine.runs()] == [RunState.FINISHED] * 2
    assert listener.lines[:2] == ["joined one", "joined two"]
    assert sorted(listener.lines[2:]) == ["left one: finished", "left two: finished"]


async def test_a_worker_that_stays_asks_for_used_up_quota_once_a_minute_at_most() -> None:
    service = ScriptedService(good, allotment=Allotment(used=1_000, allotted=1_000))
    clock, listener = FakeClock(NOW), Listener()
    async with (
        opened(Memory(), service, clock, settings=Settings(poll_s=20.0)) as engine,
        clock.jumping(),
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(sweep(service, models=["a"]))
        worker = RunWorker(engine, listener, stays=True)
        tasks.start_soon(worker.work)
        await listener.has_left.wait()

        await clock.sleep(10 * AGAIN_S)
        assert listener.lines == ["joined scripted", "left scripted: quota"]
        # Resumed by another process: it goes on there as well.
        await run.unpause()
        await clock.sleep(2 * AGAIN_S)
        worker.stop()

    assert listener.lines == ["joined scripted", "left scripted: quota"] * 2
