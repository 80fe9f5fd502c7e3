"""The month's end: whose month it is, and what a run does that waits for it."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import pytest

from engine import RunState, StopReason
from engine.kinds import Allotment, Answer, Job, Measurement, Transient
from engine.testing import FakeClock, Memory, ScriptedKind, ScriptedService, Start, scored
from tests.engine.scenes import RARE_POLLS, events, opened, sweep

EVE = datetime(2027, 1, 31, 23, 30, tzinfo=UTC).timestamp()
MIDNIGHT = datetime(2027, 2, 1, tzinfo=UTC).timestamp()
TAKES_S = 2400.0
ZONES = ["UTC", "Asia/Tokyo", "America/Los_Angeles"]


class KnownCost(ScriptedKind):
    def expected_tests(self, labels: Mapping[str, Any]) -> int:
        return 2


def month_in(zone: str, at: float) -> str:
    return datetime.fromtimestamp(at, ZoneInfo(zone)).strftime("%Y-%m")


class Monthly(ScriptedService):
    """A service of ten tests a month, whose months begin at midnight in a time zone."""

    def __init__(self, clock: FakeClock, zone: str) -> None:
        super().__init__(
            lambda _: scored(0.2, 0.9),
            kind=KnownCost,
            allotment=Allotment(used=0, allotted=10),
            takes_s=TAKES_S,
        )
        self._clock = clock
        self._zone = zone

    async def quota(self, client: Any) -> Allotment | None:
        this = month_in(self._zone, self._clock.now())
        used = sum(2 for one in self.recording.started if month_in(self._zone, one.at) == this)
        return Allotment(used=used, allotted=10)


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
    zone: str, clock: FakeClock
) -> None:
    clock.skip(EVE - clock.now())
    service = Monthly(clock, "UTC")

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        run = await engine.submit(sweep(service, repeats=10))
        status = await run.execute()
        logged = await events(run)

    assert status.state is RunState.FINISHED
    # What was in flight at midnight is held in the new month, too, until the service tells that it was billed
    # in the old one.
    assert [one.at for one in service.recording.started] == [EVE] * 5 + [EVE + TAKES_S] * 5
    assert "the month 2027-02 has begun (UTC)" in [message for _, _, message in logged]


async def test_a_months_quota_is_used_and_never_exceeded_wherever_the_service_is(
    zone: str, clock: FakeClock
) -> None:
    clock.skip(EVE - clock.now())
    service = Monthly(clock, zone)
    resumed = 0

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
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
    clock: FakeClock,
) -> None:
    clock.skip(EVE - clock.now())

    class Unreachable(Monthly):
        async def quota(self, client: Any) -> Allotment | None:
            if clock.now() >= MIDNIGHT:
                raise Transient("connection refused")
            return await super().quota(client)

    service = Unreachable(clock, "UTC")

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        run = await engine.submit(sweep(service, repeats=30, limits={"max_in_flight": 3}))
        status = await run.execute()

    assert status.reason is StopReason.QUOTA
    # It is unknown in which month the first three were billed, so they count in both.
    assert by_month(service.recording.started, "UTC") == [3, 2]


@pytest.mark.parametrize("billed_at", ["start", "end"])
@pytest.mark.parametrize("capped", [False, True])
async def test_what_is_in_flight_as_a_month_turns_is_never_too_much_for_either(
    billed_at: str, capped: bool, clock: FakeClock
) -> None:
    memory = Memory()
    clock.skip(EVE - clock.now())
    billed: Counter[str] = Counter()

    class Costly(ScriptedKind):
        def most_tests(self, labels: Mapping[str, Any], measured: Measurement) -> int:
            return 50

    def script(job: Job) -> Answer:
        began = next(one.at for one in service.recording.started if one.job is job)
        at = began if billed_at == "start" else clock.now()
        billed[month_in("UTC", at)] += 50
        return scored(*[0.9] * 50)

    class Costs(ScriptedService):
        async def quota(self, client: Any) -> Allotment | None:
            this = month_in("UTC", clock.now())
            return Allotment(used=billed[this], allotted=10_000 if capped else 600)

    service = Costs(script, kind=Costly, allotment=Allotment(used=0, allotted=600), takes_s=700.0)
    limits = {"max_in_flight": 8, **({"quota": {"tests": 600}} if capped else {})}

    async with (
        opened(memory, service, clock, settings=RARE_POLLS) as one,
        opened(memory, service, clock, settings=RARE_POLLS) as other,
        clock.jumping(),
    ):
        runs = [
            await engine.submit(sweep(service, repeats=60, limits=limits))
            for engine in (one, other)
        ]
        async with anyio.create_task_group() as tasks:
            for run in runs:
                tasks.start_soon(run.execute)
        status = await runs[0].status()

    assert status.reason is StopReason.QUOTA
    assert billed["2027-01"] <= 600
    # None is lost either: once the service has reported its figures, what it did not bill in the new month can be used.
    assert billed["2027-02"] == 600


async def test_nothing_is_claimed_past_the_quota_while_a_new_month_is_being_asked_for(
    clock: FakeClock,
) -> None:
    clock.skip(EVE - clock.now())
    asked, answered = anyio.Event(), anyio.Event()

    class Slow(Monthly):
        async def quota(self, client: Any) -> Allotment | None:
            if clock.now() >= MIDNIGHT:
                asked.set()
                await answered.wait()
            return await super().quota(client)

    service = Slow(clock, "UTC")

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
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
