"""Quotas that processes on one file share, and that a killed one held."""

import pytest

from engine.core.quota import UNREPORTED, QuotaState
from engine.store import Store
from tests.engine.store.processes import child
from tests.engine.store.scenes import (
    new_job,
    rows,
    sqlite_of,
    submit,
)
from tests.engine.store.test_quotas import TESTS, state
from tests.launcher.processes import Launcher

_CLAIMS_AND_DIES = """
from engine.store import Charge, QuotaKey

TESTS = QuotaKey(name="key", period="2027-01")

async def main():
    async with open_store(PATH, FakeClock()) as store:
        run = await submit(store, new_job("one", expected_tests=20))
        [job] = await claim(store, run, quotas=[TESTS], charged_by_reply=True)
        for call in (1, 2):
            await store.attempts.keep_call(run, {"call": call}, b"", Charge(job_id=job.id, tests=1))
        say("kept")
        await anyio.sleep_forever()

"""


async def test_what_was_held_for_a_dead_worker_is_given_back_where_replies_are_charged(
    launcher: Launcher,
    store: Store,
) -> None:
    await store.limits.set_cap(TESTS, allotted=50)
    with child(launcher, sqlite_of(store).path, _CLAIMS_AND_DIES) as process:
        assert process.line() == "kept"
        process.kill()
    held = await state(store)
    await store.worker.reclaim_from_dead()

    assert held == QuotaState(allotted=50, used=2, reserved=18)
    assert await state(store) == QuotaState(allotted=50, used=2)


@pytest.mark.parametrize("allotted", [50, UNREPORTED])
async def test_what_a_dead_process_held_counts_as_spent(
    launcher: Launcher, store: Store, allotted: int
) -> None:
    await store.limits.set_cap(TESTS, allotted=allotted)
    await submit(store, new_job("one", expected_tests=20))
    script = """
async def main():
    async with open_store(PATH, SystemClock()) as store:
        run = await store.reader.find_run("run")
        await claim(store, run, quotas=[QuotaKey(name="key", period="2027-01")])
        say("claimed")
        await anyio.sleep_forever()
"""
    with child(launcher, sqlite_of(store).path, script) as dead:
        assert dead.line() == "claimed"
        dead.kill()

    await store.worker.reclaim_from_dead(attempts=6)

    kept = rows(sqlite_of(store).path, "SELECT allotted, used, reserved FROM quota")
    assert kept == [(allotted, 20, 0)]
    assert rows(sqlite_of(store).path, "SELECT count(*) FROM reservation") == [(0,)]
