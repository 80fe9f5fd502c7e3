"""All processes on a machine's store share one clock, whatever the machine's clock showed when each began.

A server's store has the server's clock: see `tests/engine/store/postgres/`.
"""

import json
from pathlib import Path

import anyio
import pytest

from engine.core.errors import StoreError
from engine.core.permits import PermitLimit, PermitRequest
from engine.store import Bucket, Store
from engine.testing import FakeClock, ProcessClock
from tests.engine.store.databases import DATABASES, Scratch
from tests.engine.store.scenes import NOW, grants, new_job, submit

KEY = Bucket(name="key", rate_per_min=60)


@pytest.fixture(params=["sqlite", "memory"])
def scratch(request: pytest.FixtureRequest, tmp_path: Path) -> Scratch:
    return DATABASES[request.param](tmp_path)


async def starts_of(store: Store, run_id: int, machine: FakeClock, seconds: float) -> list[float]:
    """When a store lets requests start in so many seconds, by the machine's own count."""
    found = []
    run = await store.reader.find_run(None)
    assert run is not None
    assert run.id == run_id
    for _ in range(round(seconds)):
        now = store._clock.now()
        for grant in await grants(store, run, now=now, buckets=[KEY], horizon_s=0.99):
            found += [job.start_at - now + machine.now() for job in grant.jobs]
        machine.skip(1.0)
    return found


def most_in_a_minute(times: list[float]) -> int:
    return max(sum(first <= other < first + 60.0 for other in times) for first in times)


@pytest.mark.parametrize("set_by_s", [-100.0, 100.0])
async def test_two_live_processes_whose_clocks_differ_keep_one_rate(
    set_by_s: float, scratch: Scratch
) -> None:
    machine = FakeClock(1000.0)
    found = []

    async with scratch.open(ProcessClock(machine, set_to=NOW)) as older:
        run = await submit(older, *(new_job(number) for number in range(400)))
        found += await starts_of(older, run.id, machine, 40.0)
        later = NOW + 40.0 + set_by_s
        async with scratch.open(ProcessClock(machine, set_to=later)) as younger:
            for _ in range(60):
                found += await starts_of(younger, run.id, machine, 1.0)
                found += await starts_of(older, run.id, machine, 1.0)
            beats = scratch.rows("SELECT heartbeat_at FROM worker")

    assert most_in_a_minute(found) <= 60
    assert len(found) >= 0.95 * 160
    assert abs(beats[0][0] - beats[1][0]) <= 5.0


@pytest.mark.parametrize("set_by_s", [-100.0, 100.0, 0.5])
async def test_a_clock_that_was_set_between_two_sessions_changes_no_window(
    set_by_s: float, scratch: Scratch
) -> None:
    machine = FakeClock(1000.0)
    async with scratch.open(ProcessClock(machine, set_to=NOW)) as store:
        run = await submit(store, *(new_job(number) for number in range(400)))
        found = await starts_of(store, run.id, machine, 50.0)

    machine.skip(1.0)
    async with scratch.open(ProcessClock(machine, set_to=NOW + 51.0 + set_by_s)) as store:
        await store.worker.record_heartbeat()
        found += await starts_of(store, run.id, machine, 90.0)

    assert most_in_a_minute(found) <= 60
    assert len(found) >= 0.95 * 140


async def test_waits_are_as_long_as_they_were_after_the_clock_was_set_ahead(
    scratch: Scratch,
) -> None:
    machine = FakeClock(1000.0)
    ask = PermitRequest(
        caller="tester", calls=(600,), limits=(PermitLimit(name="target", tokens_per_min=1000),)
    )
    async with scratch.open(ProcessClock(machine, set_to=NOW)) as store:
        await store.limits.take_permits(ask)
        refused = await store.limits.take_permits(ask)

    async with scratch.open(ProcessClock(machine, set_to=NOW + 7200.0)) as store:
        await store.worker.record_heartbeat()
        again = await store.limits.take_permits(ask)

    assert again.slots == ()
    assert again.next_at - (NOW + 7200.0) == pytest.approx(refused.next_at - NOW, abs=0.01)


async def test_a_process_under_another_kernel_is_refused_while_one_works(scratch: Scratch) -> None:
    machine, other = FakeClock(), FakeClock()
    async with scratch.open(ProcessClock(machine, set_to=NOW)) as store:
        await store.worker.record_heartbeat()
        async with scratch.open(ProcessClock(other, set_to=NOW, boot="another boot")) as foreign:
            with pytest.raises(StoreError, match="works on it under another kernel"):
                await foreign.worker.record_heartbeat()

    async with scratch.open(ProcessClock(other, set_to=NOW, boot="another boot")) as alone:
        await alone.worker.record_heartbeat()
    kept = json.loads(scratch.rows("SELECT value FROM store_value WHERE name = 'clock'")[0][0])
    assert kept["boot"] == "another boot"


async def test_a_clock_that_only_pretends_to_count_the_same_seconds_is_refused(
    scratch: Scratch,
) -> None:
    machine, faked = FakeClock(1000.0), FakeClock(900.0)
    async with scratch.open(ProcessClock(machine, set_to=NOW)) as store:
        await store.worker.record_heartbeat()
        async with scratch.open(ProcessClock(faked, set_to=NOW - 100.0)) as behind:
            with pytest.raises(StoreError, match="is 100 s ahead of this process's"):
                await behind.worker.record_heartbeat()


async def test_who_only_looks_has_the_time_of_those_who_work(scratch: Scratch) -> None:
    machine = FakeClock(1000.0)
    looking = ProcessClock(machine, set_to=NOW + 100.0)
    async with scratch.open(ProcessClock(machine, set_to=NOW)) as store:
        await store.worker.record_heartbeat()
        async with scratch.open(looking):
            shown = looking.now()
    await anyio.lowlevel.checkpoint()

    assert shown == NOW
