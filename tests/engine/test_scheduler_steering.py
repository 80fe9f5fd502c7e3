"""What other processes do to a run that is being worked on, and how work on it ends early."""

from typing import Any

import anyio
import pytest

from engine import Run, RunState, Settings, Status, StopReason
from engine.kinds import Answer, Job, JobContext, Permanent
from engine.testing import FakeClock, Memory, Recording, ScriptedKind, ScriptedService
from tests.engine.scenes import finished, good, opened, starts, sweep
from tests.statements import watched_statements

NOTICED_S = 2.0


async def ended(run: Run, clock: FakeClock) -> tuple[Status, float]:
    """How a run ended, and when."""
    status = await run.execute()
    return status, clock.now()


class Steered:
    """A run that is being worked on, and the same run as another process sees it."""

    def __init__(self, here: Run, there: Run, clock: FakeClock) -> None:
        self.here = here
        self.there = there
        self._clock = clock
        self.status: Status | None = None
        self.ended_at = 0.0

    async def work(self) -> None:
        self.status, self.ended_at = await ended(self.here, self._clock)


async def test_a_pause_is_noticed_lets_what_is_in_flight_end_and_can_be_undone(
    clock: FakeClock,
) -> None:
    memory = Memory()
    service = ScriptedService(good, takes_s=30.0)
    of = sweep(service, repeats=10, limits={"max_in_flight": 2})

    async with (
        opened(memory, service, clock) as engine,
        opened(memory, service, clock) as other,
        anyio.create_task_group() as tasks,
    ):
        steered = Steered(await engine.submit(of), await other.submit(of), clock)
        tasks.start_soon(steered.work)
        await clock.advance(5.0)
        await steered.there.pause()
        paused_at = clock.now()
        await clock.advance(60.0)
        paused = steered.status
        sent = len(service.recording.started)
        await steered.there.unpause()
        async with clock.jumping():
            resumed = await steered.here.execute()

    assert paused is not None
    assert (paused.state, paused.reason) == (RunState.PAUSED, StopReason.PAUSED)
    assert (paused.jobs["succeeded"], sent) == (2, 2)
    assert steered.ended_at <= paused_at + 30.0
    assert resumed.state is RunState.FINISHED
    assert resumed.jobs["succeeded"] == 10
    assert len(service.recording.started) == 10


async def test_a_cancel_is_noticed_and_keeps_what_is_answered(clock: FakeClock) -> None:
    memory = Memory()
    service = ScriptedService(good, takes_s=3.0)
    of = sweep(service, repeats=10, limits={"max_in_flight": 2})

    async with (
        opened(memory, service, clock) as engine,
        opened(memory, service, clock) as other,
        anyio.create_task_group() as tasks,
    ):
        steered = Steered(await engine.submit(of), await other.submit(of), clock)
        tasks.start_soon(steered.work)
        await clock.advance(4.0)
        cancelled = await steered.there.cancel()
        cancelled_at = clock.now()
        await clock.advance(60.0)
        rows = [row async for row in steered.there.rows()]

    assert steered.status is not None
    assert steered.status.state is RunState.CANCELLED
    assert cancelled == 6
    assert steered.ended_at <= cancelled_at + NOTICED_S + 3.0
    assert [row.state for row in rows] == ["succeeded"] * 4 + ["cancelled"] * 6
    assert all(row.total == 2 for row in rows[:4])


async def test_a_retry_by_another_process_is_noticed(clock: FakeClock) -> None:
    memory = Memory()
    failing = True

    def script(job: Job) -> Answer | Exception:
        if job.labels["model"] == "b" and failing:
            return Permanent("HTTP 404", status=404)
        return good(job)

    service = ScriptedService(script)
    limits = {"models": {"a": {"rate_per_min": 6}}}
    of = sweep(service, models=["a", "b"], repeats=5, limits=limits)

    async with (
        opened(memory, service, clock) as engine,
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(of)
        tasks.start_soon(run.execute)
        await clock.advance(5.0)
        failing = False
        async with opened(memory, service, clock) as other:
            requeued = await (await other.run()).retry()
        retried_at = clock.now()
        await clock.advance(NOTICED_S)
        noticed = starts(service, "b")[5:]
        async with clock.jumping():
            pass
        run.stop()
        await clock.advance(1.0)

    assert requeued == 5
    assert len(noticed) == 5
    assert noticed[-1] <= retried_at + NOTICED_S


async def test_a_retry_in_the_same_process_is_noticed_too(clock: FakeClock) -> None:
    failing = True

    def script(job: Job) -> Answer | Exception:
        return Permanent("HTTP 404") if job.labels["model"] == "b" and failing else good(job)

    service = ScriptedService(script)
    of = sweep(service, models=["a", "b"], repeats=2, limits={"models": {"a": {"rate_per_min": 1}}})

    async with (
        opened(Memory(), service, clock) as engine,
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(of)
        tasks.start_soon(run.execute)
        await clock.advance(5.0)
        failing = False
        await (await engine.run()).retry()
        await clock.advance(NOTICED_S)
        noticed = starts(service, "b")[2:]
        run.stop()
        await clock.advance(1.0)

    assert len(noticed) == 2


async def test_cells_added_by_another_process_are_noticed_and_shared(clock: FakeClock) -> None:
    memory = Memory()
    service = ScriptedService(good, takes_s=5.0)
    limits = {"max_in_flight": 2}

    async with (
        opened(memory, service, clock) as engine,
        opened(memory, service, clock) as other,
        anyio.create_task_group() as tasks,
    ):
        first = await engine.submit(sweep(service, repeats=10, limits=limits))
        statuses: list[Status] = []

        async def work(run: Run) -> None:
            statuses.append(await run.execute())

        tasks.start_soon(work, first)
        await clock.advance(7.0)
        second = await other.submit(sweep(service, models=["a", "b"], repeats=10, limits=limits))
        tasks.start_soon(work, second)
        await clock.advance(150.0)

    assert [status.state for status in statuses] == [RunState.FINISHED] * 2
    assert statuses[-1].cells_done == 20
    assert len(service.recording.started) == 20


async def test_an_extension_that_was_not_written_out_is_left_for_a_resume(
    clock: FakeClock,
) -> None:
    memory = Memory()
    service = ScriptedService(good, takes_s=1.0)

    async with (
        opened(memory, service, clock) as engine,
        opened(memory, service, clock) as other,
        anyio.create_task_group() as tasks,
    ):
        steered = Steered(await engine.submit(sweep(service, repeats=4)), await engine.run(), clock)
        tasks.start_soon(steered.work)
        await clock.advance(0.5)
        await other.submit(sweep(service, repeats=6))
        await clock.advance(10.0)
        async with clock.jumping():
            resumed = await (await engine.run()).execute()

    assert steered.status is not None
    assert steered.status.state is RunState.ACTIVE
    assert steered.status.jobs["succeeded"] == 4
    assert resumed.state is RunState.FINISHED
    assert resumed.jobs["succeeded"] == 6


async def test_what_a_stopping_process_gives_back_is_taken_by_the_one_that_goes_on(
    clock: FakeClock,
) -> None:
    memory = Memory()
    service = ScriptedService(good, takes_s=60.0)
    of = sweep(service, repeats=4, limits={"max_in_flight": 4})

    async with (
        opened(memory, service, clock) as engine,
        anyio.create_task_group() as tasks,
        opened(memory, service, clock) as other,
        anyio.create_task_group() as leaving,
    ):
        there = await other.submit(of)
        leaving.start_soon(there.execute)
        await clock.advance(5.0)
        here = await engine.submit(of)
        steered = Steered(here, there, clock)
        tasks.start_soon(steered.work)
        # All is in flight there; here is nothing to do but to wait for what comes back.
        await clock.advance(5.0)
        there.stop()
        tasks.start_soon(clock.advance, 120.0)

    assert steered.status is not None
    assert steered.status.state is RunState.FINISHED
    assert steered.status.jobs["succeeded"] == 4


async def test_a_stop_lets_requests_end_within_the_grace_and_gives_the_rest_back(
    clock: FakeClock,
) -> None:
    class Uneven(ScriptedKind):
        async def run(self, job: Job, client: Recording, context: JobContext) -> Answer:
            client.takes_s = 5.0 if job.repeat == 1 else 500.0
            return await super().run(job, client, context)

    service = ScriptedService(good, kind=Uneven)
    of = sweep(service, repeats=6, limits={"max_in_flight": 3})

    async with (
        opened(Memory(), service, clock, settings=Settings(grace_s=20.0)) as engine,
        anyio.create_task_group() as tasks,
    ):
        steered = Steered(await engine.submit(of), await engine.run(), clock)
        tasks.start_soon(steered.work)
        await clock.advance(1.0)
        steered.here.stop()
        stopped_at = clock.now()
        await clock.advance(60.0)
        attempts = await engine.store._database.ask(
            lambda connection: connection.exec_driver_sql(
                "SELECT state, attempts, count(*) FROM job GROUP BY 1, 2 ORDER BY 1"
            ).all()
        )

    assert steered.status is not None
    assert steered.status.reason is StopReason.INTERRUPTED
    assert steered.ended_at == stopped_at + 20.0
    assert [tuple(row) for row in attempts] == [
        ("pending", 0, 3),
        ("succeeded", 1, 1),
        ("waiting", 0, 2),
    ]


async def test_a_stop_before_anything_began_sends_nothing(clock: FakeClock) -> None:
    service = ScriptedService(good)

    async with opened(Memory(), service, clock) as engine, clock.jumping():
        run = await engine.submit(sweep(service, repeats=5))
        run.stop()
        stopped = await run.execute()
        sent = len(service.recording.started)
        resumed = await run.execute()

    assert stopped.reason is StopReason.INTERRUPTED
    assert sent == 0
    assert resumed.state is RunState.FINISHED
    assert resumed.jobs["succeeded"] == 5


async def test_a_stop_while_the_last_status_is_read_does_not_stop_the_next_execution() -> None:
    refusals = [Permanent("no")]
    service = ScriptedService(lambda job: refusals.pop() if refusals else good(job))
    is_concluded = False

    async with opened(Memory(), service) as engine:
        run = await engine.submit(sweep(service))

        def stop_late(statement: str, values: Any) -> None:
            nonlocal is_concluded
            if is_concluded and statement.startswith("SELECT"):
                run.stop()
            is_concluded = is_concluded or (
                statement.startswith("UPDATE run") and RunState.FINISHED in values
            )

        with watched_statements(stop_late):
            first = await run.execute()
        await run.retry()
        second = await run.execute()

    assert is_concluded
    assert (first.reason, first.cells_failed) == (None, 1)
    assert (second.reason, second.cells_done) == (None, 1)


async def test_cancelled_from_outside_a_run_gives_back_what_is_in_flight() -> None:
    service = ScriptedService(good)
    service.recording.hold()

    async with opened(Memory(), service) as engine:
        run = await engine.submit(sweep(service, repeats=10, limits={"max_in_flight": 4}))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.execute)
            await service.recording.until_in_flight(4)
            tasks.cancel_scope.cancel()
        given_back = (await run.status()).jobs
        service.recording.release()
        resumed = await run.execute()

    assert given_back["running"] == 0
    assert given_back["waiting"] == 4
    assert resumed.jobs["succeeded"] == 10
    assert {start.job.attempt for start in service.recording.started} == {1}


@pytest.mark.parametrize("after_s", [0.0, 1.0])
async def test_a_cancel_of_ones_own_is_not_undone_by_the_end_of_the_run(
    clock: FakeClock, after_s: float
) -> None:
    service = ScriptedService(good, takes_s=0.5)

    async with opened(Memory(), service, clock) as engine:
        run = await engine.submit(sweep(service, repeats=40, limits={"max_in_flight": 2}))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.execute)
            await clock.advance(after_s + 0.1)
            await run.cancel()
            await clock.advance(10.0)
        status = await run.status()
        again = await run.retry(failed=False, cancelled=True)
        async with clock.jumping():
            finished_status = await run.execute()

    assert status.state is RunState.CANCELLED
    assert again == status.jobs["cancelled"] > 0
    assert finished_status.jobs["succeeded"] == 40


async def test_a_process_that_joins_a_finished_run_has_nothing_to_do(clock: FakeClock) -> None:
    memory = Memory()
    service = ScriptedService(good)

    async with opened(memory, service, clock) as engine, clock.jumping():
        await finished(engine, sweep(service, repeats=3))
        async with opened(memory, service, clock) as other:
            status = await (await other.run()).execute()

    assert status.state is RunState.FINISHED
    assert len(service.recording.started) == 3
