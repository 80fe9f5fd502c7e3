"""The health gate: a lane opens once its target is well, and the rest does not wait for it."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from pydantic import BaseModel

from engine import Run, RunState, Status, StopReason
from engine.core.runs import WaitReason
from engine.kinds import Answer, Clock, Health, HealthGate, Job, Transient, Unhealthy
from engine.testing import FakeClock, Memory, ScriptedService
from tests.engine.scenes import (
    NOW,
    RARE_POLLS,
    events,
    finished,
    good,
    opened,
    starts,
    sweep,
)


class GateSettings(BaseModel):
    """None."""


class ScriptedGate(HealthGate):
    settings_model = GateSettings

    def __init__(self, script: Callable[[str, float], Health]) -> None:
        self.asked: list[tuple[str, float]] = []
        self._script = script

    @asynccontextmanager
    async def open(self, clock: Clock) -> AsyncIterator[Clock]:
        yield clock

    async def check(self, client: Clock, lane: str) -> Health:
        self.asked.append((lane, client.now()))
        return self._script(lane, client.now())


WELL = Health(healthy=True)


async def test_each_model_is_asked_about_once_before_its_lane_opens() -> None:
    seen: list[int] = []

    def script(lane: str, now: float) -> Health:
        seen.append(len(starts(service, lane)))
        return WELL

    service = ScriptedService(good)
    gate = ScriptedGate(script)

    async with opened(Memory(), service, gate=gate) as engine:
        of = sweep(service, models=["a", "b", "c"], repeats=30, gate=gate)
        _, status = await finished(engine, of)

    assert status.cells_done == 90
    assert sorted(lane for lane, _ in gate.asked) == ["a", "b", "c"]
    assert seen == [0, 0, 0]


async def test_questions_about_health_count_among_the_requests_of_a_cap(clock: FakeClock) -> None:
    service = ScriptedService(good)
    gate = ScriptedGate(lambda lane, now: WELL)
    of = sweep(service, models=["a", "b"], repeats=30, gate=gate, limits={"requests": 5})

    async with (
        opened(Memory(), service, clock, gate=gate) as engine,
        clock.jumping(),
    ):
        run, status = await finished(engine, of)
        again = await run.execute()

    # Two questions before the first session, and none before the second: nothing is left for them.
    assert len(gate.asked) + len(service.recording.started) == 5
    assert status.reason is again.reason is StopReason.QUOTA
    assert "the sweep's own limit of 5 requests is reached; raise limits.requests" in again.message


async def test_a_sick_model_waits_while_the_rest_runs_on_and_opens_once_it_is_well(
    clock: FakeClock,
) -> None:
    well_at = NOW + 1800.0
    service = ScriptedService(good, takes_s=60.0)
    gate = ScriptedGate(
        lambda lane, now: (
            Health(healthy=False, message="it says nothing")
            if lane == "sick" and now < well_at
            else WELL
        )
    )
    of = sweep(service, models=["sick", "well"], repeats=60, gate=gate, limits={"max_in_flight": 1})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS, gate=gate) as engine,
        clock.jumping(),
    ):
        run, status = await finished(engine, of)
        logged = await events(run)

    assert status.state is RunState.FINISHED
    assert starts(service, "well")[0] == NOW
    assert min(starts(service, "sick")) >= well_at
    assert ("health", "sick", "unhealthy: it says nothing") in logged
    assert ("well", "sick", "healthy again") in logged
    # Asked again at growing distances, not all the time.
    assert len(gate.asked) < 25


async def test_a_run_whose_models_stay_sick_ends_and_says_so(clock: FakeClock) -> None:
    service = ScriptedService(good)

    def script(lane: str, now: float) -> Health:
        if lane == "broken":
            raise Transient("the health service is down")
        return Health(healthy=lane == "well", message="it says nothing")

    gate = ScriptedGate(script)
    of = sweep(service, models=["broken", "sick", "well"], repeats=5, gate=gate)

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS, gate=gate) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert status.reason is StopReason.UNHEALTHY
    assert status.message == (
        "broken is unhealthy: the health service is down; sick is unhealthy: it says nothing"
    )
    assert status.jobs["succeeded"] == 5
    assert status.jobs["failed"] == 0
    assert Counter(lane for lane, _ in gate.asked)["sick"] == 6


async def test_an_unhealthy_model_counts_in_no_time_left(clock: FakeClock) -> None:
    memory = Memory()
    service = ScriptedService(good, takes_s=60.0)
    gate = ScriptedGate(lambda lane, now: Health(healthy=lane == "well", message="says nothing"))
    limits = {"max_in_flight": 1, "rate_per_min": 60}
    of = sweep(service, models=["sick", "well"], repeats=10, gate=gate, limits=limits)
    seen: list[Status] = []

    async def look(run: Run) -> None:
        await clock.sleep(330.0)
        seen.append(await run.status())
        async with opened(memory, service, clock, gate=gate) as other:
            seen.append(await (await other.run(run.name)).status())

    async with (
        opened(memory, service, clock, settings=RARE_POLLS, gate=gate) as engine,
        clock.jumping(),
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(of)
        tasks.start_soon(look, run)
        ended = await run.execute()

    for during in seen:
        # Five of the well one's ten jobs are done, and none of the sick one's.
        assert during.seconds_left == pytest.approx(5 * 60.0, abs=40)
        [waiting] = [one for one in during.waiting if one.lane == "sick"]
        assert (waiting.why, waiting.detail) == (WaitReason.UNHEALTHY, "says nothing")
    assert len(seen) == 2
    assert (ended.reason, ended.seconds_left, ended.binding) == (StopReason.UNHEALTHY, None, "")


async def test_the_gate_is_asked_again_while_the_breaker_of_a_lane_is_open(
    clock: FakeClock,
) -> None:
    def script(job: Job) -> Answer | Exception:
        return Transient("HTTP 500", status=500) if clock.now() < NOW + 400.0 else good(job)

    service = ScriptedService(script)
    gate = ScriptedGate(lambda lane, now: WELL)
    of = sweep(service, repeats=100, gate=gate, retry={"attempts": 100})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS, gate=gate) as engine,
        clock.jumping(),
    ):
        run, status = await finished(engine, of)
        logged = await events(run)

    opened_times = [message for kind, _, message in logged if kind == "breaker"]
    assert status.state is RunState.FINISHED
    assert len(opened_times) > 1
    # Before the lane opened, and each time its breaker did.
    assert len(gate.asked) == 1 + len(opened_times)


async def test_a_target_that_falls_sick_in_between_closes_its_lane_and_fails_nothing(
    clock: FakeClock,
) -> None:
    def script(job: Job) -> Answer | Exception:
        is_sick = job.labels["model"] == "a" and NOW + 5.0 <= clock.now() < NOW + 300.0
        return Unhealthy("the target is gone") if is_sick else good(job)

    service = ScriptedService(script, takes_s=1.0)
    gate = ScriptedGate(
        lambda lane, now: Health(healthy=not NOW + 5.0 <= now < NOW + 300.0, message="gone")
    )
    of = sweep(
        service,
        models=["a", "b"],
        repeats=50,
        gate=gate,
        limits={"max_in_flight": 4},
        retry={"attempts": 20},
    )

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS, gate=gate) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert status.state is RunState.FINISHED
    assert status.cells_done == 100
    refused = [at for at in starts(service, "a") if NOW + 4.0 < at < NOW + 300.0]
    assert len(refused) <= 4
    assert {start.job.attempt for start in service.recording.started} == {1}
