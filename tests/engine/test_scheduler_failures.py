"""What goes wrong in a service, a job or a key, and who has to wait for it."""

import itertools
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from engine import Run, RunState, StopReason
from engine.kinds import (
    Answer,
    Job,
    JobContext,
    OutOfCredit,
    Permanent,
    QuotaExceeded,
    RateLimited,
    Transient,
    Unauthorized,
)
from engine.testing import FakeClock, Memory, ScriptedKind, ScriptedService
from tests.engine.scenes import NOW, RARE_POLLS, events, finished, good, opened, starts, sweep

ATTEMPTS = "SELECT outcome, count(*) FROM attempt GROUP BY outcome"


async def outcomes(run: Run) -> dict[str, int]:
    rows = await run._store._database.ask(
        lambda connection: connection.exec_driver_sql(ATTEMPTS).all()
    )
    return dict(rows)


async def test_a_retry_after_holds_its_lane_alone_and_gives_the_attempt_back(
    clock: FakeClock,
) -> None:
    refusals = iter(range(3))

    def script(job: Job) -> Answer | Exception:
        if job.labels["model"] == "limited" and next(refusals, None) is not None:
            return RateLimited("too many requests", status=429, retry_after_s=120.0)
        return good(job)

    service = ScriptedService(script)
    of = sweep(
        service,
        models=["limited", "free"],
        repeats=10,
        retry={"attempts": 1},
        limits={"max_in_flight": 4},
    )

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        run, status = await finished(engine, of)
        seen = await outcomes(run)

    assert status.jobs["succeeded"] == 20
    assert starts(service, "free")[-1] == NOW
    later = [at for at in starts(service, "limited") if at > NOW]
    assert later[0] >= NOW + 120.0
    assert seen == {"succeeded": 20, "rate_limited": 3}


async def test_an_attempt_that_takes_longer_than_it_may_is_tried_again(clock: FakeClock) -> None:
    class Bounded(ScriptedKind):
        deadline_s = 900.0

        async def run(self, job: Job, client: Any, context: JobContext) -> Answer:
            client.takes_s = 901.0 if job.attempt == 1 else 899.0
            return await super().run(job, client, context)

    service = ScriptedService(good, kind=Bounded)

    async with opened(Memory(), service, clock, settings=RARE_POLLS) as engine, clock.jumping():
        run, status = await finished(engine, sweep(service))
        seen = await outcomes(run)

    first, second = starts(service)
    assert status.state is RunState.FINISHED
    assert seen == {"timed_out": 1, "succeeded": 1}
    assert first + 900.0 < second < first + 960.0
    assert clock.now() >= second + 899.0


async def test_a_storm_of_429_is_met_with_patience_and_then_forgotten(clock: FakeClock) -> None:
    storm_s = 600.0
    service = ScriptedService(
        lambda job: (
            RateLimited("too many requests", status=429)
            if clock.now() < NOW + storm_s
            else good(job)
        ),
        takes_s=4.0,
    )
    of = sweep(service, repeats=220, limits={"max_in_flight": 8})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    refused = [at for at in starts(service) if at < NOW + storm_s]
    assert status.jobs["succeeded"] == 220
    # All were refused at first; the waits then grow, and fewer and fewer are sent in vain.
    assert len(refused) < 60
    # Back at the ceiling within a minute of the last refusal: 8 in flight for 4 s each.
    back = next(at for at in starts(service) if at >= NOW + storm_s)
    a_minute_later = [at for at in starts(service) if back + 60.0 <= at < back + 80.0]
    assert len(a_minute_later) >= 0.9 * 8 * 20 / 4


async def test_a_broken_service_uses_attempts_at_growing_distances_and_holds_no_slot(
    clock: FakeClock,
) -> None:
    def script(job: Job) -> Answer | Exception:
        return Transient("HTTP 500", status=500) if job.labels["model"] == "broken" else good(job)

    service = ScriptedService(script)
    of = sweep(
        service,
        models=["broken", "sound"],
        repeats=3,
        limits={"max_in_flight": 1},
        retry={"attempts": 5, "base_delay_s": 8, "max_delay_s": 300},
    )

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        run, status = await finished(engine, of)
        rows = [row async for row in run.rows()]

    assert status.state is RunState.FINISHED
    assert (status.jobs["failed"], status.jobs["succeeded"]) == (3, 3)
    # The only slot was free while the broken ones waited.
    assert starts(service, "sound")[-1] == NOW
    one = [start.at for start in service.recording.started if start.job.id == 1]
    waits = [later - earlier for earlier, later in itertools.pairwise(one)]
    assert len(waits) == 4
    for wait, base in zip(waits, (8, 16, 32, 64), strict=True):
        assert base <= wait <= base * 1.5 + 8
    assert {row.error for row in rows if row.error} == {"HTTP 500 (gave up after 5 attempts)"}


async def test_a_job_that_is_due_again_at_once_is_sent_again_at_once(clock: FakeClock) -> None:
    # The transaction that settles an attempt claims the next one, too.
    service = ScriptedService(
        lambda job: Transient("HTTP 500", status=500) if job.attempt < 4 else good(job)
    )
    retry = {"base_delay_s": 1e-9, "max_delay_s": 1e-9}
    of = sweep(service, repeats=3, retry=retry, limits={"max_in_flight": 2})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert status.jobs["succeeded"] == 3
    assert len(service.recording.started) == 12
    assert service.recording.most_in_flight <= 2


async def test_a_failed_job_has_the_explanation_of_the_service() -> None:
    service = ScriptedService(
        lambda _: Permanent("HTTP 404", status=404, detail="Test case group not found: xyz")
    )

    async with opened(Memory(), service) as engine:
        run, status = await finished(engine, sweep(service))
        [row] = [row async for row in run.rows()]

    assert status.cells_failed == 1
    assert row.state == "failed"
    assert row.error == "HTTP 404: Test case group not found: xyz"
    [kind] = status.errors
    assert (kind.message, kind.jobs) == ("HTTP 404", 1)
    assert kind.example == "Test case group not found: xyz"


async def test_a_refused_key_stops_everything_and_fails_nothing(clock: FakeClock) -> None:
    def script(job: Job) -> Answer | Exception:
        if len(service.recording.started) > 30:
            return Unauthorized("the key is refused", status=401, detail="Invalid API key")
        return good(job)

    service = ScriptedService(script, takes_s=1.0)
    of = sweep(service, models=["a", "b"], repeats=200, limits={"rate_per_min": 600})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        run, status = await finished(engine, of)
        began = len(service.recording.started)
        seen = await outcomes(run)
        again = await run.execute()

    assert status.reason is StopReason.UNAUTHORIZED
    assert "Invalid API key" in status.message
    assert status.jobs["failed"] == 0
    assert status.jobs["succeeded"] + status.jobs["waiting"] + status.jobs["pending"] == 400
    # What was in flight at the first refusal, at ten a second for a second; nothing after that.
    assert began <= 30 + 1 + 16
    assert set(seen) <= {"succeeded", "refused", "interrupted"}
    # The attempts were given back: it is the first attempt of each again.
    assert again.reason is StopReason.UNAUTHORIZED
    assert {start.job.attempt for start in service.recording.started} == {1}


async def test_a_quota_that_is_used_up_ends_the_run_until_the_next_month(clock: FakeClock) -> None:
    left = iter(range(5))

    def script(job: Job) -> Answer | Exception:
        if next(left, None) is None:
            return QuotaExceeded("quota_exceeded", status=403, detail="monthly quota is used up")
        return good(job)

    service = ScriptedService(script)
    of = sweep(service, models=["a", "b"], repeats=20, limits={"max_in_flight": 2})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        run, status = await finished(engine, of)
        logged = await events(run)

    assert status.reason is StopReason.QUOTA
    assert status.resume_at == datetime(2027, 2, 1, tzinfo=UTC).timestamp()
    assert "monthly quota is used up" in status.message
    assert status.jobs["failed"] == 0
    assert status.cells_done == 5
    # Two in flight at most at the first refusal of each lane; then each tries again, until one was refused
    # with nothing in flight beside it.
    assert len(service.recording.started) <= 5 + 2 * 2 + 2 * 3
    assert clock.now() - NOW < 15.0
    assert "quota" in {kind for kind, _, _ in logged}


async def test_an_empty_account_stops_its_lane_in_the_provider_s_words_and_resume_goes_on(
    clock: FakeClock,
) -> None:
    paid = anyio.Event()

    def script(job: Job) -> Answer | Exception:
        if job.labels["model"] == "empty" and not paid.is_set():
            return OutOfCredit("the account has no credit left", detail="Top up, please")
        return good(job)

    service = ScriptedService(script)
    of = sweep(service, models=["empty", "full"], repeats=20, limits={"max_in_flight": 2})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        run, status = await finished(engine, of)
        logged = await events(run)
        asked = len(starts(service, "empty"))
        paid.set()
        _, again = await finished(engine, of)

    assert (status.state, status.reason) == (RunState.ACTIVE, StopReason.CREDIT)
    assert status.message.startswith("the account has no credit left: Top up, please; ")
    assert "resume" in status.message
    # Prepaid credit does not come back by itself, in no month.
    assert status.resume_at is None
    assert status.jobs["failed"] == 0
    assert status.cells_done == len(starts(service, "full")) == 20
    assert asked <= 2
    assert [kind for kind, _, _ in logged].count("credit") == 2
    assert again.state is RunState.FINISHED
    assert {start.job.attempt for start in service.recording.started} == {1}


async def test_an_empty_account_is_reported_before_a_quota_that_renews_itself(
    clock: FakeClock,
) -> None:
    def script(job: Job) -> Answer | Exception:
        if job.labels["model"] == "empty":
            return OutOfCredit("no credit", status=402)
        return QuotaExceeded("no tests left", status=403)

    service = ScriptedService(script)
    of = sweep(service, models=["empty", "short"])

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert status.reason is StopReason.CREDIT
    assert status.message.startswith("no credit; ")
    assert status.resume_at is None


async def test_a_lane_that_only_fails_is_parked_after_a_few_probes_and_says_so(
    clock: FakeClock,
) -> None:
    def script(job: Job) -> Answer | Exception:
        if job.labels["model"] == "poisoned":
            return Permanent("HTTP 422", status=422, detail=f"case {job.repeat}")
        return good(job)

    service = ScriptedService(script, takes_s=0.5)
    of = sweep(
        service,
        models=["poisoned", "sound"],
        repeats=100,
        limits={"max_in_flight": 8},
        retry={"attempts": 4},
    )

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        run, status = await finished(engine, of)
        logged = await events(run)

    assert status.reason is StopReason.UNHEALTHY
    assert "poisoned" in status.message
    assert "HTTP 422" in status.message
    assert status.jobs["succeeded"] == 100
    # 25 in a row, what was in flight beside them, six probes after short waits, and four after long ones.
    assert 25 + 6 + 4 <= len(starts(service, "poisoned")) <= 25 + 8 + 6 + 4
    assert [(kind, lane) for kind, lane, _ in logged if kind == "parked"] == [
        ("parked", "poisoned")
    ]
    assert any(kind == "breaker" and "25 times in a row" in message for kind, _, message in logged)


async def test_a_lane_that_works_again_is_no_longer_probed(clock: FakeClock) -> None:
    service = ScriptedService(
        lambda job: Transient("HTTP 500", status=500) if clock.now() < NOW + 120 else good(job)
    )
    of = sweep(service, repeats=100, retry={"attempts": 100, "max_delay_s": 300})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert status.state is RunState.FINISHED
    assert status.jobs["succeeded"] == 100
    # 25 in a row, what was in flight beside them, and a few probes.
    assert sum(at < NOW + 120 for at in starts(service)) <= 25 + 16 + 10


async def test_a_bug_in_a_kind_fails_its_own_job_alone_and_says_where(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def script(job: Job) -> Answer | Exception:
        return ZeroDivisionError("division by zero") if job.repeat == 2 else good(job)

    service = ScriptedService(script)

    async with opened(Memory(), service) as engine:
        run, status = await finished(engine, sweep(service, repeats=5))
        rows = [row async for row in run.rows()]
        details = await run._store._database.ask(
            lambda connection: connection.exec_driver_sql(
                "SELECT detail FROM attempt WHERE outcome = 'failed'"
            ).scalar_one()
        )

    assert status.jobs["succeeded"] == 4
    assert [row.error for row in rows if row.error] == [
        "a bug in the job kind scripted: ZeroDivisionError: division by zero"
    ]
    assert "scripted.py" in details
    assert "in play" in details
    assert "a bug in the job kind scripted" in caplog.text


async def test_an_attempt_ends_at_its_deadline_and_is_tried_again() -> None:
    class Hanging(ScriptedKind):
        deadline_s = 0.05

        async def run(self, job: Job, client: Any, context: JobContext) -> Answer:
            if job.attempt == 1:
                # For the next one: this attempt's deadline is set already.
                self.deadline_s = 60.0
                await anyio.sleep_forever()
            return await super().run(job, client, context)

    service = ScriptedService(good, kind=Hanging)
    of = sweep(service, retry={"attempts": 2, "base_delay_s": 0.01})

    async with opened(Memory(), service) as engine:
        run, status = await finished(engine, of)
        seen = await outcomes(run)

    assert status.jobs["succeeded"] == 1
    assert seen == {"timed_out": 1, "succeeded": 1}
