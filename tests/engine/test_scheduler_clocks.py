"""A clock that was set back or ahead between two sessions, and a machine that slept within one."""

import anyio
import pytest

from engine import Settings
from engine.kinds import Allotment, Answer, Job, RateLimited, Transient
from engine.testing import FakeClock, Memory, ScriptedService
from tests.engine.scenes import (
    NOW,
    RARE_POLLS,
    events,
    finished,
    good,
    most_in_a_minute,
    opened,
    sweep,
)

HOURS = 3600.0


async def stopped_after(
    seconds: float, memory: Memory, service: ScriptedService, clock: FakeClock, **of: object
) -> None:
    """Work on a sweep for a while, then stop as a first Ctrl-C does."""
    async with (
        opened(memory, service, clock, settings=RARE_POLLS) as engine,
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(sweep(service, **of))  # type: ignore[arg-type]
        tasks.start_soon(run.execute)
        await clock.advance(seconds)
        run.stop()


@pytest.mark.parametrize(
    ("error", "wait_s"),
    [
        (Transient("HTTP 500", status=500), 300.0),
        (RateLimited("too many requests", status=429, retry_after_s=600.0), 600.0),
    ],
)
async def test_nothing_waits_for_hours_because_the_clock_was_set_back(
    error: Exception, wait_s: float
) -> None:
    memory = Memory()
    before, after = FakeClock(NOW), FakeClock(NOW - 5 * HOURS)

    def script(job: Job) -> Answer | Exception:
        return good(job) if after.now() > NOW - 5 * HOURS else error

    service = ScriptedService(script)
    more = {"repeats": 3, "retry": {"base_delay_s": 300.0, "max_delay_s": 300.0}}
    await stopped_after(10.0, memory, service, before, **more)
    sent = len(service.recording.started)

    async with (
        opened(memory, service, after, settings=RARE_POLLS) as engine,
        after.jumping(),
    ):
        run = await engine.run()
        status = await run.execute()
        logged = await events(run)

    again = [start.at for start in service.recording.started[sent:]]
    assert status.jobs["succeeded"] == 3
    # Not sooner than the wait that is left, and not hours later.
    assert NOW - 5 * HOURS + wait_s - 20.0 <= min(again)
    assert max(again) <= NOW - 5 * HOURS + wait_s + 30.0
    assert [message for kind, _, message in logged if kind == "clock"] == [
        "the clock was set back by 18,010 s since the last run"
    ]


async def test_a_clock_that_was_set_back_is_followed_once() -> None:
    service = ScriptedService(
        lambda _: RateLimited("too many requests", status=429, retry_after_s=600.0)
    )
    memory = Memory()
    await stopped_after(10.0, memory, service, FakeClock(NOW), repeats=3)
    for later_s in (0.0, 100.0, 200.0):
        clock = FakeClock(NOW - 5 * HOURS + later_s)
        await stopped_after(10.0, memory, service, clock, repeats=3)

    # All within the Retry-After of the first answer.
    assert len(service.recording.started) == 3


@pytest.mark.parametrize("back_s", [-3 * HOURS, 40.0, 3 * HOURS])
async def test_a_rate_holds_in_real_time_over_a_clock_that_jumps_between_sessions(
    back_s: float,
) -> None:
    service = ScriptedService(good)
    memory = Memory()
    more = {"repeats": 100, "limits": {"rate_per_min": 20}}
    before, after = FakeClock(NOW), FakeClock(NOW + 70.0 - back_s)
    await stopped_after(70.0, memory, service, before, **more)
    first = len(service.recording.started)
    await stopped_after(130.0, memory, service, after, **more)

    at = [start.at for start in service.recording.started]
    real = sorted([*at[:first], *(time + back_s for time in at[first:])])
    # Set back, never more; set ahead, which cannot be distinguished from time passing, as many as the pace allows.
    assert most_in_a_minute(real) <= (20 if back_s > 0 else 20 / 0.9 + 2)
    # It waits for about a window at most, and then goes on.
    assert len(at) - first >= 20


async def test_a_quota_period_that_the_clock_goes_back_into_is_asked_for_again() -> None:
    service = ScriptedService(good, allotment=Allotment(used=0, allotted=100))
    memory = Memory()
    async with opened(memory, service, FakeClock(NOW)) as engine:
        _, ahead = await finished(engine, sweep(service, repeats=10))

    async with opened(memory, service, FakeClock(NOW - 40 * 24 * HOURS)) as engine:
        _, back = await finished(engine, sweep(service, repeats=60))

    assert [quota.period for quota in (*ahead.quotas, *back.quotas)] == ["2027-01", "2026-12"]
    assert service.recording.tests <= 100
    assert back.quotas[0].used == service.recording.tests


async def test_a_machine_that_slept_looks_at_once_at_what_is_due() -> None:
    clock = FakeClock(NOW)
    service = ScriptedService(
        lambda job: (
            good(job)
            if clock.now() > NOW + 1000.0
            else RateLimited("too many requests", status=429, retry_after_s=3000.0)
        )
    )

    async with (
        opened(Memory(), service, clock, settings=Settings(poll_s=10.0)) as engine,
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(sweep(service, repeats=3))
        tasks.start_soon(run.execute)
        await clock.advance(20.0)
        # The time goes on while a machine sleeps; its timers do not.
        clock.skip(2 * HOURS)
        await clock.advance(15.0)
        run.stop()

    assert len(service.recording.started) == 3 + 3
