"""A run is read where its service is not installed: its rows are all that is needed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import Engine, open_engine
from engine.core.inspection import JobFilter
from engine.kinds import Allotment, Answer, Job, Permanent, UsageError
from engine.registry import Registry
from engine.testing import ScriptedService
from tests.engine.scenes import finished, good, opened, sweep

PROMPTS = [{"name": "bare", "text": "You are a helpful assistant."}, {"name": "none", "text": "-"}]


def mostly_good(job: Job) -> Answer | Exception:
    return Permanent("HTTP 404", status=404) if job.labels["model"] == "bad" else good(job)


async def read(engine: Engine) -> dict[str, Any]:
    """All that can be read of a run, but for what depends on the time."""
    run = await engine.run()
    jobs = [job async for job in run.jobs(JobFilter(where={"prompt": "bare"}))]
    return {
        "status": replace(await run.status(), at=0.0, requests_per_min=None),
        "columns": (await run.sheet()).columns,
        "rows": [row async for row in run.rows()],
        "jobs": jobs,
        "details": [await run.job(job.id) for job in jobs],
        "events": [event async for event in run.all_events()],
        "runs": await engine.runs(),
    }


async def test_a_store_is_read_whole_without_the_service_of_its_run(tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    service = ScriptedService(mostly_good, allotment=Allotment(used=3, allotted=1_000))
    of = sweep(
        service,
        models=["a", "bad"],
        matrix={"prompts": PROMPTS, "thresholds": [0.1, 0.3, 0.5]},
        exclude=[{"thresholds": 0.5}],
        limits={"rate_per_min": 6_000},
    )
    async with opened(store, service) as engine:
        await finished(engine, of)
    async with opened(store, service) as engine:
        whole = await read(engine)

    async with open_engine(store, registry=Registry(), read_only=True) as engine:
        without = await read(engine)

    assert without == whole
    assert whole["status"].threshold == 0.3
    assert [one.allotted for one in whole["status"].quotas] == [1_000]


async def test_a_run_without_its_service_is_controlled_and_says_what_is_missing_to_execute_it(
    tmp_path: Path,
) -> None:
    store, service = tmp_path / "store.db", ScriptedService(good)
    async with opened(store, service) as engine:
        await engine.submit(sweep(service))

    async with open_engine(store, registry=Registry()) as engine:
        run = await engine.run()
        with pytest.raises(UsageError) as caught:
            await run.execute()
        with pytest.raises(UsageError, match="can be read here, but not executed"):
            await run.accept()
        await run.pause()
        status = await run.status()

    assert str(caught.value) == (
        "the run 'scripted' can be read here, but not executed: there is no service 'scripted'; there are none;"
        " it was submitted with engine.testing.scripted.ScriptedService: install the package that has it, in the"
        " same version"
    )
    assert (status.state, status.unattended) == ("paused", True)


async def test_a_finished_run_is_read_without_looking_its_service_up(tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    service = ScriptedService(good, allotment=Allotment(used=3, allotted=1_000))
    async with opened(store, service) as engine:
        await finished(engine, sweep(service, matrix={"prompts": PROMPTS}))
    looked_up: list[ScriptedService] = []

    class Counted(ScriptedService):
        def __init__(self) -> None:
            looked_up.append(self)
            super().__init__(good)

    async with open_engine(store, registry=Registry(services={"scripted": Counted})) as engine:
        await read(engine)
        at_reading = len(looked_up)
        await (await engine.run()).execute()

    assert (at_reading, len(looked_up)) == (0, 1)
