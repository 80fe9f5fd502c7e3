"""Questions answered of all, as the jobs of a run report them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import Status
from engine.kinds import Answer, Job, JobContext, Measurement, Transient
from engine.testing import FakeClock, ScriptedKind, ScriptedService
from tests.engine.scenes import opened, sweep
from tests.statements import watched_statements

QUESTIONS = 5


class Asking(ScriptedKind):
    """Five questions a job, of which a reply each ten seconds; they are kept."""

    uses_quota = False

    def expected_tests(self, labels: Mapping[str, Any]) -> int:
        return QUESTIONS

    async def run(self, job: Job, client: Any, context: JobContext) -> Answer:
        async def call() -> bytes:
            await context.clock.sleep(10.0)
            return b"reply"

        for number in range(QUESTIONS):
            await context.cached({"job": job.key, "question": number}, call)
            context.progress(number + 1, QUESTIONS)
        return await super().run(job, client, context)


def all_passed(_: Job) -> Answer:
    return Answer(raw=b"{}", measurement=Measurement(passed=QUESTIONS, failed=0, tests=QUESTIONS))


def counted(status: Status) -> tuple[int | None, int | None]:
    return status.questions_answered, status.questions


@pytest.mark.parametrize(("after_s", "answered"), [(1.0, 0), (31.0, 6), (41.0, 8)])
async def test_questions_are_counted_from_the_first_reply_and_tell_the_time_left(
    tmp_path: Path, clock: FakeClock, after_s: float, answered: int
) -> None:
    service = ScriptedService(all_passed, kind=Asking)

    async with opened(tmp_path / "store.db", service, clock) as engine:
        run = await engine.submit(sweep(service, repeats=4, limits={"max_in_flight": 2}))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.execute)
            await clock.advance(after_s)
            during = await run.status()
            async with clock.jumping():
                await service.recording.until_started(4)
        after = await run.status()

    assert (counted(during), during.cells_done) == ((answered, 20), 0)
    if answered:
        assert during.seconds_left == pytest.approx((20 - answered) * after_s / answered, rel=0.1)
        assert during.binding == "speed so far"
    else:
        assert during.seconds_left is None
    assert counted(after) == (20, 20)


async def test_a_job_that_is_tried_again_keeps_its_questions_in_the_count(
    tmp_path: Path, clock: FakeClock
) -> None:
    def once_in_vain(job: Job) -> Answer | Exception:
        return Transient("HTTP 500", status=500) if job.attempt == 1 else all_passed(job)

    service = ScriptedService(once_in_vain, kind=Asking)
    retry = {"base_delay_s": 60, "max_delay_s": 300}

    async with opened(tmp_path / "store.db", service, clock) as engine:
        run = await engine.submit(sweep(service, retry=retry))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.execute)
            await clock.advance(55)
            between = await run.status()
            tasks.cancel_scope.cancel()

    assert (between.jobs["waiting"], counted(between)) == (1, (5, 5))


async def test_replies_that_are_kept_count_at_once_and_tell_no_speed(
    tmp_path: Path, clock: FakeClock
) -> None:
    service = ScriptedService(all_passed, kind=Asking)

    async with opened(tmp_path / "store.db", service, clock) as engine:
        run = await engine.submit(sweep(service, repeats=2, limits={"max_in_flight": 1}))
        looks = []
        for seconds in (45, 1):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run.execute)
                await clock.advance(seconds)
                looks.append(await run.status())
                tasks.cancel_scope.cancel()

    first, again = looks
    assert (counted(first), counted(again)) == ((4, 10), (4, 10))
    assert first.seconds_left is not None
    assert again.seconds_left is None


async def test_other_processes_know_of_questions_in_flight(
    tmp_path: Path, clock: FakeClock
) -> None:
    service = ScriptedService(all_passed, kind=Asking)
    path = tmp_path / "store.db"

    async with opened(path, service, clock) as engine, opened(path, service, clock) as other:
        run = await engine.submit(sweep(service, repeats=4, limits={"max_in_flight": 2}))
        elsewhere = await other.run()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.execute)
            looks = []
            for seconds in (1, 30, 25):
                await clock.advance(seconds)
                looks.append((await run.status(), await elsewhere.status()))
            tasks.cancel_scope.cancel()
        unattended = await elsewhere.status()

    assert [counted(here) for here, _ in looks] == [(0, 20), (6, 20), (10, 20)]
    assert [counted(there) for _, there in looks] == [(0, 20), (6, 20), (10, 20)]
    assert looks[1][1].questions_answered_in_flight == 6
    assert looks[1][1].questions_in_flight == 10
    assert counted(unattended) == (10, 20)
    assert unattended.questions_in_flight == 0


async def test_processes_that_execute_a_run_together_count_each_others_questions(
    tmp_path: Path, clock: FakeClock
) -> None:
    service = ScriptedService(all_passed, kind=Asking)
    path = tmp_path / "store.db"

    async with opened(path, service, clock) as engine, opened(path, service, clock) as other:
        runs = [await engine.submit(sweep(service, repeats=2, limits={"max_in_flight": 1}))]
        runs.append(await other.run())
        async with anyio.create_task_group() as tasks:
            for run in runs:
                tasks.start_soon(run.execute)
            await clock.advance(32)
            looks = [await run.status() for run in runs]
            tasks.cancel_scope.cancel()

    assert [look.jobs["running"] for look in looks] == [2, 2]
    assert [counted(look) for look in looks] == [(6, 10), (6, 10)]


class Unforeseen(Asking):
    """Does not say before it is run how many questions it asks."""

    def expected_tests(self, labels: Mapping[str, Any]) -> int | None:  # type: ignore[override]
        return None


class WithoutTests(Asking):
    """Has steps, but no tests, as functions do."""

    def expected_tests(self, labels: Mapping[str, Any]) -> int:
        return 0


@pytest.mark.parametrize("kind", [Unforeseen, WithoutTests])
async def test_questions_of_jobs_in_flight_are_counted_where_those_of_all_are_unknown(
    kind: type[Asking], tmp_path: Path, clock: FakeClock
) -> None:
    service = ScriptedService(all_passed, kind=kind)
    path = tmp_path / "store.db"

    async with opened(path, service, clock) as engine, opened(path, service, clock) as other:
        run = await engine.submit(sweep(service, repeats=4, limits={"max_in_flight": 2}))
        elsewhere = await other.run()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.execute)
            await clock.advance(31)
            looks = [await run.status(), await elsewhere.status()]
            tasks.cancel_scope.cancel()

    for look in looks:
        assert (look.questions, look.questions_left) == (None, None)
        assert (look.questions_answered_in_flight, look.questions_in_flight) == (6, 10)


class Hasty(Asking):
    """A reply each hundredth of a second."""

    async def run(self, job: Job, client: Any, context: JobContext) -> Answer:
        for number in range(500):
            await context.clock.sleep(0.01)
            context.progress(number + 1, 500)
        return all_passed(job)


async def test_progress_is_stored_at_most_once_a_second(tmp_path: Path, clock: FakeClock) -> None:
    service = ScriptedService(all_passed, kind=Hasty)
    written: list[str] = []

    def add(statement: str, _: object) -> None:
        if statement.startswith("UPDATE attempt SET questions_answered"):
            written.append(statement)

    async with opened(tmp_path / "store.db", service, clock) as engine:
        run = await engine.submit(sweep(service))
        with watched_statements(add):
            async with clock.jumping():
                await run.execute()

    assert 2 <= len(written) <= 6


async def test_a_kind_that_does_not_say_how_many_it_asks_has_no_total(tmp_path: Path) -> None:
    service = ScriptedService(all_passed)

    async with opened(tmp_path / "store.db", service) as engine:
        service.recording.hold()
        run = await engine.submit(sweep(service, repeats=2))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.execute)
            await service.recording.until_in_flight(2)
            during = await run.status()
            service.recording.release()
        after = await run.status()

    assert (counted(during), counted(after)) == ((0, None), (10, 10))
