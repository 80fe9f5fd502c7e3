"""A service that goes away and comes back, and a machine that runs short: what that costs a run."""

from itertools import product
from typing import Any

import anyio
import pytest

from engine import Run, RunState, StopReason
from engine.core.runs import WaitReason
from engine.kinds import (
    Answer,
    Disconnected,
    Job,
    JobContext,
    JobError,
    MachineFault,
    Permanent,
    RateLimited,
    TimedOut,
    Transient,
    Unreachable,
)
from engine.testing import FakeClock, Memory, ScriptedKind, ScriptedService
from tests.engine.scenes import NOW, RARE_POLLS, events, finished, good, opened, starts, sweep

HOUR_S = 3600.0
OUTCOMES = "SELECT outcome, count(*) FROM attempt GROUP BY outcome"
UNREACHABLE = Unreachable("no connection could be made")
LOST = Disconnected("the connection failed")
BAD_GATEWAY = Transient("answered 502 Bad Gateway", status=502)
UNAVAILABLE = Transient("answered 503 Service Unavailable", status=503)


async def outcomes(run: Run) -> dict[str, int]:
    rows = await run._store._database.ask(
        lambda connection: connection.exec_driver_sql(OUTCOMES).all()
    )
    return dict(rows)


async def attempts(run: Run) -> list[int]:
    """How many attempts each job has used."""
    return await run._store._database.ask(
        lambda connection: [
            used for (used,) in connection.exec_driver_sql("SELECT attempts FROM job").all()
        ]
    )


# Half an hour is longer than a service is waited for that never answered.
@pytest.mark.parametrize(
    ("away_s", "error", "allowed"),
    [
        *product([90.0], [UNREACHABLE, LOST, BAD_GATEWAY, UNAVAILABLE], [1, 6]),
        *product([1800.0], [UNREACHABLE, LOST, BAD_GATEWAY, UNAVAILABLE], [1]),
        (1800.0, BAD_GATEWAY, 6),
    ],
    ids=str,
)
async def test_an_outage_costs_its_time_and_nothing_else(
    error: JobError, away_s: float, allowed: int, clock: FakeClock
) -> None:
    begins, ends = NOW + 25.0, NOW + 25.0 + away_s
    service = ScriptedService(
        lambda job: error if begins <= clock.now() < ends else good(job), takes_s=10.0
    )
    of = sweep(service, repeats=40, limits={"max_in_flight": 4}, retry={"attempts": allowed})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        run, status = await finished(engine, of)
        used = await attempts(run)
        logged = await events(run)

    assert status.state is RunState.FINISHED
    assert (status.jobs["succeeded"], status.jobs["failed"]) == (40, 0)
    # Without an outage it takes 100 s; the last probe that failed was at most a minute before the end.
    assert clock.now() <= ends + 100.0 + 60.0 + 25.0
    # Once a minute after the first few, besides what was in flight when it began.
    in_vain = [at for at in starts(service) if begins - 10.0 < at < ends - 10.0]
    assert len(in_vain) <= 4 + 3 + 8 + away_s / 60.0
    # Each request that may have been sent counts once at most, and none that surely was not.
    assert max(used) <= (1 if error is UNREACHABLE or allowed == 1 else 2)
    assert [kind for kind, _, _ in logged if kind in ("outage", "back")] == ["outage", "back"]
    outage = next(message for kind, _, message in logged if kind == "outage")
    assert "away since" in outage
    assert "asked once a minute until" in outage


async def test_a_service_that_stays_away_parks_its_lane_after_hours_and_fails_nothing(
    clock: FakeClock,
) -> None:
    is_away = [False]

    def script(job: Job) -> Answer | Exception:
        is_away[0] = is_away[0] or len(service.recording.started) > 5
        return UNREACHABLE if is_away[0] else good(job)

    service = ScriptedService(script)
    of = sweep(service, repeats=20, limits={"max_in_flight": 1}, retry={"outage_h": 2})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        run, status = await finished(engine, of)
        waited_s = clock.now() - NOW
        is_away[0] = False
        service.recording.started.clear()
        service.recording.script = good
        again = await run.execute()

    assert status.reason is StopReason.UNHEALTHY
    assert (status.cells_done, status.cells_failed) == (5, 0)
    assert "; away from" in status.message
    assert 2 * HOUR_S <= waited_s <= 2 * HOUR_S + 120.0
    assert again.state is RunState.FINISHED
    assert again.cells_done == 20


async def test_a_service_that_never_answered_is_named_at_once_and_given_up_in_minutes(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    service = ScriptedService(lambda _: UNREACHABLE)

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        run, status = await finished(engine, sweep(service, models=["a", "b"], repeats=5))
        logged = await run.events()

    assert status.reason is StopReason.UNHEALTHY
    assert (status.jobs["failed"], status.cells_done) == (0, 0)
    assert "; no answer from" in status.message
    assert clock.now() - NOW <= 12 * 60.0
    first = next(event for event in logged if event.kind == "outage")
    assert "; no answer yet (wrong address?), given up at" in first.message
    assert first.at - NOW <= 60.0
    assert any(
        record.levelname == "WARNING"
        and "; no answer yet (wrong address?), given up at" in record.message
        for record in caplog.records
    )


async def test_a_model_that_was_not_asked_yet_waits_with_the_others_while_all_is_away(
    clock: FakeClock,
) -> None:
    begins, ends = NOW + 100.0, NOW + HOUR_S
    service = ScriptedService(
        lambda job: UNREACHABLE if begins <= clock.now() < ends else good(job), takes_s=10.0
    )
    # One at a time, and the first lane goes first: the second has had no answer when the service goes.
    of = sweep(
        service,
        models=["early", "late"],
        repeats=12,
        limits={"max_in_flight": 1, "models": {"late": {"rate_per_min": 1}}},
    )

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert status.state is RunState.FINISHED
    assert status.cells_done == 24


async def test_a_model_that_alone_never_answers_is_given_up_while_the_others_go_on(
    clock: FakeClock,
) -> None:
    service = ScriptedService(
        lambda job: BAD_GATEWAY if job.labels["model"] == "gone" else good(job), takes_s=30.0
    )
    of = sweep(service, models=["gone", "sound"], repeats=60, limits={"max_in_flight": 2})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert status.reason is StopReason.UNHEALTHY
    assert status.jobs["succeeded"] == 60
    assert status.jobs["failed"] == 0
    assert len(starts(service, "gone")) <= 20


@pytest.mark.parametrize("allowed", [1, 3])
async def test_a_job_that_always_loses_its_connection_fails_while_others_are_answered(
    allowed: int, clock: FakeClock
) -> None:
    service = ScriptedService(
        lambda job: LOST if job.labels["repeat"] == 3 else good(job), takes_s=1.0
    )
    of = sweep(
        service,
        repeats=60,
        limits={"max_in_flight": 2},
        retry={"attempts": allowed, "max_delay_s": 10},
    )

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        run, status = await finished(engine, of)
        seen = await outcomes(run)

    assert (status.jobs["succeeded"], status.jobs["failed"]) == (59, 1)
    assert seen == {"succeeded": 59, "failed": max(2, allowed)}


async def test_a_service_that_answers_with_its_own_error_is_not_away(clock: FakeClock) -> None:
    service = ScriptedService(
        lambda job: UNREACHABLE if clock.now() < NOW + 30.0 else Permanent("HTTP 404", status=404)
    )

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        run, status = await finished(engine, sweep(service, repeats=3))
        logged = await events(run)

    assert status.state is RunState.FINISHED
    assert status.jobs["failed"] == 3
    assert "back" in {kind for kind, _, _ in logged}


async def test_without_patience_a_lane_is_parked_after_as_many_probes_as_jobs_have_attempts(
    clock: FakeClock,
) -> None:
    service = ScriptedService(lambda _: UNREACHABLE)
    of = sweep(service, limits={"max_in_flight": 1}, retry={"attempts": 4, "outage_h": 0})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert status.reason is StopReason.UNHEALTHY
    assert status.jobs["failed"] == 0
    assert len(starts(service)) == 1 + 4
    assert clock.now() - NOW < 60.0


async def test_the_hours_in_which_nothing_may_be_sent_are_not_waited_for(clock: FakeClock) -> None:
    # Away from half an hour before the window closes until an hour after it opens again.
    opens = NOW + 24 * HOUR_S
    begins, ends = NOW + 1.5 * HOUR_S, opens + HOUR_S
    service = ScriptedService(
        lambda job: UNREACHABLE if begins <= clock.now() < ends else good(job), takes_s=60.0
    )
    of = sweep(
        service,
        repeats=150,
        limits={"max_in_flight": 1, "window": "08:00-10:00", "timezone": "UTC"},
        retry={"outage_h": 2},
    )

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert status.state is RunState.FINISHED
    assert status.cells_done == 150


async def test_a_machine_that_runs_short_uses_no_attempt_sends_less_and_says_what_to_raise(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    fault = MachineFault("this machine ran short: raise `ulimit -n`")
    service = ScriptedService(
        lambda job: fault if service.recording.in_flight > 4 else good(job), takes_s=5.0
    )
    of = sweep(service, repeats=100, limits={"max_in_flight": 16}, retry={"attempts": 1})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        run, status = await finished(engine, of)
        logged = await events(run)
        used = await attempts(run)

    assert status.state is RunState.FINISHED
    assert (status.jobs["succeeded"], status.jobs["failed"]) == (100, 0)
    assert set(used) == {1}
    messages = [message for kind, _, message in logged if kind == "machine"]
    assert len(messages) == 1
    assert "ulimit -n" in messages[0]
    assert "ulimit -n" in caplog.text


async def test_a_machine_that_stays_short_stops_the_run_and_fails_nothing(clock: FakeClock) -> None:
    fault = MachineFault("this machine ran short: its disk is full")
    service = ScriptedService(lambda _: fault)
    of = sweep(service, repeats=5, retry={"attempts": 1, "outage_h": 1})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert status.reason is StopReason.UNHEALTHY
    assert status.jobs["failed"] == 0
    assert "its disk is full" in status.message
    assert HOUR_S <= clock.now() - NOW <= HOUR_S + 120.0
    # Once a minute, one at a time.
    assert len(starts(service)) <= 5 + 10 + 65


class _Asking(ScriptedKind):
    """Has a first call of each job answered, and keeps it, before the script decides about the rest."""

    async def run(self, job: Job, client: Any, context: JobContext) -> Answer:
        async def call() -> bytes:
            return b"hello"

        await context.cached({"labels": dict(job.labels)}, call)
        return await super().run(job, client, context)


async def test_a_service_that_answered_within_the_first_jobs_is_waited_for(
    clock: FakeClock,
) -> None:
    ends = NOW + HOUR_S
    service = ScriptedService(
        lambda job: good(job) if clock.now() >= ends else UNREACHABLE, kind=_Asking
    )

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        run, status = await finished(engine, sweep(service, repeats=5))
        [outage] = [event for event in await run.events() if event.kind == "outage"]

    assert (status.state, status.cells_done) == (RunState.FINISHED, 5)
    assert "away since" in outage.message


async def test_a_process_that_only_looks_says_since_when_the_service_is_away() -> None:
    service = ScriptedService(lambda _: UNREACHABLE)
    of = sweep(service, repeats=3, retry={"base_delay_s": 0.01})
    store = Memory()

    async with opened(store, service) as engine, anyio.create_task_group() as tasks:
        run = await engine.submit(of)
        tasks.start_soon(run.execute)
        async with opened(store, service) as other:
            while not any(
                one.why is WaitReason.OUTAGE
                for one in await other.store.worker.find_lanes_elsewhere(run._row.id)
            ):
                await anyio.lowlevel.checkpoint()
            seen = await (await other.run("scripted")).status()
        run.stop()

    [waiting] = seen.waiting
    # One of the three may be in flight, to see whether the service is back.
    assert waiting.jobs in (2, 3)
    assert (waiting.lane, waiting.why) == ("a", WaitReason.OUTAGE)
    assert "; no answer yet (wrong address?), given up at" in waiting.detail


async def test_an_outage_of_another_session_is_not_shown_for_this_one(
    clock: FakeClock,
) -> None:
    service = ScriptedService(lambda _: UNREACHABLE)

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        of = sweep(service, repeats=3, retry={"attempts": 3, "outage_h": 0})
        run, _ = await finished(engine, of)
        service.recording.script = good
        await run.execute()
        away = await run._store.reader.lanes_in_trouble(run._row.id)

    assert away == {}


async def test_jobs_that_fail_alike_while_the_service_answers_others_stop_no_lane(
    clock: FakeClock,
) -> None:
    error = Disconnected("the connection failed")
    error.service_answers = True
    service = ScriptedService(lambda job: error if job.attempt < 3 else good(job))

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        run, status = await finished(engine, sweep(service, repeats=40, retry={"attempts": 3}))
        logged = await events(run)

    assert (status.state, status.jobs["succeeded"]) == (RunState.FINISHED, 40)
    assert [kind for kind, _, _ in logged if kind in ("outage", "parked", "breaker")] == []


async def test_a_job_that_is_itself_to_blame_no_longer_waits_out_outages(
    clock: FakeClock,
) -> None:
    waits: list[bool] = []

    def script(job: Job) -> Answer | JobError:
        if job.repeat != 1:
            return good(job)
        waits.append(job.waits_out_outages)
        return LOST if job.waits_out_outages else good(job)

    service = ScriptedService(script, takes_s=10.0)
    of = sweep(service, repeats=8, limits={"max_in_flight": 2})
    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert (status.state, status.jobs["succeeded"]) == (RunState.FINISHED, 8)
    assert waits == [True, False]


@pytest.mark.parametrize(
    "error",
    [
        UNREACHABLE,
        LOST,
        BAD_GATEWAY,
        Transient("answered 503 Service Unavailable", status=503, retry_after_s=1.0),
        Transient("answered 500 Internal Server Error", status=500),
    ],
    ids=str,
)
async def test_an_outage_of_seconds_costs_seconds(error: JobError, clock: FakeClock) -> None:
    begins, ends = NOW + 1.0, NOW + 4.0
    service = ScriptedService(
        lambda job: error if begins <= clock.now() < ends else good(job), takes_s=0.25
    )
    of = sweep(service, repeats=180, limits={"max_in_flight": 32})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert (status.state, status.jobs["succeeded"]) == (RunState.FINISHED, 180)
    back = min(at for at in starts(service) if at >= ends)
    assert back - ends <= 4.0
    assert clock.now() - back <= 12.0


async def test_a_batch_that_fails_together_opens_no_breaker(clock: FakeClock) -> None:
    service = ScriptedService(
        lambda job: LOST if job.attempt == 1 and job.repeat <= 64 else good(job), takes_s=0.25
    )
    of = sweep(service, repeats=128, limits={"max_in_flight": 64})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        run, status = await finished(engine, of)
        logged = await events(run)

    assert (status.state, status.jobs["succeeded"]) == (RunState.FINISHED, 128)
    assert [kind for kind, _, _ in logged if kind in ("outage", "breaker")] == []


async def test_what_was_claimed_before_the_breaker_opened_is_not_sent_and_is_no_probe(
    clock: FakeClock,
) -> None:
    begins, ends = NOW + 2.0, NOW + 4.0
    service = ScriptedService(
        lambda job: UNREACHABLE if begins <= clock.now() < ends else good(job), takes_s=0.004
    )
    # Slots are claimed for some time ahead: dozens of jobs wait for theirs when the service goes.
    of = sweep(service, repeats=260, limits={"rate_per_min": 6000, "max_in_flight": 64})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert (status.state, status.jobs["succeeded"]) == (RunState.FINISHED, 260)
    in_vain = [at - begins for at in starts(service) if begins - 0.004 <= at < ends]
    # What was in flight, then a probe after a second, and one two seconds later that is answered.
    assert len(in_vain) <= 1 + 1
    assert in_vain[-1] >= 1.0
    assert 3.0 <= min(at for at in starts(service) if at >= ends) - begins <= 3.2


@pytest.mark.parametrize(
    "error",
    [
        RateLimited("answered 429 Too Many Requests", status=429, retry_after_s=2.0),
        Transient("answered 503 Service Unavailable", status=503, retry_after_s=2.0),
        Transient("answered 500 Internal Server Error", status=500, retry_after_s=2.0),
        TimedOut("answered 408 Request Timeout", status=408, retry_after_s=2.0),
    ],
    ids=str,
)
async def test_a_retry_after_holds_the_lane_whatever_answer_it_comes_with(
    error: JobError, clock: FakeClock
) -> None:
    ends = NOW + 10.0
    service = ScriptedService(lambda job: error if clock.now() < ends else good(job), takes_s=0.05)
    of = sweep(service, repeats=40, limits={"max_in_flight": 16})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert (status.state, status.jobs["succeeded"]) == (RunState.FINISHED, 40)
    refused = [at for at in starts(service) if at < ends - 0.05]
    # The first ones together, then one try after each wait that was asked for.
    assert len(refused) <= 16 + 5
