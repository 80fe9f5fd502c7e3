"""What claims and settlements leave in a store's folder."""

from pathlib import Path

from engine.store import open_store
from engine.testing import FakeClock
from tests.engine.store.scenes import (
    NOW,
    claim,
    new_job,
    rows,
    submit,
)


async def test_signing_off_gives_back_what_is_still_held_with_its_attempt(
    path: Path, clock: FakeClock
) -> None:
    async with open_store(path, clock) as store:
        run = await submit(store, new_job("one"))
        await claim(store, run)
        worker = store.worker_id

    assert rows(path, "SELECT state, owner, attempts FROM job") == [("waiting", None, 0)]
    assert rows(path, "SELECT outcome, error FROM attempt") == [("interrupted", "interrupted")]
    assert rows(path, "SELECT id, ended_at FROM worker") == [(worker, NOW)]
    assert sorted(child.name for child in path.with_name("store.db.workers").iterdir()) == [
        "migration.lock"
    ]
