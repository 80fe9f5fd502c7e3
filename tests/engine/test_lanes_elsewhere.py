"""What a process says of lanes that another one works on: what that process itself says."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from engine import Engine, Run, Settings, Sweep
from engine.core.breaker import BreakerState
from engine.core.doubt import Doubt
from engine.core.lanes import LaneState, waits_elsewhere
from engine.core.retry import Hold
from engine.core.runs import WaitReason
from engine.core.status import Waiting
from engine.kinds import Allotment, Health, HealthGate, RateLimited
from engine.report.words import status_lines
from engine.scheduler.lane import Block, Lane
from engine.scheduler.lanes import Lanes
from engine.store.queries import workers
from engine.testing import FakeClock, Recording, ScriptedService
from tests.engine.scenes import NOW, RARE_POLLS, good, opened, sweep
from tests.engine.test_scheduler_health import GateSettings

LATER = NOW + 600.0


def blocked(block: Block, why: str) -> Callable[[Lane, Lanes], None]:
    def set_block(lane: Lane, _: Lanes) -> None:
        lane.block, lane.why = block, why

    return set_block


def asks_later(why: WaitReason) -> Callable[[Lane, Lanes], None]:
    def set_time(lane: Lane, _: Lanes) -> None:
        lane.next_at, lane.waits_for = LATER, why

    return set_time


def throttled(*, has_retry_after: bool) -> Callable[[Lane, Lanes], None]:
    def throttle(lane: Lane, _: Lanes) -> None:
        lane.throttle(NOW, LATER, has_retry_after=has_retry_after)

    return throttle


def opened_breaker(*, away: bool) -> Callable[[Lane, Lanes], None]:
    def set_breaker(lane: Lane, _: Lanes) -> None:
        breaker = replace(
            lane.circuit.breaker,
            state=BreakerState.OPEN,
            open_until=LATER,
            away_since=NOW if away else None,
        )
        lane.circuit = replace(lane.circuit, breaker=breaker)
        lane.why = "answered 502 Bad Gateway"

    return set_breaker


def doubted(lane: Lane, _: Lanes) -> None:
    doubt = Doubt(hold=Hold.QUOTA, why="", since=NOW, is_asking=False, until=LATER)
    lane.circuit = replace(lane.circuit, doubt=doubt)
    lane.why = "the quota is exceeded"


def short_of_files(_: Lane, lanes: Lanes) -> None:
    lanes.paused_until, lanes.paused_why = LATER, "too many open files"


def nothing(_: Lane, __: Lanes) -> None:
    pass


HOLDS: dict[WaitReason, Callable[[Lane, Lanes], None]] = {
    WaitReason.QUEUED: nothing,
    WaitReason.RATE: asks_later(WaitReason.RATE),
    WaitReason.PACE: asks_later(WaitReason.PACE),
    WaitReason.RETRY: asks_later(WaitReason.RETRY),
    WaitReason.HELD: throttled(has_retry_after=True),
    WaitReason.THROTTLED: throttled(has_retry_after=False),
    WaitReason.FIRST_ANSWER: asks_later(WaitReason.FIRST_ANSWER),
    WaitReason.QUOTA_UNKNOWN: asks_later(WaitReason.QUOTA_UNKNOWN),
    WaitReason.QUOTA: blocked(Block.QUOTA, "all 1,000 tests of the month are used"),
    WaitReason.CREDIT: blocked(Block.CREDIT, "the account is empty"),
    WaitReason.HEALTH: blocked(Block.HEALTH, ""),
    WaitReason.UNHEALTHY: blocked(Block.HEALTH, "it says nothing"),
    WaitReason.ERRORS: opened_breaker(away=False),
    WaitReason.OUTAGE: opened_breaker(away=True),
    WaitReason.REFUSED: doubted,
    WaitReason.GIVEN_UP: blocked(Block.PARKED, "away for 12 hours"),
    WaitReason.MACHINE: short_of_files,
    WaitReason.WINDOW: nothing,
}
"""How a lane comes to wait for each reason."""


async def rows_of_lanes(engine: Engine) -> int:
    count = await engine.store._database.ask(
        lambda connection: connection.exec_driver_sql("SELECT count(*) FROM lane").scalar()
    )
    return int(count or 0)


async def execute_for_a_moment(run: Run, clock: FakeClock) -> None:
    """Execute a run until its matrix is in the queue, and stop it again."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run.execute)
        await clock.advance(60.0)
        run.stop()


@asynccontextmanager
async def executed(
    store: Path,
    service: ScriptedService,
    clock: FakeClock,
    of: Sweep,
    *,
    settings: Settings = RARE_POLLS,
    gate: HealthGate | None = None,
) -> AsyncIterator[tuple[Run, Engine]]:
    """A run while one engine executes it, and another engine on its store, as another process has it."""
    async with (
        opened(store, service, clock, settings=settings, gate=gate) as engine,
        opened(store, service, clock, gate=gate) as other,
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(of)
        tasks.start_soon(run.execute)
        yield run, other
        tasks.cancel_scope.cancel()


async def waits(run: Run) -> tuple[Waiting, ...]:
    return (await run.status()).waiting


def test_there_is_a_way_to_wait_for_each_reason() -> None:
    assert set(HOLDS) == set(WaitReason)


@pytest.mark.parametrize("why", [one for one in WaitReason if one is not WaitReason.WINDOW])
async def test_a_process_that_only_looks_says_of_a_lane_what_the_run_says(
    tmp_path: Path, clock: FakeClock, why: WaitReason
) -> None:
    service = ScriptedService(good)
    service.recording.hold()
    of = sweep(service, repeats=3, limits={"max_in_flight": 1})

    async with executed(tmp_path / "store.db", service, clock, of) as (run, other):
        await service.recording.until_in_flight(1)
        (execution,) = run._executing.values()
        scheduler = execution.scheduler
        lane = scheduler.lanes.lane("a")
        HOLDS[why](lane, scheduler.lanes)
        scheduler.wake()
        await clock.advance(2.0)

        own, seen = await waits(run), await waits(await other.run("scripted"))
        states = await other.store.worker.find_lanes_elsewhere(run._row.id)

    assert {one.why for one in own} == {why}
    assert seen == own
    assert all(one.breaker is lane.circuit.breaker.state for one in states)


async def test_a_process_that_only_looks_says_when_the_window_opens(
    tmp_path: Path, clock: FakeClock
) -> None:
    service = ScriptedService(good)
    of = sweep(service, limits={"window": "22:00-23:00", "timezone": "UTC"})

    async with executed(tmp_path / "store.db", service, clock, of) as (run, other):
        while not (await run.status()).waiting:
            await clock.advance(1.0)

        own, seen = await waits(run), await waits(await other.run("scripted"))
        [listed] = await other.runs()

    [waiting] = own
    assert (waiting.why, waiting.until) == (WaitReason.WINDOW, NOW + 14 * 3600.0)
    assert seen == own
    assert [(one.why, one.until) for one in listed.lanes] == [(waiting.why, waiting.until)]


async def test_a_process_that_only_looks_says_what_is_wrong_with_a_model(
    tmp_path: Path, clock: FakeClock
) -> None:
    service = ScriptedService(good)

    class SlowGate(HealthGate):
        settings_model = GateSettings

        async def check(self, client: None, lane: str) -> Health:
            await clock.sleep(5.0)
            return Health(healthy=False, message=f"{lane} says nothing")

    of = sweep(service, gate=SlowGate(), retry={"base_delay_s": 600, "max_delay_s": 600})

    async with executed(tmp_path / "store.db", service, clock, of, gate=SlowGate()) as (run, other):
        await clock.advance(7.0)

        own, seen = await waits(run), await waits(await other.run("scripted"))

    assert {one.why for one in own} == {WaitReason.UNHEALTHY}
    assert seen == own


async def test_a_held_lane_is_written_once_and_removed_once_the_run_has_ended_here(
    tmp_path: Path, clock: FakeClock
) -> None:
    service = ScriptedService(lambda _: RateLimited("too many requests", retry_after_s=600.0))
    store = tmp_path / "store.db"

    async with (
        opened(store, service, clock, settings=RARE_POLLS) as engine,
        opened(store, service, clock) as other,
    ):
        run = await engine.submit(sweep(service, repeats=8, limits={"max_in_flight": 1}))
        looker = await other.run("scripted")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.execute)
            await service.recording.until_started(1)
            await clock.advance(2.0)
            own, seen = await run.status(), await looker.status()
            with closing(sqlite3.connect(store)) as watching:
                before = watching.execute("PRAGMA data_version").fetchone()
                await clock.advance(300.0)
                after = watching.execute("PRAGMA data_version").fetchone()
            run.stop()
        left = await other.store.worker.find_lanes_elsewhere(run._row.id)

    [line] = [line for line in status_lines(seen) if "the service asked to wait" in line]
    assert line in status_lines(own)
    assert line.startswith("8 held: the service asked to wait until ")
    assert before == after
    assert left == []


async def test_a_lane_of_a_process_that_has_gone_waits_for_nothing(tmp_path: Path) -> None:
    service = ScriptedService(good)
    store = tmp_path / "store.db"

    async with opened(store, service) as other:
        async with opened(store, service) as engine:
            run = await engine.submit(sweep(service))
            state = LaneState(name="a", why=WaitReason.OUTAGE, detail="away")
            await engine.store.queue.publish_lanes(run._row.id, [state])
            assert await other.store.worker.find_lanes_elsewhere(run._row.id) == [state]
            assert [one.lanes for one in await other.runs()] == [(state,)]

        assert await other.store.worker.find_lanes_elsewhere(run._row.id) == []
        assert [one.lanes for one in await other.runs()] == [()]
        assert await rows_of_lanes(other) == 0


async def test_a_run_that_has_stopped_is_unattended_while_another_run_is_executed(
    tmp_path: Path, clock: FakeClock
) -> None:
    service = ScriptedService(lambda _: RateLimited("too many requests", retry_after_s=600.0))
    store = tmp_path / "store.db"

    async with (
        opened(store, service, clock, settings=RARE_POLLS) as engine,
        opened(store, service, clock) as other,
        anyio.create_task_group() as tasks,
    ):
        await execute_for_a_moment(await engine.submit(sweep(service, repeats=8)), clock)
        held = await engine.submit(sweep(service, name="held", repeats=8))
        tasks.start_soon(held.execute)
        await clock.advance(2.0)
        seen = [await (await other.run(name)).status() for name in ("scripted", "held")]
        lines = status_lines(seen[0])
        tasks.cancel_scope.cancel()

    assert [one.unattended for one in seen] == [True, False]
    assert "no process is working on it; `nightsweep resume` continues it" in lines


async def test_a_run_is_attended_while_its_service_is_asked_for_its_quota(
    tmp_path: Path, clock: FakeClock
) -> None:
    class SlowService(ScriptedService):
        async def quota(self, client: Recording) -> Allotment | None:
            await clock.sleep(20.0)
            return self.allotment

    service = SlowService(
        lambda _: RateLimited("too many requests", retry_after_s=600.0),
        allotment=Allotment(used=0, allotted=1_000),
    )
    store = tmp_path / "store.db"

    async with (
        opened(store, service, clock, settings=RARE_POLLS) as engine,
        opened(store, service, clock) as other,
    ):
        run = await engine.submit(sweep(service, repeats=8))
        await execute_for_a_moment(run, clock)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.execute)
            await clock.advance(10.0)
            seen = await (await other.run("scripted")).status()
            tasks.cancel_scope.cancel()

    assert not seen.unattended


async def test_a_process_that_was_stopped_and_given_up_says_again_what_its_lanes_wait_for(
    tmp_path: Path, clock: FakeClock
) -> None:
    service = ScriptedService(lambda _: RateLimited("too many requests", retry_after_s=3000.0))
    of = sweep(service, repeats=8, limits={"max_in_flight": 1})
    often = Settings(poll_s=10.0)

    async with executed(tmp_path / "store.db", service, clock, of, settings=often) as (run, other):
        await clock.advance(5.0)
        before = await other.store.worker.find_lanes_elsewhere(run._row.id)
        await other.store.worker.writer.write(
            lambda connection: workers.leave(connection, run._store.worker_id, NOW)
        )
        # The time goes on while a process is stopped; its timers do not.
        clock.skip(100.0)
        await clock.advance(15.0)
        after = await other.store.worker.find_lanes_elsewhere(run._row.id)

    assert [one.why for one in before] == [WaitReason.HELD]
    assert after == before


async def test_a_stopped_process_is_reported_even_if_it_has_nothing_in_flight(
    tmp_path: Path, clock: FakeClock
) -> None:
    service = ScriptedService(lambda _: RateLimited("too many requests", retry_after_s=3000.0))
    of = sweep(service, repeats=8, limits={"max_in_flight": 1})

    async with executed(tmp_path / "store.db", service, clock, of) as (_, other):
        await clock.advance(60.0)
        seen = await (await other.run("scripted")).status()

    assert seen.jobs["running"] == 0
    assert "is stopped, or cannot write to its disk" in seen.trouble


async def test_deleting_a_run_deletes_what_its_lanes_wait_for(tmp_path: Path) -> None:
    service = ScriptedService(good)

    async with opened(tmp_path / "store.db", service) as engine:
        run = await engine.submit(sweep(service))
        await engine.store.queue.publish_lanes(run._row.id, [LaneState(name="a")])
        await engine.delete("scripted")
        rows = await rows_of_lanes(engine)

    assert rows == 0


def test_a_lane_in_which_one_process_still_sends_takes_its_turn() -> None:
    stopped = LaneState(name="a", why=WaitReason.GIVEN_UP, detail="away")
    sending = LaneState(name="a", why=WaitReason.RATE)

    assert waits_elsewhere("a", [sending, stopped]) == sending
    assert waits_elsewhere("a", [stopped]) == stopped
    assert waits_elsewhere("b", [stopped]) == LaneState(name="b")
