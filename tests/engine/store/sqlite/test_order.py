"""The order of jobs: the plans of SQLite, and stores of older versions."""

from pathlib import Path

from engine.store import open_store
from engine.testing import FakeClock
from tests.engine.store.scenes import (
    claim,
)
from tests.engine.store.sqlite import revisions
from tests.engine.store.test_order import ask, matrix, names


async def test_a_store_of_before_goes_on_in_the_order_in_which_it_was_written(
    path: Path, clock: FakeClock
) -> None:
    async with open_store(path, clock) as store:
        # As an earlier version wrote them: the repeats of a cell one after the other.
        written = sorted(matrix(["z", "a"], repeats=2), key=lambda job: (job.place, job.repeat))
        await ask(store, written)
    revisions.downgrade(path, "0009")

    async with open_store(path, clock) as store:
        run = await store.reader.find_run("run")
        assert run is not None
        found = names(await claim(store, run, classes=("a", "z")))

        assert found == ["model z 1", "model a 1", "model z 2", "model a 2"]
        assert [row.labels["name"] async for row in store.reader.job_rows(run)] == [
            "model z 1",
            "model z 2",
            "model a 1",
            "model a 2",
        ]
        await ask(store, matrix(["new", "a", "z"], repeats=2), sweep="reordered")
        assert names(await claim(store, run, classes=("new",))) == ["model new 1", "model new 2"]
