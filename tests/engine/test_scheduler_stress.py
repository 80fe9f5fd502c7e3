"""Limits under stress, over simulated hours: a service that is gone, a storm, a poisoned lane."""

from pathlib import Path

import anyio

from engine import RunState, StopReason
from engine.kinds import Allotment, Answer, Job, QuotaExceeded, RateLimited, Transient
from engine.testing import FakeClock, Memory, ScriptedService
from tests.engine.scenes import (
    NOW,
    RARE_POLLS,
    events,
    finished,
    good,
    most_in_a_minute,
    opened,
    starts,
    sweep,
)


async def test_a_service_that_is_not_there_for_an_hour_costs_few_jobs_and_all_are_answered_after_it(
    clock: FakeClock,
) -> None:
    def script(job: Job) -> Answer | Exception:
        is_gone = clock.now() < NOW + 3600.0
        return Transient("no connection could be made", sent=False) if is_gone else good(job)

    service = ScriptedService(script, allotment=Allotment(used=0, allotted=100_000))
    of = sweep(service, repeats=100, limits={"max_in_flight": 16})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        run, status = await finished(engine, of)
        while_gone = len(service.recording.started)
        logged = [kind for kind, _, _ in await events(run)]
        parked_at = clock.now()
        await clock.sleep(NOW + 3600.0 - clock.now())
        resumed = await run.execute()
        retried = await run.retry()
        ended = await run.execute()

    # 25 in a row, what was in flight beside them, six probes after short waits and six after long ones.
    assert while_gone <= 25 + 16 + 6 + 6
    assert status.reason is StopReason.UNHEALTHY
    assert "no connection could be made" in status.message
    assert logged.count("parked") == 1
    assert parked_at < NOW + 3600.0
    assert (retried, resumed.jobs["failed"]) == (resumed.jobs["failed"], retried)
    assert retried <= 8
    assert ended.state is RunState.FINISHED
    assert ended.jobs["succeeded"] == 100
    # What was never sent cost nothing.
    assert ended.quotas[0].used == 200


async def test_a_storm_of_429_uses_no_attempt_and_the_rate_is_back_within_a_minute_of_its_end(
    clock: FakeClock,
) -> None:
    def script(job: Job) -> Answer | Exception:
        if clock.now() < NOW + 120.0:
            return RateLimited("too many requests", status=429, retry_after_s=5.0)
        return good(job)

    service = ScriptedService(script, takes_s=8.0)
    of = sweep(service, repeats=150, limits={"max_in_flight": 16, "rate_per_min": 60})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    recovered = [at for at in starts(service) if NOW + 180.0 <= at < NOW + 240.0]
    assert status.jobs["succeeded"] == 150
    assert len(recovered) >= 0.95 * 60
    assert most_in_a_minute(starts(service)) <= 60
    assert {start.job.attempt for start in service.recording.started} == {1}


async def test_two_engines_with_64_in_flight_each_meet_few_refusals_when_others_use_up_the_quota(
    tmp_path: Path, clock: FakeClock
) -> None:
    served = 0

    def script(job: Job) -> Answer | Exception:
        nonlocal served
        # Another client uses the same key, so less is left than the service reported.
        if served + 2 > 300:
            return QuotaExceeded("quota_exceeded", status=403)
        served += 2
        return good(job)

    async def logged(_: object) -> Allotment:
        return Allotment(used=0 if served < 300 else 10_000, allotted=10_000)

    service = ScriptedService(script, allotment=Allotment(used=0, allotted=10_000), takes_s=1.0)
    service.quota = logged  # type: ignore[method-assign, assignment]
    of = sweep(service, repeats=1_000, limits={"max_in_flight": 128})
    path = tmp_path / "store.db"

    async with (
        opened(path, service, clock, settings=RARE_POLLS) as one,
        opened(path, service, clock, settings=RARE_POLLS) as other,
        clock.jumping(),
    ):
        first = await one.submit(of)
        second = await other.submit(of)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first.execute)
            tasks.start_soon(second.execute)
        status = await first.status()

    refused = len(service.recording.started) - served // 2
    assert served == 300
    assert status.reason is StopReason.QUOTA
    assert (status.jobs["succeeded"], status.jobs["failed"]) == (150, 0)
    # What was in flight at the first refusal, and what was claimed with the answers before it.
    assert refused <= 3 * 128
