"""Rates of a whole engine, over simulated minutes."""

from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import Sweep
from engine.kinds import Answer, Job, JobContext
from engine.store.memory import MemoryDatabase
from engine.testing import FakeClock, Memory, ScriptedKind, ScriptedService
from tests.engine.scenes import (
    NOW,
    RARE_POLLS,
    finished,
    good,
    most_in_a_minute,
    opened,
    starts,
    sweep,
)

MINUTES = 3
MANY = 200
"""Commits: with more of them than that, a run of 40 jobs does not go on."""


async def work_for(
    store: Path | Memory, clock: FakeClock, service: ScriptedService, of: Sweep, seconds: float
) -> None:
    """Work on a sweep for some simulated time, then stop as a first Ctrl-C does."""
    async with (
        opened(store, service, clock, settings=RARE_POLLS) as engine,
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(of)

        async def execute() -> None:
            await run.execute()
            tasks.cancel_scope.cancel()

        tasks.start_soon(execute)
        await clock.advance(seconds)
        run.stop()
        # A slot that was granted before the stop is waited for.
        async with clock.jumping():
            await anyio.sleep_forever()


@pytest.mark.parametrize(("rate", "minutes"), [(20, MINUTES), (60, MINUTES), (200, 2)])
async def test_nearly_all_of_a_rate_is_used_and_never_more(
    clock: FakeClock, rate: int, minutes: int
) -> None:
    service = ScriptedService(good)
    of = sweep(service, repeats=rate * minutes + 50, limits={"rate_per_min": rate})

    # Slots are paced so that those of a minute are used within 54 s of it.
    await work_for(Memory(), clock, service, of, minutes * 60.0 - 5)

    assert most_in_a_minute(starts(service)) <= rate
    assert len(starts(service)) >= 0.98 * rate * minutes


async def test_a_restart_neither_wastes_nor_restarts_a_rate(clock: FakeClock) -> None:
    memory = Memory()
    service = ScriptedService(good)
    of = sweep(service, repeats=250, limits={"rate_per_min": 60})

    await work_for(memory, clock, service, of, 85.0)
    await work_for(memory, clock, service, of, 95.0)

    assert most_in_a_minute(starts(service)) <= 60
    assert len(starts(service)) >= 0.98 * 60 * MINUTES


async def test_requests_that_take_long_do_not_keep_a_rate_from_being_used(clock: FakeClock) -> None:
    service = ScriptedService(good, takes_s=47.0)
    of = sweep(service, repeats=200, limits={"rate_per_min": 60, "max_in_flight": 64})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        await finished(engine, of)

    assert most_in_a_minute(starts(service)) <= 60
    assert 200 / 60 * 60 <= starts(service)[-1] - NOW + 60 <= 200 / 60 * 60 / 0.98 + 60


async def test_the_rates_of_the_key_and_of_each_model_hold_together(clock: FakeClock) -> None:
    service = ScriptedService(good)
    limits = {"rate_per_min": 60, "models": {"slow/*": {"rate_per_min": 10}}}
    of = sweep(service, models=["slow/a", "slow/b", "free/c"], repeats=200, limits=limits)

    await work_for(Memory(), clock, service, of, MINUTES * 60.0)

    assert most_in_a_minute(starts(service)) <= 60
    assert len(starts(service)) >= 0.98 * 60 * MINUTES
    for model in ("slow/a", "slow/b"):
        assert most_in_a_minute(starts(service, model)) <= 10
        assert len(starts(service, model)) >= 0.98 * 10 * MINUTES


async def test_a_slow_lane_does_not_hold_up_another(clock: FakeClock) -> None:
    service = ScriptedService(good)
    limits = {"models": {"slow": {"rate_per_min": 20}}, "max_in_flight": 4}
    of = sweep(service, models=["slow", "fast"], repeats=60, limits=limits)

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert status.cells_done == 120
    assert starts(service, "fast")[-1] == NOW
    assert most_in_a_minute(starts(service, "slow")) <= 20
    assert starts(service, "slow")[-1] <= NOW + 2 * 60 / 0.98 + 60


async def test_a_slot_that_is_late_is_let_go_and_its_job_sent_in_another(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = ScriptedService(good)
    sleep = clock.sleep
    stalls = iter([0.4])

    async def stalling(seconds: float) -> None:
        # What a busy machine does to a task that was to wake at its slot.
        await sleep(seconds + (next(stalls, 0.0) if 0 < seconds < 1 else 0.0))

    monkeypatch.setattr(clock, "sleep", stalling)
    of = sweep(service, repeats=40, limits={"rate_per_min": 600})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        run, status = await finished(engine, of)
        attempts = await run._store._database.ask(
            lambda connection: connection.exec_driver_sql(
                "SELECT outcome, count(*) FROM attempt GROUP BY outcome ORDER BY outcome"
            ).all()
        )

    assert next(stalls, None) is None
    assert status.jobs["succeeded"] == 40
    assert [tuple(row) for row in attempts] == [("interrupted", 1), ("succeeded", 40)]
    assert len(service.recording.started) == 40


async def test_a_disk_that_takes_a_second_to_commit_neither_stops_nor_breaks_a_rate(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    transact = MemoryDatabase.transact

    async def slowly(database: MemoryDatabase, work: Any) -> Any:
        value = await transact(database, work)
        await clock.sleep(1.0)
        return value

    monkeypatch.setattr(MemoryDatabase, "transact", slowly)
    service = ScriptedService(good)
    of = sweep(service, repeats=90, limits={"rate_per_min": 30})

    async with (
        clock.jumping(),
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
    ):
        _, status = await finished(engine, of)

    assert status.jobs["succeeded"] == 90
    assert most_in_a_minute(starts(service)) <= 30
    assert starts(service)[-1] - NOW <= 90 / 30 * 60 * 1.1


async def test_a_disk_that_takes_ten_seconds_to_commit_lets_a_rated_run_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeClock(NOW)
    transact, commits = MemoryDatabase.transact, count()

    async def slowly(database: MemoryDatabase, work: Any) -> Any:
        value = await transact(database, work)
        if next(commits) < MANY:
            await clock.sleep(10.0)
        return value

    monkeypatch.setattr(MemoryDatabase, "transact", slowly)
    service = ScriptedService(good)
    of = sweep(service, repeats=40, limits={"rate_per_min": 30})

    async with (
        clock.jumping(),
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
    ):
        _, status = await finished(engine, of)
        taken = next(commits)

    assert status.jobs["succeeded"] == 40
    assert taken < MANY
    assert len(starts(service)) == 40
    assert most_in_a_minute(starts(service)) <= 30


async def test_a_commit_that_takes_long_by_chance_costs_a_high_rate_no_more_than_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeClock(NOW)
    transact, claims = MemoryDatabase.transact, count()

    async def slowly_once(database: MemoryDatabase, work: Any) -> Any:
        value = await transact(database, work)
        [transaction] = work.args
        values = [change.value for change, _ in transaction.works]
        grants = [grant for value in values if isinstance(value, list) for grant in value]
        if any(grant.jobs for grant in grants) and next(claims) == 12:
            stalled.append(clock.now())
            await clock.sleep(5.0)
        return value

    stalled: list[float] = []
    monkeypatch.setattr(MemoryDatabase, "transact", slowly_once)
    service = ScriptedService(good)
    limits = {"rate_per_min": 600, "max_in_flight": 8}
    of = sweep(service, repeats=200, limits=limits)

    await work_for(Memory(), clock, service, of, 14.0)

    [began] = stalled
    then = [at for at in starts(service) if began + 5.0 <= at < began + 11.0]
    # A place in flight is not held for five seconds by each job that comes.
    assert len(then) >= 0.9 * 10 * 6
    assert most_in_a_minute(starts(service)) <= 600


async def test_a_permit_is_a_rate_that_a_kind_asks_for_itself(clock: FakeClock) -> None:
    class TwoCalls(ScriptedKind):
        async def run(self, job: Job, client: Any, context: JobContext) -> Answer:
            for _ in range(2):
                await context.permit("the target", rate_per_min=30)
                calls.append(context.clock.now())
            return await super().run(job, client, context)

    calls: list[float] = []
    service: Any = ScriptedService(good, kind=TwoCalls)

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, sweep(service, repeats=40))

    assert status.jobs["succeeded"] == 40
    assert len(calls) == 80
    assert most_in_a_minute(calls) <= 30
    assert calls[-1] <= NOW + 80 / 30 * 60 / 0.98
