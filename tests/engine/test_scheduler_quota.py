"""Quota: reserved before sending, known from answers, asked for again before giving up."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any

import anyio
import pytest

from engine import RunState, StopReason
from engine.kinds import (
    Allotment,
    Answer,
    Disconnected,
    Job,
    JobContext,
    KeyRenewed,
    Measurement,
    Permanent,
    QuotaExceeded,
    RateLimited,
    TimedOut,
    Transient,
    Unauthorized,
    Unreachable,
)
from engine.testing import (
    FakeClock,
    Memory,
    ScriptedKind,
    ScriptedService,
    scored,
)
from tests.engine.scenes import NOW, RARE_POLLS, events, finished, good, opened, sweep


def costing(tests: int) -> Answer:
    """An answer that costs so many tests."""
    return scored(*[0.9] * tests)


def by_group(job: Job) -> Answer:
    """Jobs of the group `small` cost 2 tests, those of `large` cost 10."""
    return costing({"small": 2, "large": 10}[job.labels["group"]])


async def test_while_a_cost_is_unknown_one_job_of_each_class_goes_first() -> None:
    service = ScriptedService(by_group, allotment=Allotment(used=0, allotted=10_000))
    of = sweep(service, repeats=10, matrix={"groups": ["small", "large"]})
    service.recording.hold()

    async with (
        opened(Memory(), service) as engine,
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(of)
        tasks.start_soon(run.execute)
        await service.recording.until_in_flight(2)
        await run._store.runs.add_event(None, "test", "a commit later")
        probes = [start.job.labels["group"] for start in service.recording.started]
        service.recording.release()
    after = len(service.recording.started)

    assert sorted(probes) == ["large", "small"]
    assert after == 20


async def test_never_more_than_the_allotment_is_used(clock: FakeClock) -> None:
    service = ScriptedService(by_group, allotment=Allotment(used=7, allotted=100), takes_s=1.0)
    of = sweep(service, repeats=50, matrix={"groups": ["small", "large"]})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _run, status = await finished(engine, of)

    [quota] = status.quotas
    assert status.reason is StopReason.QUOTA
    assert status.jobs["failed"] == 0
    assert service.recording.tests <= 93
    # As many as fit: what is left is less than any of the jobs that are left costs.
    assert service.recording.tests > 93 - 10
    assert (quota.used, quota.reserved, quota.allotted) == (
        7 + service.recording.tests,
        0,
        100,
    )


class Layered(ScriptedKind):
    """20 cases, of which those that fail are varied three times over in each of two layers."""

    def most_tests(self, labels: Mapping[str, Any], measured: Measurement) -> int:
        return 20 * (1 + 3 + 9)


class Unbounded(ScriptedKind):
    """Layers, too, of which nothing is known beforehand."""


def layered(job: Job) -> Answer:
    """Of the first model nothing fails; of the others more and more does."""
    failing = 0 if job.labels["model"] == "a" else (7 * job.repeat) % 21
    return costing(20 + 3 * failing + 9 * failing)


@pytest.mark.parametrize("in_flight", [16, 64])
@pytest.mark.parametrize("limits", [{}, {"quota": {"tests": 2_000}}])
@pytest.mark.parametrize("kind", [Layered, Unbounded])
async def test_layered_evaluations_are_never_charged_beyond_their_quota(
    kind: type[ScriptedKind],
    limits: Mapping[str, Any],
    in_flight: int,
    clock: FakeClock,
) -> None:
    service = ScriptedService(
        layered, kind=kind, allotment=Allotment(used=0, allotted=3_000), takes_s=30.0
    )
    of = sweep(
        service,
        models=["a", "b", "c"],
        repeats=40,
        limits={"max_in_flight": in_flight, **limits},
    )
    allowed = 2_000 if limits else 3_000

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        run, status = await finished(engine, of)
        logged = await events(run)

    assert status.reason is StopReason.QUOTA
    # Where no bound is known, by no more than what one answer cost beyond all before it.
    assert service.recording.tests <= allowed + (0 if kind is Layered else 260)
    assert service.recording.tests > allowed - 260 - 1
    if kind is Layered:
        assert "one more evaluation may come to 260" in status.message
    else:
        assert any("one evaluation at a time" in message for _, _, message in logged)


async def test_the_cap_of_the_sweep_holds_below_the_allotment_of_the_key(clock: FakeClock) -> None:
    service = ScriptedService(
        lambda _: costing(3), allotment=Allotment(used=0, allotted=1_000), takes_s=1.0
    )
    of = sweep(service, repeats=50, limits={"quota": {"tests": 20}})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert status.reason is StopReason.QUOTA
    assert status.jobs["succeeded"] == 6
    assert (
        "the sweep's own limit of 20 tests a month is reached, with 18 used, and one more evaluation may"
        " come to 3; raise limits.quota.tests" in status.message
    )


async def test_a_cap_on_requests_counts_requests_and_a_higher_one_goes_on(clock: FakeClock) -> None:
    service = ScriptedService(good, takes_s=1.0)

    async with opened(Memory(), service, clock) as engine, clock.jumping():
        _, status = await finished(engine, sweep(service, repeats=50, limits={"requests": 7}))
        sent = len(service.recording.started)
        _, more = await finished(engine, sweep(service, repeats=50, limits={"requests": 60}))

    assert (sent, status.jobs["succeeded"]) == (7, 7)
    assert status.reason is StopReason.QUOTA
    assert status.resume_at is None
    assert "the sweep's own limit of 7 requests is reached; raise limits.requests" in status.message
    assert more.state is RunState.FINISHED
    assert len(service.recording.started) == 50


REFUSALS: Mapping[str, Callable[[], Answer | Exception]] = {
    "too many": lambda: RateLimited("HTTP 429", status=429, retry_after_s=1.0),
    "no quota": lambda: QuotaExceeded("HTTP 403", status=403),
    "a failure": lambda: Transient("HTTP 500", status=500),
    "no answer in time": lambda: TimedOut("no whole answer within 900 s"),
    "a lost connection": lambda: Disconnected("the connection failed"),
    "a new key": lambda: KeyRenewed("HTTP 401", status=401),
    "an answer each time": lambda: costing(1),
}


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_cap_on_requests_counts_those_that_were_refused_or_failed(
    refusal: str, clock: FakeClock
) -> None:
    memory = Memory()

    def script(job: Job) -> Answer | Exception:
        if len(service.recording.started) % 5 == 0:
            return good(job)
        return REFUSALS[refusal]()

    service = ScriptedService(script, takes_s=1.0)
    of = sweep(service, models=["a", "b"], repeats=60, limits={"requests": 20})

    async with (
        opened(memory, service, clock, settings=RARE_POLLS) as one,
        opened(memory, service, clock, settings=RARE_POLLS) as other,
        clock.jumping(),
    ):
        first, second = await one.submit(of), await other.submit(of)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first.execute)
            tasks.start_soon(second.execute)
        sent = len(service.recording.started)
        await first.execute()

    assert 0 < sent <= 20
    assert len(service.recording.started) <= 20


async def test_requests_that_never_left_take_nothing_of_the_cap(clock: FakeClock) -> None:
    def script(job: Job) -> Answer | Exception:
        return good(job) if len(service.recording.started) > 8 else Unreachable("refused")

    service = ScriptedService(script)
    of = sweep(service, repeats=5, limits={"requests": 5, "max_in_flight": 1})

    async with opened(Memory(), service, clock) as engine, clock.jumping():
        _, status = await finished(engine, of)

    assert status.state is RunState.FINISHED


async def test_a_key_that_was_renewed_is_sent_with_the_next_request_of_the_same_job(
    clock: FakeClock,
) -> None:
    def script(job: Job) -> Answer | Exception:
        is_first = len(service.recording.started) == 1
        return KeyRenewed("HTTP 401", status=401) if is_first else good(job)

    service = ScriptedService(script)

    async with opened(Memory(), service, clock) as engine, clock.jumping():
        _, status = await finished(engine, sweep(service, retry={"attempts": 1}))

    assert status.state is RunState.FINISHED
    assert [one.job.attempt for one in service.recording.started] == [1, 1]


async def test_a_quota_that_grew_meanwhile_is_noticed_before_giving_up(clock: FakeClock) -> None:
    class Generous(ScriptedService):
        asked = 0

        async def quota(self, client: Any) -> Allotment | None:
            type(self).asked += 1
            allotted = 10 if self.asked == 1 else 40
            return Allotment(used=self.recording.tests, allotted=allotted)

    service = Generous(lambda _: costing(2), allotment=Allotment(used=0, allotted=0))
    of = sweep(service, repeats=30)

    async with opened(Memory(), service, clock) as engine, clock.jumping():
        _, status = await finished(engine, of)

    assert status.reason is StopReason.QUOTA
    assert status.jobs["succeeded"] == 20
    # At the start, when 10 were used, and when 40 were.
    assert service.asked == 3


async def test_a_quota_that_cannot_be_asked_for_is_no_reason_not_to_start(clock: FakeClock) -> None:
    class Silent(ScriptedService):
        async def quota(self, client: Any) -> Allotment | None:
            raise Transient("HTTP 500", status=500)

    service = Silent(good, allotment=Allotment(used=0, allotted=0), takes_s=1.0)

    async with opened(Memory(), service, clock) as engine, clock.jumping():
        run, status = await finished(engine, sweep(service, models=["a", "b"], repeats=5))
        logged = [message for kind, _, message in await events(run) if kind == "quota"]

    assert status.state is RunState.FINISHED
    assert status.quotas == ()
    assert service.recording.most_in_flight == 1
    assert logged == [
        "the service did not say how much quota is left: HTTP 500; one evaluation at a time until it does"
    ]


@pytest.mark.parametrize(("kind", "processes"), [(Layered, 2), (Unbounded, 1)])
async def test_requests_before_the_first_report_of_the_quota_are_reserved_in_it(
    kind: type[ScriptedKind], processes: int, clock: FakeClock
) -> None:
    class Late(ScriptedService):
        async def quota(self, client: Any) -> Allotment | None:
            if clock.now() < NOW + 40:
                raise Transient("HTTP 503", status=503)
            return Allotment(used=self.recording.tests, allotted=3_000)

    def script(job: Job) -> Answer | Exception:
        if service.recording.tests >= 3_000:
            return QuotaExceeded("HTTP 403", status=403)
        return layered(job)

    service = Late(script, kind=kind, allotment=Allotment(used=0, allotted=0), takes_s=5.0)
    of = sweep(service, models=["a", "b"], repeats=40, limits={"max_in_flight": 64})

    memory = Memory()
    async with AsyncExitStack() as stack:
        engines = [
            await stack.enter_async_context(opened(memory, service, clock, settings=RARE_POLLS))
            for _ in range(processes)
        ]
        await stack.enter_async_context(clock.jumping())
        async with anyio.create_task_group() as tasks:
            for engine in engines:
                tasks.start_soon((await engine.submit(of)).execute)
        run = await engines[0].run()
        logged = [message for kind, _, message in await events(run) if kind == "quota"]

    assert service.recording.tests <= 3_000 + (0 if kind is Layered else 260)
    assert service.recording.tests > 3_000 - 260 - 1
    assert service.recording.most_in_flight > 1
    assert "the service has reported how much quota is left" in logged


async def test_a_service_that_says_when_to_ask_for_its_quota_again_is_not_asked_before(
    clock: FakeClock,
) -> None:
    asked: list[float] = []

    class Late(ScriptedService):
        async def quota(self, client: Any) -> Allotment | None:
            asked.append(clock.now())
            if clock.now() < NOW + 100:
                raise Transient("HTTP 503", status=503, retry_after_s=90.0)
            return Allotment(used=0, allotted=3_000)

    service = Late(good, allotment=Allotment(used=0, allotted=0), takes_s=50.0)

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        await finished(engine, sweep(service, repeats=8))

    assert [at - NOW for at in asked] == pytest.approx([0, 90, 180], abs=0.1)


@pytest.mark.parametrize("is_reported_first", [True, False])
async def test_a_service_without_a_quota_is_sent_as_much_as_the_limits_allow(
    is_reported_first: bool, clock: FakeClock
) -> None:
    class Without(ScriptedService):
        asked = 0

        async def quota(self, client: Any) -> Allotment | None:
            type(self).asked += 1
            if self.asked > 1 or is_reported_first:
                raise Permanent("no such path", status=404)
            raise Transient("HTTP 503", status=503)

    service = Without(good, allotment=Allotment(used=0, allotted=0), takes_s=10.0)
    of = sweep(service, models=["a", "b"], repeats=20, limits={"max_in_flight": 8})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert status.state is RunState.FINISHED
    assert service.recording.most_in_flight == 8


async def test_a_service_that_refuses_to_tell_its_quota_is_soon_sent_as_much_as_the_limits_allow(
    clock: FakeClock,
) -> None:
    class Refusing(ScriptedService):
        async def quota(self, client: Any) -> Allotment | None:
            # A failure later on is no reason to expect a figure again.
            if self.recording.tests > 100:
                raise Transient("HTTP 503", status=503)
            raise Unauthorized("HTTP 403", status=403)

    service = Refusing(good, allotment=Allotment(used=0, allotted=0), takes_s=10.0)
    of = sweep(service, models=["a", "b"], repeats=40, limits={"max_in_flight": 8})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        run, status = await finished(engine, of)
        logged = [message for kind, _, message in await events(run) if kind == "quota"]

    assert status.state is RunState.FINISHED
    assert clock.now() - NOW < 160
    assert service.recording.most_in_flight == 8
    assert len(logged) == 2
    assert "does not tell this key how much quota is left" in logged[1]


async def test_quota_held_for_a_connection_that_was_never_made_is_given_back(
    clock: FakeClock,
) -> None:
    def script(job: Job) -> Answer | Exception:
        if job.attempt == 1:
            return Transient("cannot connect", sent=False)
        if job.attempt == 2:
            return Transient("HTTP 500", status=500)
        return costing(5)

    class Busy(ScriptedService):
        async def quota(self, client: Any) -> Allotment | None:
            if self.recording.started:
                raise Transient("HTTP 500", status=500)
            return Allotment(used=0, allotted=1_000)

    service = Busy(script, allotment=Allotment(used=0, allotted=0))
    of = sweep(service, matrix={"groups": ["any"]})

    async with opened(Memory(), service, clock) as engine, clock.jumping():
        run = await engine.submit(of)
        await run._store.worker.writer.write(
            lambda connection: connection.exec_driver_sql(
                "INSERT INTO cost (service, cost_class, tests) VALUES ('scripted scripted system_prompt', 'any', 5)"
            )
        )
        status = await run.execute()

    [quota] = status.quotas
    assert status.jobs["succeeded"] == 1
    # The 500 may have been worked on, so all that was held for it counts until the service can be asked:
    # 17 times 5. The connection refused cost nothing.
    assert (quota.used, quota.reserved) == (90, 0)


async def test_requests_without_an_answer_count_as_the_service_says_once_they_have_failed(
    clock: FakeClock,
) -> None:
    def script(job: Job) -> Answer | Exception:
        return costing(5) if job.labels["group"] == "good" else Transient("HTTP 500", status=500)

    service = ScriptedService(script, allotment=Allotment(used=95, allotted=300))
    of = sweep(service, matrix={"groups": ["good", "bad"]})

    async with opened(Memory(), service, clock) as engine, clock.jumping():
        _run, status = await finished(engine, of)

    [quota] = status.quotas
    # Each failed request was held for as 100 tests, of which the service charged none.
    assert status.jobs["failed"] == 1
    assert len(service.recording.started) > 4
    assert (quota.used, quota.reserved, quota.allotted) == (100, 0, 300)


async def test_a_run_that_ends_waits_seconds_for_a_service_to_tell_its_quota(
    clock: FakeClock,
) -> None:
    class Slow(ScriptedService):
        async def quota(self, client: Any) -> Allotment | None:
            if clock.now() >= NOW + 2.0:
                await clock.sleep(3600.0)
            return Allotment(used=0, allotted=100_000)

    service = Slow(
        lambda _: Transient("HTTP 500", status=500),
        allotment=Allotment(used=0, allotted=0),
        takes_s=1.0,
    )
    of = sweep(service, repeats=2, retry={"attempts": 1}, limits={"max_in_flight": 1})

    async with opened(Memory(), service, clock, settings=RARE_POLLS) as engine, clock.jumping():
        _, status = await finished(engine, of)

    # It is asked after the first failure, and again at the end after the second.
    assert status.jobs["failed"] == 2
    assert clock.now() == NOW + 7.0


async def test_a_question_that_is_under_way_when_a_run_ends_is_left_to_be_answered(
    clock: FakeClock,
) -> None:
    class Slow(ScriptedService):
        async def quota(self, client: Any) -> Allotment | None:
            if clock.now() > NOW:
                await clock.sleep(3.0)
            return Allotment(used=7, allotted=100_000)

    service = Slow(
        lambda _: Transient("HTTP 500", status=500), allotment=Allotment(used=0, allotted=0)
    )
    service.recording.takes_s = 1.0

    async with opened(Memory(), service, clock, settings=RARE_POLLS) as engine, clock.jumping():
        _, status = await finished(engine, sweep(service, retry={"attempts": 1}))

    [quota] = status.quotas
    assert (quota.used, quota.reserved) == (7, 0)
    assert clock.now() == NOW + 4.0


async def test_a_service_that_does_not_tell_its_quota_either_is_asked_once_a_minute(
    clock: FakeClock,
) -> None:
    asked_at: list[float] = []

    class Down(ScriptedService):
        async def quota(self, client: Any) -> Allotment | None:
            asked_at.append(clock.now())
            if len(asked_at) > 1:
                raise Transient("HTTP 500", status=500)
            return Allotment(used=0, allotted=100_000)

    def script(job: Job) -> Answer | Exception:
        return Transient("HTTP 500", status=500)

    service = Down(script, allotment=Allotment(used=0, allotted=0), takes_s=1.0)
    of = sweep(service, repeats=3, retry={"attempts": 8})

    async with opened(Memory(), service, clock) as engine, clock.jumping():
        _, status = await finished(engine, of)

    questions = asked_at[1:-1]
    assert status.jobs["failed"] == 3
    assert len(questions) > 1
    assert min(later - before for before, later in pairwise(questions)) >= 60


async def test_what_failed_requests_did_not_cost_is_given_back_to_the_cap_of_the_sweep(
    clock: FakeClock,
) -> None:
    def script(job: Job) -> Answer | Exception:
        return costing(5) if job.attempt > 4 else Transient("HTTP 500", status=500)

    service = ScriptedService(script, allotment=Allotment(used=0, allotted=10_000))
    of = sweep(service, matrix={"groups": ["any"]}, limits={"quota": {"tests": 300}})

    async with opened(Memory(), service, clock) as engine, clock.jumping():
        _run, status = await finished(engine, of)

    assert status.jobs["succeeded"] == 1
    assert [(quota.used, quota.allotted) for quota in status.quotas] == [(5, 300), (5, 10_000)]


async def test_a_figure_from_before_another_process_spent_is_not_used() -> None:
    memory = Memory()
    asked, logged = anyio.Event(), anyio.Event()

    class Slow(ScriptedService):
        times = 0

        async def quota(self, client: Any) -> Allotment | None:
            type(self).times += 1
            figure = Allotment(used=self.recording.tests, allotted=20)
            if self.times == 1:
                asked.set()
                await logged.wait()
            return figure

    service = Slow(lambda _: costing(2), allotment=Allotment(used=0, allotted=0))
    of = sweep(service, repeats=40, limits={"max_in_flight": 4})

    async with (
        opened(memory, service) as one,
        opened(memory, service) as other,
        anyio.create_task_group() as tasks,
    ):
        first, second = await one.submit(of), await other.submit(of)
        tasks.start_soon(second.execute)
        await asked.wait()
        await first.execute()
        logged.set()
    async with opened(memory, service) as engine:
        status = await (await engine.run()).status()

    assert service.recording.tests == 20
    assert [(quota.used, quota.allotted) for quota in status.quotas] == [(20, 20)]


async def test_a_process_with_an_older_file_does_not_raise_a_cap_again(clock: FakeClock) -> None:
    memory = Memory()
    service = ScriptedService(
        lambda _: costing(2), allotment=Allotment(used=0, allotted=1_000), takes_s=10.0
    )
    older, newer = (
        sweep(service, repeats=60, limits={"max_in_flight": 2, "quota": {"tests": tests}})
        for tests in (100, 20)
    )

    async with (
        opened(memory, service, clock, settings=RARE_POLLS) as one,
        opened(memory, service, clock, settings=RARE_POLLS) as other,
        clock.jumping(),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon((await one.submit(older)).execute)
        await service.recording.until_started(2)
        tasks.start_soon((await other.submit(newer)).execute)

    assert service.recording.tests == 20


async def test_a_run_waits_for_what_another_run_holds_instead_of_ending(clock: FakeClock) -> None:
    memory = Memory()

    class Known(ScriptedKind):
        def expected_tests(self, labels: Mapping[str, Any]) -> int:
            return 60

    service = ScriptedService(
        lambda _: costing(10), kind=Known, allotment=Allotment(used=0, allotted=100), takes_s=120.0
    )

    async with (
        opened(memory, service, clock, settings=RARE_POLLS) as one,
        opened(memory, service, clock, settings=RARE_POLLS) as other,
        clock.jumping(),
    ):
        first, second = [
            await engine.submit(sweep(service, name=name, repeats=repeats, reuse=False))
            for engine, name, repeats in ((one, "first", 2), (other, "second", 3))
        ]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first.execute)
            await service.recording.until_started(1)
            tasks.start_soon(second.execute)
        states = [(await run.status()).state for run in (first, second)]

    # 60 are held for one job, although it costs 10: what is left pays for no other meanwhile.
    assert states == [RunState.FINISHED, RunState.FINISHED]
    assert service.recording.most_in_flight == 1


async def test_two_engines_on_one_store_share_the_quota(clock: FakeClock) -> None:
    memory = Memory()
    service = ScriptedService(
        lambda _: costing(3), allotment=Allotment(used=0, allotted=100), takes_s=2.0
    )
    of = sweep(service, models=["a", "b"], repeats=60, limits={"max_in_flight": 8})

    async with (
        opened(memory, service, clock) as one,
        opened(memory, service, clock) as other,
        clock.jumping(),
        anyio.create_task_group() as tasks,
    ):
        first, second = await one.submit(of), await other.submit(of)
        tasks.start_soon(first.execute)
        tasks.start_soon(second.execute)
    async with opened(memory, service, clock) as engine:
        status = await (await engine.run()).status()

    assert service.recording.tests == 99
    assert status.reason is StopReason.QUOTA
    assert status.jobs["succeeded"] == 33


async def test_a_kind_that_is_charged_by_reply_opens_no_test_beyond_the_cap(
    clock: FakeClock,
) -> None:
    class Asking(ScriptedKind):
        """Asks more than it says."""

        charged_by_reply = True

        def expected_tests(self, labels: Mapping[str, Any]) -> int:
            return 2

        async def run(self, job: Job, client: Any, context: JobContext) -> Answer:
            async def call() -> bytes:
                asked.append(job.key)
                return b"a reply"

            for number in range(5):
                await context.cached({"job": job.key, "call": number}, call, tests=1)
            return await super().run(job, client, context)

    asked: list[str] = []
    service = ScriptedService(good, kind=Asking, allotment=Allotment(used=0, allotted=1_000))

    async with opened(Memory(), service, clock) as engine, clock.jumping():
        short, enough = (sweep(service, limits={"quota": {"tests": tests}}) for tests in (3, 5))
        _, stopped = await finished(engine, short)
        sent = len(asked)
        _, whole = await finished(engine, enough)

    assert stopped.reason is StopReason.QUOTA
    assert stopped.jobs["failed"] == 0
    assert (sent, len(asked)) == (3, 5)
    assert [(one.used, one.reserved) for one in stopped.quotas if one.allotted == 3] == [(3, 0)]
    assert whole.jobs["succeeded"] == 1
    assert [(one.used, one.reserved) for one in whole.quotas if one.allotted == 5] == [(5, 0)]
