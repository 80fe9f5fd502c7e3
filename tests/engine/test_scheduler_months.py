"""The month's end: whose month it is, and what a run does that waits for it."""

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import pytest

from engine import RunState, StopReason
from engine.job import Allotment, Transient
from engine.testing import FakeClock, ScriptedKind, ScriptedService, Start, scored, scripted_service
from tests.engine.scenes import SELDOM, events, opened, sweep

EVE = datetime(2027, 1, 31, 23, 30, tzinfo=UTC).timestamp()
MIDNIGHT = datetime(2027, 2, 1, tzinfo=UTC).timestamp()
ZONES = ["UTC", "Asia/Tokyo", "America/Los_Angeles"]


class KnownCost(ScriptedKind):
    def expected_tests(self, labels: Mapping[str, Any]) -> int:
        return 2


def month_in(zone: str, at: float) -> str:
    return datetime.fromtimestamp(at, ZoneInfo(zone)).strftime("%Y-%m")


def allotting(clock: FakeClock, zone: str) -> Any:
    """A service of ten tests a month, whose months begin at midnight in a time zone."""

    class Monthly(ScriptedService):
        async def quota(self) -> Allotment | None:
            this = month_in(zone, clock.now())
            used = sum(2 for one in self.recording.started if month_in(zone, one.at) == this)
            return Allotment(used=used, allotted=10)

    base = scripted_service(
        lambda _: scored(0.2, 0.9),
        kind=KnownCost,
        allotment=Allotment(used=0, allotted=10),
        takes_s=2400.0,
    )
    return type("Service", (Monthly, base), {})


def by_month(started: list[Start], zone: str) -> list[int]:
    months = [month_in(zone, one.at) for one in started]
    return [months.count(month) for month in sorted(set(months))]


@pytest.fixture(params=ZONES)
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A time zone of the machine, and in some tests of the service."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


async def test_a_run_that_waits_for_quota_goes_on_as_the_month_begins_wherever_the_machine_is(
    tmp_path: Path, zone: str, clock: FakeClock
) -> None:
    clock._now = EVE
    service = allotting(clock, "UTC")

    async with (
        opened(tmp_path / "store.db", service, clock, settings=SELDOM) as engine,
        clock.jumping(),
    ):
        run = await engine.submit(sweep(service, repeats=10))
        status = await run.execute()
        told = await events(run)

    assert status.state is RunState.FINISHED
    assert [one.at for one in service.recording.started] == [EVE] * 5 + [MIDNIGHT] * 5
    assert "the month 2027-02 has begun (UTC)" in [message for _, _, message in told]


async def test_a_months_quota_is_used_and_never_exceeded_wherever_the_service_is(
    tmp_path: Path, zone: str, clock: FakeClock
) -> None:
    clock._now = EVE
    service = allotting(clock, zone)
    resumed = 0

    async with (
        opened(tmp_path / "store.db", service, clock, settings=SELDOM) as engine,
        clock.jumping(),
    ):
        run = await engine.submit(sweep(service, repeats=15))
        status = await run.execute()
        while status.reason is StopReason.QUOTA and resumed < 6:
            assert status.resume_at is not None
            await clock.sleep(status.resume_at - clock.now())
            resumed += 1
            status = await run.execute()

    # Where it says to resume there is quota again, or it is asked once more half a day later.
    assert status.state is RunState.FINISHED
    assert by_month(service.recording.started, zone) == [5, 5, 5]
    assert clock.now() < datetime(2027, 4, 2, tzinfo=UTC).timestamp()


async def test_a_month_that_begins_while_the_service_cannot_be_asked_has_last_months_allotment(
    tmp_path: Path, clock: FakeClock
) -> None:
    clock._now = EVE
    base = allotting(clock, "UTC")

    class Unreachable(ScriptedService):
        async def quota(self) -> Allotment | None:
            if clock.now() >= MIDNIGHT:
                raise Transient("connection refused")
            return await super().quota()

    service: Any = type("Service", (Unreachable, base), {})

    async with (
        opened(tmp_path / "store.db", service, clock, settings=SELDOM) as engine,
        clock.jumping(),
    ):
        run = await engine.submit(sweep(service, repeats=30))
        status = await run.execute()

    assert status.reason is StopReason.QUOTA
    assert by_month(service.recording.started, "UTC") == [5, 5]


async def test_nothing_is_claimed_past_the_quota_while_a_new_month_is_being_asked_for(
    tmp_path: Path, clock: FakeClock
) -> None:
    clock._now = EVE
    asked, answered = anyio.Event(), anyio.Event()
    base = allotting(clock, "UTC")

    class Slow(ScriptedService):
        async def quota(self) -> Allotment | None:
            if clock.now() >= MIDNIGHT:
                asked.set()
                await answered.wait()
            return await super().quota()

    service: Any = type("Service", (Slow, base), {})

    async with (
        opened(tmp_path / "store.db", service, clock, settings=SELDOM) as engine,
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(sweep(service, repeats=40))
        tasks.start_soon(run.execute)
        await clock.advance(MIDNIGHT - EVE + 1.0)
        await asked.wait()
        # The answers of the old month come in, and free its slots.
        await clock.advance(2400.0)
        meanwhile = len(service.recording.started)
        answered.set()
        async with clock.jumping():
            await clock.sleep(3600.0)

    assert meanwhile == 5
    assert by_month(service.recording.started, "UTC") == [5, 5]
