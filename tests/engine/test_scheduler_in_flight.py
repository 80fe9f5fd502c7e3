"""How many requests are in flight, in all and per lane, and what it costs to have nothing to do."""

import tracemalloc
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import pytest

from engine import RunState, StopReason
from engine.core.runs import WaitReason
from engine.core.status import Waiting
from engine.kinds import Answer, Job, JobContext, RateLimited, Transient
from engine.report.times import moment_to_the_second
from engine.settings import Settings
from engine.store.changes.queue import QueueChanges
from engine.testing import FakeClock, Memory, Recording, ScriptedKind, ScriptedService
from tests.engine.scenes import NOW, RARE_POLLS, events, finished, good, opened, starts, sweep


class Counting(ScriptedKind):
    """Counts what is in flight of each model."""

    now: Counter[str]
    most: Counter[str]

    async def run(self, job: Job, client: Any, context: JobContext) -> Answer:
        model = job.labels["model"]
        self.now[model] += 1
        self.most[model] = max(self.most[model], self.now[model])
        try:
            return await super().run(job, client, context)
        finally:
            self.now[model] -= 1


@pytest.fixture
def counting() -> type[Counting]:
    return type("Counting", (Counting,), {"now": Counter(), "most": Counter()})


async def test_no_more_are_in_flight_than_allowed_in_all_and_in_a_lane(
    clock: FakeClock, counting: type[Counting]
) -> None:
    service = ScriptedService(good, kind=counting, takes_s=1.0)
    limits = {"max_in_flight": 6, "models": {"one": {"max_in_flight": 1}}}
    of = sweep(service, models=["one", "two", "three"], repeats=40, limits=limits)

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert status.cells_done == 120
    assert service.recording.most_in_flight == 6
    assert counting.most["one"] == 1
    # All slots were in use for as long as there was something to use them for.
    assert starts(service)[-1] <= NOW + 40 + 4


async def test_two_engines_on_one_store_share_the_slots(clock: FakeClock) -> None:
    memory = Memory()
    service = ScriptedService(good, takes_s=3.0)
    of = sweep(service, models=["a", "b"], repeats=60, limits={"max_in_flight": 8})
    most_later = 0

    async with (
        opened(memory, service, clock) as one,
        opened(memory, service, clock) as other,
        anyio.create_task_group() as tasks,
    ):
        first, second = await one.submit(of), await other.submit(of)
        tasks.start_soon(first.execute)
        tasks.start_soon(second.execute)
        # Both have looked, and what they had too much of in flight has come to its end.
        await clock.advance(5.0)
        service.recording.most_in_flight = 0
        await clock.advance(10.0)
        most_later = service.recording.most_in_flight
        tasks.start_soon(clock.advance, 60.0)
    async with opened(memory, service, clock) as engine:
        status = await (await engine.run()).status()

    assert most_later == 8
    assert status.state is RunState.FINISHED
    assert status.jobs["succeeded"] == 120
    # Nothing was sent twice.
    assert len(service.recording.started) == 120


async def test_lanes_get_fair_shares_of_the_slots(
    clock: FakeClock, counting: type[Counting]
) -> None:
    service = ScriptedService(good, kind=counting, takes_s=1.0)
    of = sweep(service, models=["a", "b", "c", "d"], repeats=100, limits={"max_in_flight": 10})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(of)
        tasks.start_soon(run.execute)
        await service.recording.until_started(200)
        run.stop()

    counts = Counter(start.job.labels["model"] for start in service.recording.started)
    assert max(counts.values()) - min(counts.values()) <= 10


async def test_a_single_slot_goes_round_between_lanes(clock: FakeClock) -> None:
    service = ScriptedService(good, takes_s=1.0)
    of = sweep(service, models=["a", "b"], repeats=20, limits={"max_in_flight": 1})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        await finished(engine, of)

    order = [start.job.labels["model"] for start in service.recording.started]
    assert Counter(order[:20]) == {"a": 10, "b": 10}


@pytest.mark.parametrize(
    "error",
    [
        RateLimited("too many requests", status=429, retry_after_s=1.0),
        Transient("overloaded", status=503),
    ],
)
async def test_a_lane_that_is_overloaded_is_given_less_and_recovers(
    clock: FakeClock, error: Exception
) -> None:
    # It bears four at once until a minute has passed, then anything.
    def script(_: Job) -> Answer | Exception:
        is_too_much = clock.now() < NOW + 60.0 and service.recording.in_flight > 4
        return error if is_too_much else good(_)

    service = ScriptedService(script, takes_s=4.0)
    of = sweep(
        service,
        repeats=800,
        limits={"max_in_flight": 16},
        retry={"attempts": 100, "base_delay_s": 0.1},
    )

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(of)
        tasks.start_soon(run.execute)
        await clock.advance(60.0)
        service.recording.most_in_flight = 0
        await clock.advance(60.0)
        run.stop()
        await clock.advance(20.0)

    assert service.recording.most_in_flight == 16


async def test_a_lane_at_its_floor_grows_again_while_its_only_request_takes_long(
    clock: FakeClock,
) -> None:
    # Two overloads bring it down to one in flight, and that one takes ten minutes.
    class Slow(ScriptedKind):
        async def run(self, job: Job, client: Recording, context: JobContext) -> Answer:
            client.takes_s = 0.5 if clock.now() < NOW + 10.0 else 600.0
            return await super().run(job, client, context)

    service = ScriptedService(
        lambda job: (
            RateLimited("too many requests", status=429, retry_after_s=3.0)
            if clock.now() < NOW + 10.0
            else good(job)
        ),
        kind=Slow,
    )
    of = sweep(service, repeats=50, limits={"max_in_flight": 8})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(of)
        tasks.start_soon(run.execute)
        await clock.advance(90.0)
        in_flight = service.recording.in_flight
        run.stop()
        await clock.advance(20.0)

    assert in_flight == 8


async def test_waiting_costs_no_claims(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory()
    claims = 0
    claim = QueueChanges.claim

    async def counted(queue: QueueChanges, decide: Any) -> Any:
        nonlocal claims
        claims += 1
        return await claim(queue, decide)

    monkeypatch.setattr(QueueChanges, "claim", counted)
    service = ScriptedService(
        lambda _: RateLimited("too many requests", status=429, retry_after_s=3000.0)
    )
    of = sweep(service, models=["a", "b"], repeats=50)

    async with (
        opened(memory, service, clock, settings=Settings(poll_s=10.0)) as engine,
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(of)
        tasks.start_soon(run.execute)
        await clock.advance(20.0)
        before = claims
        await clock.advance(2400.0)
        after = claims
        status = await run.status()
        async with opened(memory, service, clock) as other:
            elsewhere = await (await other.run()).status()
        same = await (await engine.run()).status()
        run.stop()

    assert after == before
    assert {one.why for one in status.waiting} == {WaitReason.HELD}
    assert elsewhere.waiting == status.waiting
    assert same == status
    for look in (status, elsewhere):
        assert {one.until for one in look.waiting} == {NOW + 3000.0}
        assert sum(one.jobs for one in look.waiting) == 100


async def test_jobs_that_back_off_are_counted_apart_from_queued_ones(clock: FakeClock) -> None:
    service = ScriptedService(
        lambda job: Transient("HTTP 500", status=500) if job.attempt == 1 else good(job),
        takes_s=10,
    )
    of = sweep(
        service, repeats=12, limits={"max_in_flight": 4}, retry={"base_delay_s": 100, "attempts": 2}
    )

    async with (
        opened(Memory(), service, clock) as engine,
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(of)
        tasks.start_soon(run.execute)
        await clock.advance(15.0)
        found = (await run.status()).waiting
        await clock.advance(20.0)
        later = (await run.status()).waiting
        run.stop()

    assert [(one.why, one.jobs, one.detail) for one in found] == [
        (WaitReason.RETRY, 4, "HTTP 500"),
        (WaitReason.QUEUED, 4, ""),
    ]
    assert [(one.why, one.jobs) for one in later] == [(WaitReason.RETRY, 12)]
    assert later[0].until == pytest.approx(NOW + 110, abs=51)


async def test_a_lane_that_is_refused_without_a_time_is_not_shown_as_asked_to_wait(
    clock: FakeClock,
) -> None:
    service = ScriptedService(lambda _: RateLimited("too many requests", status=429))

    async with (
        opened(Memory(), service, clock) as engine,
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(sweep(service, retry={"base_delay_s": 100}))
        tasks.start_soon(run.execute)
        await clock.advance(5.0)
        [waiting] = (await run.status()).waiting
        run.stop()

    assert waiting.why is WaitReason.THROTTLED


@pytest.mark.parametrize(
    ("wait_s", "why"), [(3000.0, WaitReason.HELD), (None, WaitReason.THROTTLED)]
)
async def test_a_new_session_knows_whether_the_service_named_the_time_that_it_waits_for(
    wait_s: float | None, why: WaitReason, clock: FakeClock
) -> None:
    service = ScriptedService(lambda _: RateLimited("too many", retry_after_s=wait_s))
    memory = Memory()
    seen: list[Waiting] = []

    for _ in range(2):
        async with (
            opened(memory, service, clock, settings=RARE_POLLS) as engine,
            anyio.create_task_group() as tasks,
        ):
            run = await engine.submit(sweep(service, retry={"base_delay_s": 100}))
            tasks.start_soon(run.execute)
            await clock.advance(5.0)
            seen += (await run.status()).waiting
            run.stop()

    assert len(service.recording.started) == 1
    assert [one.why for one in seen] == [why, why]
    assert seen[0].until == seen[1].until


async def test_a_wait_that_the_service_asks_for_is_noted_once_however_many_it_refuses(
    clock: FakeClock,
) -> None:
    service = ScriptedService(lambda _: RateLimited("too many", retry_after_s=3000.0), takes_s=1.0)

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(sweep(service, repeats=4))
        tasks.start_soon(run.execute)
        await clock.advance(2.0)
        noted = await events(run)
        run.stop()

    until = moment_to_the_second(NOW + 3001.0)
    assert len(service.recording.started) == 4
    assert noted == [("held", "a", f"too many; nothing is sent until {until}")]


async def test_full_slots_cost_no_claims(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = 0
    claim = QueueChanges.claim

    async def counted(queue: QueueChanges, decide: Any) -> Any:
        nonlocal claims
        claims += 1
        return await claim(queue, decide)

    monkeypatch.setattr(QueueChanges, "claim", counted)
    service = ScriptedService(good, takes_s=1000.0)
    of = sweep(service, models=["a", "b"], repeats=50, limits={"max_in_flight": 4})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(of)
        tasks.start_soon(run.execute)
        await clock.advance(10.0)
        before = claims
        await clock.advance(900.0)
        after = claims
        run.stop()
        await clock.advance(20.0)

    assert after == before


class Trivial(ScriptedKind):
    """Records nothing."""

    async def run(self, job: Job, client: Any, context: JobContext) -> Answer:
        return good(job)


async def test_memory_does_not_grow_with_the_number_of_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def peak(name: str, jobs: int) -> int:
        service = ScriptedService(good, kind=Trivial)
        of = sweep(service, models=["a", "b"], repeats=jobs // 2, limits={"max_in_flight": 64})
        async with opened(tmp_path / f"{name}.db", service) as engine:
            tracemalloc.start()
            try:
                _, status = await finished(engine, of)
                assert status.jobs["succeeded"] == jobs
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    # The matrix is written in batches; smaller ones leave less to hide behind.
    monkeypatch.setattr("engine.core.expanding.BATCH", 100)
    monkeypatch.setattr("engine.core.expanding.BATCH_BESIDE_JOBS", 100)
    # What is compiled, cached and pooled is there after a first run of some length.
    await peak("first", 100)
    few, many = await peak("few", 200), await peak("many", 600)

    # It is some 150 kB; with 400 jobs as objects it would be more than 500 kB.
    assert many - few < 350_000


def at(text: str, timezone: str) -> float:
    """A local time as seconds since the epoch."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(timezone)).timestamp()


@pytest.mark.parametrize(
    ("now", "opens", "closes"),
    [
        ("2027-01-15T12:00", "2027-01-15T22:00", "2027-01-16T07:00"),
        # The night in which Berlin puts its clocks ahead is an hour shorter, the other an hour longer.
        ("2027-03-27T12:00", "2027-03-27T22:00", "2027-03-28T07:00"),
        ("2027-10-30T12:00", "2027-10-30T22:00", "2027-10-31T07:00"),
    ],
)
async def test_requests_start_within_the_window_alone_over_midnight_and_clock_changes(
    clock: FakeClock, now: str, opens: str, closes: str
) -> None:
    berlin = "Europe/Berlin"
    clock.skip(at(now, berlin) - clock.now())
    service = ScriptedService(good, takes_s=600.0)
    limits = {"window": "22:00-07:00", "timezone": berlin, "max_in_flight": 1}
    of = sweep(service, repeats=58, limits=limits)

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(of)
        tasks.start_soon(run.execute)
        await clock.advance(60.0)
        waiting = (await run.status()).waiting
        await clock.advance(24 * 3600.0)
        run.stop()
        await clock.advance(20.0)

    night = [time for time in starts(service) if time < at(closes, berlin) + 3600]
    hours = (at(closes, berlin) - at(opens, berlin)) / 3600
    assert [(one.why, one.until) for one in waiting] == [(WaitReason.WINDOW, at(opens, berlin))]
    assert night[0] == at(opens, berlin)
    assert night[-1] < at(closes, berlin)
    assert len(night) == min(58, hours * 6)


async def test_a_deadline_ends_the_run_with_what_is_in_flight(clock: FakeClock) -> None:
    service = ScriptedService(good, takes_s=50.0)
    deadline = datetime.fromtimestamp(NOW + 120.0, UTC).isoformat()
    of = sweep(service, repeats=50, limits={"max_in_flight": 2, "deadline": deadline})

    async with opened(Memory(), service, clock) as engine, clock.jumping():
        run, status = await finished(engine, of)
        again = await run.execute()

    assert status.reason is StopReason.DEADLINE
    # At 0, 50 and 100 s; the last pair was let come to its end.
    assert status.jobs["succeeded"] == 6
    assert max(starts(service)) == NOW + 100.0
    assert again.reason is StopReason.DEADLINE
    assert len(service.recording.started) == 6


@pytest.mark.parametrize(
    "limits",
    [
        {"deadline": datetime.fromtimestamp(NOW + 9.8, UTC).isoformat()},
        {"window": "07:00-08:01", "timezone": "UTC"},
    ],
)
async def test_a_slot_that_lies_behind_the_end_is_not_used(
    clock: FakeClock, limits: dict[str, Any]
) -> None:
    end = NOW + 9.8 if "deadline" in limits else NOW + 60.0
    clock.skip(end - 9.8 - clock.now())
    # Slots are 0.18 s apart and claimed in pairs.
    service = ScriptedService(good)
    of = sweep(service, repeats=100, limits={"rate_per_min": 300, **limits})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(of)
        tasks.start_soon(run.execute)
        await clock.advance(30.0)
        run.stop()

    # Of the last pair the first alone lies before the end.
    assert len(starts(service)) == 55
    assert starts(service)[-1] < end


async def test_the_slots_of_a_process_that_stands_still_are_used_by_the_others_soon() -> None:
    service = ScriptedService(good)
    service.recording.hold()
    of = sweep(service, repeats=40, limits={"max_in_flight": 8})
    # Time stands still for the one that was stopped: it looks no more, and its heart does not beat.
    stopped, alive = FakeClock(NOW), FakeClock(NOW)
    memory = Memory()

    async with (
        opened(memory, service, stopped) as first,
        opened(memory, service, alive) as second,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon((await first.submit(of)).execute)
        await service.recording.until_in_flight(8)
        tasks.start_soon((await second.run()).execute)
        await service.recording.until_in_flight(12)
        shared = service.recording.in_flight
        await alive.advance(10.0)
        taken_over = service.recording.in_flight
        tasks.cancel_scope.cancel()

    assert (shared, taken_over) == (12, 16)


async def test_a_process_that_stands_still_keeps_hardly_any_of_a_high_rate_from_the_others() -> (
    None
):
    service = ScriptedService(good)
    of = sweep(service, repeats=300, limits={"rate_per_min": 1200, "max_in_flight": 64})
    stopped, alive = FakeClock(NOW), FakeClock(NOW)
    memory = Memory()

    async with (
        opened(memory, service, stopped) as first,
        opened(memory, service, alive) as second,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon((await first.submit(of)).execute)
        # It has taken all that it takes ahead, and is never to use any but the first.
        await service.recording.until_started(1)
        tasks.start_soon((await second.run()).execute)
        await alive.advance(8.0)
        tasks.cancel_scope.cancel()

    # A handful of slots is lost with it, and of those at most as many as are taken ahead.
    assert len(starts(service)) >= 20 * 8 - 5


async def test_processes_that_are_alive_share_the_slots_however_long_their_jobs_take() -> None:
    service = ScriptedService(good)
    service.recording.hold()
    of = sweep(service, repeats=40, limits={"max_in_flight": 8})
    clock = FakeClock(NOW)
    memory = Memory()

    async with (
        opened(memory, service, clock) as first,
        opened(memory, service, clock) as second,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon((await first.submit(of)).execute)
        await service.recording.until_in_flight(8)
        tasks.start_soon((await second.run()).execute)
        await service.recording.until_in_flight(12)
        await clock.advance(30.0)
        shared = service.recording.in_flight
        tasks.cancel_scope.cancel()

    assert shared == 12
