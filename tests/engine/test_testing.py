import ast
import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path
from typing import Any

import aiosqlite
import anyio
import pytest
from aiolimiter import AsyncLimiter
from anyio import to_thread
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import create_async_engine

import engine.testing
from engine import Sweep, open_engine
from engine.clock import Clock
from engine.kinds import Allotment, Job, Transient
from engine.registry import Registry
from engine.testing import (
    FakeClock,
    Memory,
    ProcessClock,
    ScriptedService,
    scored,
)

NOW = 1_800_000_000.0


def sweep_of(service: ScriptedService, **more: object) -> Sweep:
    return Sweep.parse(
        {
            "name": "scripted",
            "service": {"kind": "scripted"},
            "evaluation": "scripted",
            "matrix": {"models": ["a", "b"]},
            **more,
        },
        registry=Registry(services={"scripted": service}),
    )


async def test_advancing_wakes_sleepers_in_order_each_at_its_own_time() -> None:
    clock: FakeClock = FakeClock(NOW)
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.now() - NOW))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleeper, "late", 9.0)
        tasks.start_soon(sleeper, "early", 2.0)
        tasks.start_soon(sleeper, "too late", 11.0)
        await clock.advance(10.0)
        within = list(woken)
        await clock.advance(1.0)

    assert within == [("early", 2.0), ("late", 9.0)]
    assert woken[-1] == ("too late", 11.0)
    assert clock.now() == NOW + 11.0


async def test_who_sleeps_again_is_woken_again_within_one_advance() -> None:
    clock = FakeClock(NOW)
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            await clock.sleep(1.0)
            ticks.append(clock.now() - NOW)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await clock.advance(3.5)
        tasks.cancel_scope.cancel()

    assert ticks == [1.0, 2.0, 3.0]


async def test_waiting_ends_with_the_event_or_at_the_time_whichever_is_first() -> None:
    clock: Clock = FakeClock(NOW)
    assert isinstance(clock, FakeClock)
    never, soon = anyio.Event(), anyio.Event()
    seen: list[bool] = []

    async def wait(event: anyio.Event) -> None:
        seen.append(await clock.wait(event, NOW + 5.0))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, soon)
        tasks.start_soon(wait, never)
        await clock.advance(1.0)
        soon.set()
        await clock.advance(5.0)

    assert seen == [True, False]
    assert await clock.wait(soon, NOW)
    assert not await clock.wait(never, NOW)


async def test_a_wait_that_ends_at_its_time_lets_others_wait_for_the_same_event() -> None:
    clock, event = FakeClock(NOW), anyio.Event()
    ended: list[tuple[float, bool]] = []

    async def wait(until: float) -> None:
        is_set = await clock.wait(event, until)
        ended.append((clock.now(), is_set))

    async with clock.jumping(), anyio.create_task_group() as tasks:
        tasks.start_soon(wait, NOW + 5.0)
        tasks.start_soon(wait, NOW + 9.0)
        await clock.sleep(7.0)
        event.set()

    assert ended == [(NOW + 5.0, False), (NOW + 7.0, True)]


async def test_a_wait_that_is_cancelled_at_its_very_time_ends_as_the_first_of_both_says() -> None:
    clock, event = FakeClock(NOW), anyio.Event()
    ended: list[bool] = []

    async def wait(within_s: float) -> None:
        with clock.move_on_after(within_s) as scope:
            await clock.wait(event, NOW + 5.0)
        ended.append(scope.cancelled_caught)

    async with clock.jumping(), anyio.create_task_group() as tasks:
        tasks.start_soon(wait, 5.0)
        tasks.start_soon(wait, 6.0)

    assert ended == [True, False]


async def test_a_block_ends_after_the_simulated_time_that_it_may_take() -> None:
    clock = FakeClock(NOW)
    machine = ProcessClock(clock, set_to=NOW + 3600.0)
    ended: list[tuple[str, float, bool]] = []

    async def work(name: str, clock: Clock, takes_s: float, within_s: float) -> None:
        with clock.move_on_after(within_s) as scope:
            await clock.sleep(takes_s)
        ended.append((name, clock.now(), scope.cancelled_caught))

    async with clock.jumping(), anyio.create_task_group() as tasks:
        tasks.start_soon(work, "at once", clock, 1.0, 0.0)
        tasks.start_soon(work, "early", clock, 900.0, 901.0)
        tasks.start_soon(work, "late", clock, 3600.0, 1800.0)
        tasks.start_soon(work, "elsewhere", machine, 3600.0, 2700.0)
        tasks.start_soon(work, "without an end", clock, 3600.0, inf)

    assert ended == [
        ("at once", NOW, True),
        ("early", NOW + 900.0, False),
        ("late", NOW + 1800.0, True),
        ("elsewhere", NOW + 3600.0 + 2700.0, True),
        ("without an end", NOW + 3600.0, False),
    ]


async def test_a_cancelled_sleeper_delays_no_other() -> None:
    clock = FakeClock(NOW)

    with anyio.move_on_after(0):
        await clock.sleep(3.0)
    async with clock.jumping():
        await clock.sleep(7.0)

    assert clock.now() == NOW + 7.0


async def test_a_jumping_clock_goes_through_a_night_in_no_time() -> None:
    clock = FakeClock(NOW)

    async with clock.jumping():
        for _ in range(8):
            await clock.sleep(3600.0)

    assert clock.now() == NOW + 8 * 3600.0


async def test_a_clock_without_sleepers_stands_still_while_jumping() -> None:
    clock = FakeClock(NOW)

    async with clock.jumping():
        await clock.wait(anyio.Event(), NOW)

    assert clock.now() == NOW


async def test_a_clock_that_jumps_uses_no_timer_of_real_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, timers = FakeClock(NOW), list[float]()
    loop = asyncio.get_running_loop()
    call_at = loop.call_at

    def counting(when: float, *args: Any, **more: Any) -> asyncio.TimerHandle:
        timers.append(when)
        return call_at(when, *args, **more)

    monkeypatch.setattr(loop, "call_at", counting)

    async with clock.jumping(), anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(clock.sleep, 7.0 * number)
            tasks.start_soon(clock.wait, anyio.Event(), NOW + 5.0 * number)
        await clock.sleep(400.0)

    assert timers == []


async def test_a_paused_clock_stands_still_for_sleepers_until_the_last_pause_ends() -> None:
    clock = FakeClock(NOW)
    seen: list[float] = []

    async def call(real_s: float) -> None:
        with clock.paused():
            await anyio.sleep(real_s)
            seen.append(clock.now() - NOW)

    async with clock.jumping(), anyio.create_task_group() as tasks:
        tasks.start_soon(call, 0.06)
        tasks.start_soon(call, 0.12)
        await clock.sleep(10.0)

    assert seen == [0.0, 0.0]
    assert clock.now() == NOW + 10.0


async def test_advancing_waits_for_the_end_of_a_pause() -> None:
    clock = FakeClock(NOW)
    ended = anyio.Event()

    async def call() -> None:
        with clock.paused():
            await anyio.sleep(0.06)
            ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await clock.advance(10.0)
        assert ended.is_set()


async def test_skipped_time_is_not_noticed_by_sleepers() -> None:
    clock = FakeClock(NOW)
    woken: list[float] = []

    async def sleep() -> None:
        await clock.sleep(10.0)
        woken.append(clock.now() - NOW)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleep)
        await clock.advance(4.0)
        clock.skip(3600.0)
        skipped = clock.now() - NOW
        await clock.advance(5.0)
        assert woken == []
        await clock.advance(1.0)
        clock.skip(-60.0)

    assert skipped == 3604.0
    assert woken == [3610.0]
    assert clock.now() == NOW + 3550.0


async def test_two_clocks_in_one_event_loop_do_not_wait_for_each_other() -> None:
    one, other = FakeClock(NOW), FakeClock(NOW)

    async with one.jumping(), other.jumping():
        await one.sleep(60.0)
        await other.sleep(3600.0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.sleep, 60.0)
            tasks.start_soon(other.sleep, 60.0)

    assert (one.now(), other.now()) == (NOW + 120.0, NOW + 3660.0)


async def test_the_clocks_of_processes_count_the_seconds_of_their_machine() -> None:
    machine = FakeClock(1000.0)
    right = ProcessClock(machine, set_to=NOW)
    await machine.advance(5.0)
    slow = ProcessClock(machine, set_to=NOW)

    async with machine.jumping():
        await slow.sleep(10.0)
        is_set = await right.wait(anyio.Event(), NOW + 20.0)

    assert (right.now(), slow.now(), is_set) == (NOW + 20.0, NOW + 15.0, False)
    slow.follow(right.offset_s)
    assert slow.now() == right.now()


WORK_S = 0.05
"""Real time that a thread takes here: a clock that did not wait for it would move meanwhile."""


async def in_a_thread(work: Callable[[], None]) -> None:
    await to_thread.run_sync(work)


async def in_a_thread_of_asyncio(work: Callable[[], None]) -> None:
    await asyncio.to_thread(work)


async def while_a_connection_is_opened(work: Callable[[], None]) -> None:
    def connect() -> sqlite3.Connection:
        work()
        return sqlite3.connect(":memory:")

    async with aiosqlite.Connection(connect, iter_chunk_size=64):
        pass


async def in_a_statement(work: Callable[[], None]) -> None:
    async with aiosqlite.connect(":memory:") as connection:
        await connection.create_function("work", 0, work)
        await connection.execute("SELECT work()")


async def in_a_statement_of_sqlalchemy(work: Callable[[], None]) -> None:
    database = create_async_engine("sqlite+aiosqlite://")
    event.listen(
        database.sync_engine, "connect", lambda raw, _: raw.create_function("work", 0, work)
    )
    async with database.connect() as connection:
        await connection.execute(text("SELECT work()"))
    await database.dispose()


async def in_a_context_manager_in_a_generator(work: Callable[[], None]) -> None:
    @asynccontextmanager
    async def manager() -> AsyncIterator[None]:
        await to_thread.run_sync(work)
        yield

    async def generator() -> AsyncIterator[int]:
        async with manager():
            yield 1

    assert [one async for one in generator()] == [1]


@pytest.mark.parametrize(
    "working",
    [
        in_a_thread,
        in_a_thread_of_asyncio,
        while_a_connection_is_opened,
        in_a_statement,
        in_a_statement_of_sqlalchemy,
        in_a_context_manager_in_a_generator,
    ],
)
async def test_the_clock_stands_still_while_a_thread_works(
    working: Callable[[Callable[[], None]], Coroutine[Any, Any, None]],
) -> None:
    clock = FakeClock(NOW)
    seen: list[float] = []

    def work() -> None:
        time.sleep(WORK_S)
        seen.append(clock.now() - NOW)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(working, work)
        tasks.start_soon(clock.sleep, 1.0)
        await clock.advance(2.0)

    assert seen == [0.0]


async def test_the_clock_stands_still_until_a_timer_of_real_time_has_fired() -> None:
    clock = FakeClock(NOW)
    seen: list[float] = []

    async def paced() -> None:
        for _ in range(3):
            async with pace:
                seen.append(clock.now() - NOW)

    pace = AsyncLimiter(1, 0.01)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(paced)
        tasks.start_soon(clock.sleep, 1.0)
        await clock.advance(2.0)

    assert seen == [0.0, 0.0, 0.0]


async def test_a_timer_that_goes_off_again_and_again_does_not_hold_the_clock_for_ever() -> None:
    clock = FakeClock(NOW)

    async def tick() -> None:
        while True:
            clock.now()
            await anyio.sleep(0.02)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await clock.advance(1.0)
        tasks.cancel_scope.cancel()

    assert clock.now() == NOW + 1.0


async def test_a_thread_that_sleeps_on_the_clock_does_not_hold_it() -> None:
    clock = FakeClock(NOW)

    async with clock.jumping():
        await to_thread.run_sync(clock.sleep_in_thread, 60.0)

    assert clock.now() == NOW + 60.0


async def test_a_scripted_service_answers_fails_and_records() -> None:
    def script(job: Job) -> object:
        if job.parameters["model"] == "b" and job.attempt == 1:
            return Transient("a hiccup")
        return scored(0.2, 0.9)

    service = ScriptedService(script)  # type: ignore[arg-type]  # object, to show what a bug raises
    clock = FakeClock(NOW)

    async with (
        open_engine(Memory(), registry=Registry({"scripted": service}), clock=clock) as engine,
        clock.jumping(),
    ):
        run = await engine.submit(sweep_of(service))
        status = await run.execute()
        rows = [row async for row in run.rows()]

    assert status.cells_done == 2
    assert [(row.passed, row.failed) for row in rows] == [(1, 1), (1, 1)]
    assert sorted(start.job.labels["model"] for start in service.recording.started) == [
        "a",
        "b",
        "b",
    ]
    assert service.recording.started[-1].at > NOW


async def test_jobs_can_be_held_in_flight() -> None:
    service = ScriptedService(lambda _: scored(1.0))
    service.recording.hold()
    clock = FakeClock(NOW)

    async with open_engine(
        Memory(), registry=Registry({"scripted": service}), clock=clock
    ) as engine:
        run = await engine.submit(sweep_of(service))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.execute)
            await service.recording.until_in_flight(2)
            held = await run.status()
            service.recording.release()
        ended = await run.status()

    assert held.jobs["running"] == 2
    assert ended.jobs["succeeded"] == 2
    assert service.recording.most_in_flight == 2


async def test_a_service_with_an_allotment_has_a_quota_to_keep() -> None:
    service = ScriptedService(
        lambda _: scored(1.0, 1.0), allotment=Allotment(used=0, allotted=3), groups=("x", "y")
    )
    clock = FakeClock(NOW)

    async with (
        open_engine(Memory(), registry=Registry({"scripted": service}), clock=clock) as engine,
        clock.jumping(),
    ):
        run = await engine.submit(sweep_of(service, matrix={"models": ["a"], "groups": "all"}))
        status = await run.execute()

    assert status.jobs["succeeded"] == 1
    assert len(service.recording.started) == 1
    [quota] = status.quotas
    assert (quota.used, quota.reserved, quota.allotted) == (2, 0, 3)


def test_two_scripted_services_share_nothing() -> None:
    one, other = ScriptedService(lambda _: scored()), ScriptedService(lambda _: scored())

    one.recording.started.append(None)  # type: ignore[arg-type]  # anything

    assert other.recording.started == []


@pytest.mark.parametrize("name", ["jobs", "pytest"])
def test_the_package_needs_neither_our_jobs_nor_a_test_runner(name: str) -> None:
    modules = list(Path(engine.testing.__file__).parent.glob("*.py"))

    imported = {
        module.split(".")[0]
        for path in modules
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for module in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }

    assert len(modules) > 1
    assert name not in imported
