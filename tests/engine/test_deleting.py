"""Deleting runs and pruning a store through the Python API."""

from pathlib import Path

import pytest

from engine import RunState, UsageError
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
