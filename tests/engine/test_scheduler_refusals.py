"""Refusals of a key, a quota or an account: what is asked before a run stops for one."""

from typing import Any

import anyio
import pytest

from engine import RunState, StopReason
from engine.core.runs import WaitReason
from engine.kinds import (
    Allotment,
    Answer,
    Job,
    JobError,
    OutOfCredit,
    QuotaExceeded,
    Transient,
    Unauthorized,
)
from engine.testing import FakeClock, Memory, ScriptedService
from tests.engine.scenes import NOW, RARE_POLLS, finished, good, opened, starts, sweep

REFUSED = Unauthorized("the key was refused (401)", status=401)
EXCEEDED = QuotaExceeded("the monthly allotment of tests is used up (403)", status=403)
EMPTY = OutOfCredit("the account has no credit left (402)", status=402)
HOUR_S = 3600.0


class AskedForItsKey(ScriptedService):
    """A service that says whether its key is valid, or raises that it cannot tell; None: it has no such question."""

    says: bool | JobError | None = None

    async def accepts_key(self, client: Any) -> bool | None:
        if isinstance(self.says, JobError):
            raise self.says
        return self.says


@pytest.mark.parametrize("error", [REFUSED, EXCEEDED, EMPTY], ids=str)
@pytest.mark.parametrize("is_asked", [True, False], ids=["the service is asked", "it cannot be"])
async def test_one_odd_refusal_ends_no_run(
    error: JobError, is_asked: bool, clock: FakeClock
) -> None:
    def script(job: Job) -> Answer | Exception:
        return error if len(service.recording.started) == 40 else good(job)

    allotment = Allotment(used=0, allotted=10_000) if is_asked else None
    service = AskedForItsKey(script, takes_s=0.1, allotment=allotment)
    service.says = True if is_asked else None
    of = sweep(service, models=["a", "b"], repeats=60, limits={"max_in_flight": 4})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert status.state is RunState.FINISHED
    assert status.jobs["succeeded"] == 120
    assert {start.job.attempt for start in service.recording.started} == {1}
    # Without it, 3 s; then at most a second's wait, and one request alone.
    assert clock.now() - NOW <= 3.0 + 5.0


@pytest.mark.parametrize(
    ("says", "more"),
    [(False, 0), (REFUSED, 0), (Transient("HTTP 500", status=500), 1), (None, 1)],
    ids=["it says no", "it refuses that as well", "it does not say", "it has no such question"],
)
async def test_a_key_that_is_refused_stops_the_run_with_few_requests(
    says: Any, more: int, clock: FakeClock
) -> None:
    service = AskedForItsKey(
        lambda job: REFUSED if clock.now() > NOW + 1.0 else good(job), takes_s=0.1
    )
    service.says = says
    of = sweep(service, repeats=400, limits={"max_in_flight": 8})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    refused = [at for at in starts(service) if at > NOW + 0.9]
    assert status.reason is StopReason.UNAUTHORIZED
    assert status.jobs["failed"] == 0
    # What was in flight, and one more where only that can tell.
    assert len(refused) <= 8 + more
    assert clock.now() - NOW <= 1.2 + 3.0


async def test_a_key_that_is_refused_although_it_is_called_valid_ends_with_words_that_say_so(
    clock: FakeClock,
) -> None:
    service = AskedForItsKey(lambda _: REFUSED)
    service.says = True
    of = sweep(service, repeats=50, limits={"max_in_flight": 4}, retry={"attempts": 4})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert status.reason is StopReason.UNAUTHORIZED
    assert "5 times in a row, although the service, asked about it, says that it is valid" in (
        status.message
    )
    assert len(service.recording.started) <= 4 + 4
    assert clock.now() - NOW <= 60.0


async def test_a_quota_that_is_held_but_not_spent_is_waited_for(clock: FakeClock) -> None:
    # As a service that holds the most an evaluation may come to: three of them at once are too many.
    def script(job: Job) -> Answer | Exception:
        return EXCEEDED if service.recording.in_flight > 3 else good(job)

    service = ScriptedService(script, takes_s=5.0, allotment=Allotment(used=0, allotted=1_000))
    of = sweep(service, models=["a", "b"], repeats=20, limits={"max_in_flight": 8})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert (status.state, status.jobs["succeeded"]) == (RunState.FINISHED, 40)
    refused = len(service.recording.started) - 40
    assert refused <= 60
    assert clock.now() - NOW <= 3 * 40 * 5.0


@pytest.mark.parametrize(("used", "needs"), [(1_000, 0), (990, 20)], ids=["spent", "too little"])
async def test_a_quota_that_is_spent_ends_the_run_as_soon_as_the_service_s_figure_says_so(
    used: int, needs: int, clock: FakeClock
) -> None:
    class Spent(ScriptedService):
        async def quota(self, client: Any) -> Allotment | None:
            return Allotment(used=used if self.recording.started else 0, allotted=1_000)

    error = QuotaExceeded("the monthly allotment of tests is used up (403)", status=403)
    error.needs = needs

    service = Spent(lambda _: error, takes_s=0.1, allotment=Allotment(used=0, allotted=0))
    of = sweep(service, repeats=50, limits={"max_in_flight": 4})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert status.reason is StopReason.QUOTA
    assert status.resume_at is not None
    assert len(service.recording.started) <= 4
    assert clock.now() - NOW <= 1.0


async def test_refusals_that_the_service_s_figure_contradicts_for_hours_end_with_words_that_say_so(
    clock: FakeClock,
) -> None:
    service = ScriptedService(lambda _: EXCEEDED, allotment=Allotment(used=7, allotted=1_000))
    of = sweep(service, repeats=50, limits={"max_in_flight": 4}, retry={"outage_h": 1})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert status.reason is StopReason.UNHEALTHY
    assert status.jobs["failed"] == 0
    assert (
        "although the service's own figure says that only 7 of 1,000 tests are used"
        in status.message
    )
    assert HOUR_S <= clock.now() - NOW <= HOUR_S + 120.0
    # At growing distances, up to a minute.
    assert len(service.recording.started) <= 4 + 8 + 60


async def test_a_process_that_only_looks_says_that_a_refusal_is_being_confirmed_until_it_is_over() -> (
    None
):
    service = ScriptedService(lambda _: EXCEEDED, allotment=Allotment(used=7, allotted=1_000))
    of = sweep(service, repeats=3, retry={"base_delay_s": 0.01, "max_delay_s": 0.02})
    store = Memory()

    async with opened(store, service) as engine, anyio.create_task_group() as tasks:
        run = await engine.submit(of)
        tasks.start_soon(run.execute)
        async with opened(store, service) as other:
            while not any(
                one.why is WaitReason.REFUSED
                for one in await other.store.worker.find_lanes_elsewhere(run._row.id)
            ):
                await anyio.lowlevel.checkpoint()
            seen = await (await other.run("scripted")).status()
            service.recording.script = good
            while (await run.status()).cells_done < 3:
                await anyio.lowlevel.checkpoint()
            stopped = await other.store.worker.find_lanes_elsewhere(run._row.id)

    [waiting] = seen.waiting
    assert (waiting.lane, waiting.why) == ("a", WaitReason.REFUSED)
    assert waiting.detail == EXCEEDED.message
    assert seen.seconds_left is None
    assert all(one.goes_on for one in stopped)
