"""Deleting runs and pruning a store through the Python API."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio
import pytest

from engine import RunState, UsageError
from engine.store import parts
from engine.testing import scripted_service
from tests.engine.scenes import finished, good, opened, sweep


async def test_a_deleted_run_is_gone_and_its_name_is_free(tmp_path: Path) -> None:
    service = scripted_service(good)
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
    service = scripted_service(good)
    async with opened(tmp_path / "store.db", service) as engine:
        wanted = sweep(service, models=["a", "b", "c"])
        run, _ = await finished(engine, wanted)
        with anyio.CancelScope() as scope:
            await engine.delete("scripted", told=lambda _: scope.cancel())

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


async def test_a_run_that_somebody_else_may_work_on_is_not_deleted(tmp_path: Path) -> None:
    service = scripted_service(good)
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


async def test_a_run_that_nobody_works_on_any_more_is_deleted_whatever_its_state(
    tmp_path: Path,
) -> None:
    service = scripted_service(good)
    async with opened(tmp_path / "store.db", service) as engine:
        await engine.submit(sweep(service))
    async with opened(tmp_path / "store.db", service) as engine:
        assert (await engine.delete("scripted")).answers == 0
