"""Requests are counted when they are written, however long it took to connect."""

from collections.abc import Iterator, Sequence
from itertools import chain, cycle, repeat
from typing import Any

import anyio
import pytest

from engine.core.errors import NotNow
from engine.core.permits import PermitLimit
from engine.kinds import Allotment, Answer, Group, Job, JobContext, start_request, starting_with
from engine.permits import MemoryBook, Permits
from engine.testing import (
    FakeClock,
    Memory,
    Recording,
    ScriptedKind,
    ScriptedService,
)
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

SOMETIMES = (0.0, 1.5, 0.0, 0.0, 0.7)
"""Handshakes as they are when connections are kept alive for a while."""
ALWAYS = (1.5, 1.1)
LIMITS = {"rate_per_min": 20}


def connecting(handshakes: Iterator[float]) -> type[ScriptedKind]:
    """A kind that connects before it writes."""

    class Connecting(ScriptedKind):
        async def run(self, job: Job, client: Any, context: JobContext) -> Answer:
            await context.clock.sleep(next(handshakes))
            await start_request()
            return await super().run(job, client, context)

    return Connecting


@pytest.mark.parametrize("handshakes_s", [SOMETIMES, ALWAYS])
async def test_no_minute_sees_more_requests_than_its_rate_where_connecting_is_slow(
    clock: FakeClock, handshakes_s: tuple[float, ...]
) -> None:
    service = ScriptedService(good, kind=connecting(cycle(handshakes_s)))
    of = sweep(service, repeats=150, limits={"rate_per_min": 60})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert status.jobs["succeeded"] == 150
    assert most_in_a_minute(starts(service)) <= 60
    assert starts(service)[-1] - NOW <= 150 / 60 * 60 / 0.95


async def test_a_request_that_is_late_gets_another_slot_in_the_same_attempt(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = ScriptedService(good, kind=connecting(repeat(0.0)))
    sleep = clock.sleep
    stalls = chain([0.0] * 9, [0.4, 0.7, 0.4], repeat(0.0))

    async def stalling(seconds: float) -> None:
        # What a busy machine does to a task that was to wake at its slot.
        await sleep(seconds + (next(stalls) if 0 < seconds < 1 else 0.0))

    monkeypatch.setattr(clock, "sleep", stalling)
    of = sweep(service, repeats=70, limits={"rate_per_min": 60})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        run, status = await finished(engine, of)
        attempts = await run._store._database.ask(
            lambda connection: connection.exec_driver_sql("SELECT count(*) FROM attempt").scalar()
        )

    assert status.jobs["succeeded"] == attempts == 70
    assert most_in_a_minute(starts(service)) <= 60
    # The slots that passed unused are given back: none is missing in the first minute.
    assert sum(at < NOW + 60.0 for at in starts(service)) >= 59


async def test_each_request_of_an_attempt_has_a_slot_of_its_own(clock: FakeClock) -> None:
    class Twice(ScriptedKind):
        async def run(self, job: Job, client: Any, context: JobContext) -> Answer:
            for _ in range(2):
                await start_request()
                written.append(context.clock.now())
            return await super().run(job, client, context)

    written: list[float] = []
    service = ScriptedService(good, kind=Twice)
    of = sweep(service, repeats=50, limits={"rate_per_min": 60})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        await finished(engine, of)

    assert len(written) == 100
    assert most_in_a_minute(written) <= 60


async def test_questions_to_the_service_are_counted_by_the_rate_of_its_key(
    clock: FakeClock,
) -> None:
    kind = connecting(repeat(0.0))

    class Asked(ScriptedService):
        async def groups(self, client: Recording) -> Sequence[Group]:
            await start_request()
            asked.append(clock.now())
            return await super().groups(client)

        async def quota(self, client: Recording) -> Allotment | None:
            await start_request()
            asked.append(clock.now())
            return await super().quota(client)

    asked: list[float] = []
    service = Asked(good, kind=kind, allotment=Allotment(used=0, allotted=10**6), groups=("mania",))

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        for name in ("first", "second", "third"):
            of = sweep(
                service,
                repeats=20,
                name=name,
                reuse=False,
                limits=LIMITS,
                matrix={"groups": "all"},
            )
            await finished(engine, of)

    assert len(asked) >= 6
    assert most_in_a_minute(sorted([*asked, *starts(service)])) <= 20


@pytest.mark.parametrize("handshakes_s", [SOMETIMES, ALWAYS])
async def test_calls_within_an_evaluation_are_counted_when_they_are_written(
    clock: FakeClock, handshakes_s: tuple[float, ...]
) -> None:
    permits = Permits(MemoryBook(clock), clock, "worker 1")
    handshakes = cycle(handshakes_s)
    written: list[float] = []

    async def call() -> None:
        permit = await permits.wait([PermitLimit(name="endpoint", rate_per_min=60)])
        with starting_with(permit.start):
            await clock.sleep(next(handshakes))
            await start_request()
        written.append(clock.now())

    async with clock.jumping(), anyio.create_task_group() as tasks:
        for _ in range(150):
            tasks.start_soon(call)

    assert len(written) == 150
    assert most_in_a_minute(sorted(written)) <= 60
    assert max(written) - min(written) <= 150 / 60 * 60 / 0.95


async def test_a_call_that_connects_for_longer_than_its_window_is_open_is_not_written(
    clock: FakeClock,
) -> None:
    permits = Permits(MemoryBook(clock), clock, "worker 1")
    limit = PermitLimit(name="endpoint", rate_per_min=60)

    async with clock.jumping():
        permit = await permits.wait([limit], until=NOW + 5.0)
        await clock.sleep(10.0)
        with pytest.raises(NotNow):
            await permit.start()


async def test_a_request_that_is_not_counted_starts_at_once() -> None:
    await start_request()
