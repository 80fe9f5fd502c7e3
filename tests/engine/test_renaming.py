"""Renaming runs through the Python API."""

from pathlib import Path

import pytest

from engine import Engine, RunState, UsageError
from engine.kinds import Allotment
from engine.testing import FakeClock, ScriptedService
from tests.engine.scenes import NOW, events, finished, good, opened, sweep


async def names(engine: Engine) -> set[str]:
    return {run.name for run in await engine.runs()}


async def test_a_run_keeps_everything_but_its_name(tmp_path: Path) -> None:
    service = ScriptedService(good)
    async with opened(tmp_path / "store.db", service) as engine:
        await finished(engine, sweep(service, models=["a", "b"]))

        renamed = await engine.rename("scripted", "evening")

        assert (renamed.name, renamed.sweep.name) == ("evening", "evening")
        assert await names(engine) == {"evening"}
        assert (await (await engine.run("evening")).status()).cells_done == 2
        assert [message for _, _, message in await events(renamed)] == [
            "scripted was renamed to evening"
        ]
        with pytest.raises(UsageError, match="has no run 'scripted'"):
            await engine.run("scripted")
        await finished(engine, sweep(service, models=["a", "b", "c"], name="evening"))
    assert len(service.recording.started) == 3


async def test_what_a_run_has_used_of_its_own_limits_follows_it(tmp_path: Path) -> None:
    service = ScriptedService(good, allotment=Allotment(used=0, allotted=1_000))
    limits = {"requests": 3, "quota": {"tests": 100}}
    async with opened(tmp_path / "store.db", service, FakeClock(NOW)) as engine:
        await finished(engine, sweep(service, models=["a", "b"], limits=limits))

        run = await engine.rename("scripted", "evening")
        more = sweep(service, models=["a", "b", "c", "d"], limits=limits, name="evening")
        _, status = await finished(engine, more)

        assert status.cells_done == 3
        assert status.state is not RunState.FINISHED
        assert {quota.name for quota in (await run.status()).quotas} >= {
            "run evening",
            "requests of evening",
        }


async def test_a_sweep_of_the_old_name_is_a_run_of_its_own_and_reuses_the_answers(
    tmp_path: Path,
) -> None:
    service = ScriptedService(good)
    async with opened(tmp_path / "store.db", service) as engine:
        await finished(engine, sweep(service))
        await engine.rename("scripted", "evening")

        _, status = await finished(engine, sweep(service))

        assert status.cells_done == 1
        assert await names(engine) == {"scripted", "evening"}
    assert len(service.recording.started) == 1


async def test_a_run_that_a_process_works_on_is_not_renamed(tmp_path: Path) -> None:
    service = ScriptedService(good)
    async with (
        opened(tmp_path / "store.db", service) as engine,
        opened(tmp_path / "store.db", service) as other,
    ):
        run = await engine.submit(sweep(service))

        with pytest.raises(UsageError, match="is active, and a process works on the store"):
            await other.rename("scripted", "evening")
        await run.execute()
        await other.rename("scripted", "evening")

        for call in (run.status, run.execute):
            with pytest.raises(UsageError, match="'scripted' was deleted or renamed"):
                await call()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("scripted", "other", "a run 'other' exists already"),
        ("scripted", "scripted", "is called 'scripted' already"),
        ("scripted", "a/b", "the name 'a/b' is used in names of files"),
        ("scripted", " ", "the name ' ' has no visible characters"),
        ("scriptde", "evening", "has no run 'scriptde'; did you mean"),
    ],
)
async def test_a_name_that_cannot_be_given_is_refused(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    service = ScriptedService(good)
    async with opened(tmp_path / "store.db", service) as engine:
        await finished(engine, sweep(service))
        await finished(engine, sweep(service, name="other"))

        with pytest.raises(UsageError, match=problem):
            await engine.rename(old, new)

        assert await names(engine) == {"scripted", "other"}
