"""Deleting runs and pruning a store through the Python API."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio
import pytest

from engine import Engine, RunState, UsageError
from engine.store.queries import job_rows, parts
from engine.testing import FakeClock, ScriptedService
from tests.engine.scenes import finished, good, opened, sweep


async def test_a_deleted_run_is_gone_and_its_name_is_free(tmp_path: Path) -> None:
    service = ScriptedService(good)
    async with opened(tmp_path / "store.db", service) as engine:
        await finished(engine, sweep(service, models=["a", "b"]))

        deleted = await engine.delete("scripted")
        pruned = await engine.prune()

        assert (deleted.run, deleted.jobs, deleted.answers) == ("scripted", 2, 2)
        assert pruned.compacted
        assert await engine.runs() == []
        with pytest.raises(UsageError, match="has no run 'scripted'"):
            await engine.delete("scripted")
        _, status = await finished(engine, sweep(service, models=["a"]))
        assert status.cells_done == 1
    assert len(service.recording.started) == 3


async def test_a_run_whose_deletion_was_cut_short_is_no_run_any_more_and_pruning_completes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART", 1)
    service = ScriptedService(good)
    async with opened(tmp_path / "store.db", service) as engine:
        wanted = sweep(service, models=["a", "b", "c"])
        run, _ = await finished(engine, wanted)
        with anyio.CancelScope() as scope:
            await engine.delete("scripted", on_progress=lambda _: scope.cancel())

        [left] = await engine.runs()
        refused: list[Callable[[], Awaitable[object]]] = [
            partial(engine.run, "scripted"),
            engine.run,
            partial(engine.submit, wanted),
            partial(engine.rename, "scripted", "other"),
            run.status,
            run.execute,
            run.pause,
            run.cancel,
            run.retry,
        ]
        for call in refused:
            with pytest.raises(UsageError, match="is being deleted, and a part of it is gone"):
                await call()
        pruned = await engine.prune()

        assert (left.state, sum(left.jobs.values())) == (RunState.DELETING, 2)
        assert [(one.run, one.jobs) for one in pruned.deleted] == [("scripted", 2)]
        assert await engine.runs() == []
    assert len(service.recording.started) == 3


async def test_a_run_that_another_process_may_work_on_is_not_deleted(tmp_path: Path) -> None:
    service = ScriptedService(good)
    async with (
        opened(tmp_path / "store.db", service) as engine,
        opened(tmp_path / "store.db", service) as other,
    ):
        run = await engine.submit(sweep(service))

        with pytest.raises(UsageError, match="is active, and a process works on the store"):
            await other.delete("scripted")
        await run.execute()
        assert (await run.status()).state is RunState.FINISHED
        await other.delete("scripted")

        for call in (run.status, run.execute):
            with pytest.raises(UsageError, match="the run 'scripted' was deleted"):
                await call()


async def test_a_run_without_a_process_is_deleted_whatever_its_state(
    tmp_path: Path,
) -> None:
    service = ScriptedService(good)
    async with opened(tmp_path / "store.db", service) as engine:
        await engine.submit(sweep(service))
    async with opened(tmp_path / "store.db", service) as engine:
        assert (await engine.delete("scripted")).answers == 0


async def delete_half(engine: Engine) -> None:
    """Begin to delete the run, and stop after the first part, as Ctrl-C does."""
    with anyio.CancelScope() as scope:
        await engine.delete("scripted", on_progress=lambda _: scope.cancel())


async def delete_whole(engine: Engine) -> None:
    await engine.delete("scripted")


@pytest.mark.parametrize("delete", [delete_half, delete_whole])
async def test_a_process_that_works_on_a_run_ends_once_another_has_cancelled_and_deleted_it(
    delete: Callable[[Engine], Awaitable[None]],
    tmp_path: Path,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parts, "PART", 1)
    service = ScriptedService(good)
    async with (
        opened(tmp_path / "store.db", service, clock) as engine,
        opened(tmp_path / "store.db", service, clock) as other,
        clock.jumping(),
    ):
        run = await engine.submit(sweep(service, repeats=5, limits={"rate_per_min": 1}))

        async def change() -> None:
            while not service.recording.started:
                await clock.sleep(0.1)
            # Between two looks of the first one at the store.
            await clock.sleep(5.3)
            await (await other.run("scripted")).cancel()
            await delete(other)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(change)
            with pytest.raises(UsageError, match=r"the run 'scripted' (is being|was) deleted"):
                await run.execute()
    assert len(service.recording.started) == 1


@pytest.mark.parametrize("delete", [delete_half, delete_whole])
async def test_reading_the_rows_of_a_run_that_is_deleted_meanwhile_says_so(
    delete: Callable[[Engine], Awaitable[None]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parts, "PART", 1)
    monkeypatch.setattr(job_rows, "_PAGE", 1)
    service = ScriptedService(good)
    async with opened(tmp_path / "store.db", service) as engine:
        run, _ = await finished(engine, sweep(service, models=["a", "b", "c"]))
        rows = run.rows()
        await anext(rows)

        await delete(engine)

        with pytest.raises(UsageError, match=r"the run 'scripted' (is being|was) deleted"):
            [_ async for _ in rows]


async def test_who_deletes_a_run_that_another_deletes_at_the_same_time_finds_it_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART", 1)
    service = ScriptedService(good)
    async with (
        opened(tmp_path / "store.db", service) as engine,
        opened(tmp_path / "store.db", service) as other,
    ):
        await finished(engine, sweep(service, models=["a", "b", "c", "d"]))
        is_begun = anyio.Event()

        async def prune() -> None:
            await is_begun.wait()
            found.append(sum(one.jobs for one in (await other.prune()).deleted))

        found: list[int] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(prune)
            deleted = await engine.delete("scripted", on_progress=lambda _: is_begun.set())

        assert sum(found) + deleted.jobs == 4
        assert await engine.runs() == []
