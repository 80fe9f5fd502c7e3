"""Runs through the Python API: submitted, extended, changed, interrupted, and what comes out of them."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Self

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Engine, IdentityChanged, Row, Run, RunState, Source, Status, UsageError, check
from engine.clock import SystemClock
from engine.core.expanding import BATCH, BATCH_BESIDE_JOBS
from engine.kinds import (
    Answer,
    Check,
    Group,
    Health,
    HealthGate,
    Job,
    JobContext,
    Permanent,
    RateLimited,
    Transient,
    Unauthorized,
    Unreachable,
)
from engine.testing import FakeClock, Memory, ScriptedKind, ScriptedService, scored
from tests.engine.scenes import finished, good, opened, sweep, timeless_rows
from tests.engine.test_scheduler_health import GateSettings
from tests.statements import watched_statements


async def rows_of(run: Run) -> list[Row]:
    return [row async for row in run.rows()]


def numbers(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows without their order."""
    return sorted(map(asdict, rows), key=lambda row: str(row["labels"]))


async def test_submitting_sends_nothing(tmp_path: Path) -> None:
    service = ScriptedService(good)

    async with opened(tmp_path / "store.db", service) as engine:
        run = await engine.submit(sweep(service, repeats=3))
        status = await run.status()

    assert service.recording.started == []
    assert (status.state, status.cells_done) == (RunState.ACTIVE, 0)


async def test_the_same_sweep_again_sends_nothing(tmp_path: Path) -> None:
    service = ScriptedService(good)

    async with opened(tmp_path / "store.db", service) as engine:
        await finished(engine, sweep(service, models=["a", "b"], repeats=3))
    async with opened(tmp_path / "store.db", service) as engine:
        _, status = await finished(engine, sweep(service, models=["b", "a"], repeats=3))

    assert status.state is RunState.FINISHED
    assert status.cells_done == 6
    assert len(service.recording.started) == 6


async def test_a_finished_run_stays_finished_while_another_process_takes_it_up(
    tmp_path: Path,
) -> None:
    service = ScriptedService(good)
    seen: list[RunState] = []

    async with (
        opened(tmp_path / "store.db", service) as engine,
        opened(tmp_path / "store.db", ScriptedService(good)) as other,
    ):
        run, _ = await finished(engine, sweep(service, repeats=3))
        late = await other.run(run.name)
        async with anyio.create_task_group() as tasks:

            async def look() -> None:
                while True:
                    seen.append((await run.status()).state)

            tasks.start_soon(look)
            status = await late.execute()
            tasks.cancel_scope.cancel()

    assert status.state is RunState.FINISHED
    assert set(seen) == {RunState.FINISHED}


async def test_a_run_goes_on_without_its_file(tmp_path: Path) -> None:
    service = ScriptedService(good)
    prompts = [{"name": "bare", "text": "You help."}]

    async with opened(tmp_path / "store.db", service) as engine:
        await engine.submit(sweep(service, repeats=3, matrix={"prompts": prompts}))
    async with opened(tmp_path / "store.db", service) as engine:
        status = await (await engine.run()).execute()

    assert status.jobs["succeeded"] == 3
    assert {start.job.parameters["prompt"] for start in service.recording.started} == {"You help."}
    assert {start.job.labels["prompt"] for start in service.recording.started} == {"bare"}


async def test_cells_that_are_added_are_sent_and_the_others_stay(tmp_path: Path) -> None:
    service = ScriptedService(good)

    async with opened(tmp_path / "store.db", service) as engine:
        await finished(engine, sweep(service, repeats=2))
        _, status = await finished(engine, sweep(service, models=["new", "a"], repeats=3))

    sent = Counter(start.job.labels["model"] for start in service.recording.started)
    assert status.cells_done == 6
    assert sent == {"a": 3, "new": 3}


async def test_cells_that_are_removed_are_cancelled_and_their_results_kept(tmp_path: Path) -> None:
    service = ScriptedService(good)

    async with opened(tmp_path / "store.db", service) as engine:
        await finished(engine, sweep(service, models=["a"], repeats=2))
        await engine.submit(sweep(service, models=["a", "b"], repeats=2))
        run, status = await finished(engine, sweep(service, models=["c"], repeats=1))
        rows, past = await rows_of(run), [row async for row in run.rows(past=True)]
        _, back = await finished(engine, sweep(service, models=["a"], repeats=2))

    assert status.state is RunState.FINISHED
    assert Counter(start.job.labels["model"] for start in service.recording.started) == {
        "a": 2,
        "c": 1,
    }
    assert [row.labels["model"] for row in rows] == ["c"]
    # What was answered once stays readable.
    assert Counter((row.labels["model"], row.state, row.asked) for row in past) == {
        ("a", "succeeded", False): 2,
        ("c", "succeeded", True): 1,
    }
    assert (back.jobs["succeeded"], back.cells) == (2, 2)


async def test_a_lower_threshold_is_read_from_the_answer_that_is_there(tmp_path: Path) -> None:
    service = ScriptedService(good)

    async with opened(tmp_path / "store.db", service) as engine:
        await finished(engine, sweep(service, matrix={"thresholds": [0.5]}))
        run, _ = await finished(engine, sweep(service, matrix={"thresholds": [0.1, 0.5]}))
        rows = {row.labels["threshold"]: row for row in await rows_of(run)}

    assert len(service.recording.started) == 1
    assert (rows[0.5].source, rows[0.5].failed, rows[0.5].total) == (Source.MEASURED, 1, 2)
    assert (rows[0.1].source, rows[0.1].failed, rows[0.1].total) == (Source.DERIVED, 0, 2)


async def test_a_higher_threshold_is_sent_and_each_cell_stands_once(tmp_path: Path) -> None:
    service = ScriptedService(lambda job: scored(0.2, 0.9, threshold=job.parameters["threshold"]))

    async with opened(tmp_path / "store.db", service) as engine:
        await finished(engine, sweep(service, matrix={"thresholds": [0.5]}))
        run, status = await finished(engine, sweep(service, matrix={"thresholds": [0.5, 0.95]}))
        rows = [(row.labels["threshold"], row.failed) for row in await rows_of(run)]

    assert [start.job.parameters["threshold"] for start in service.recording.started] == [0.5, 0.95]
    assert sorted(rows) == [(0.5, 1), (0.95, 2)]
    assert status.cells == 2


async def test_all_groups_are_asked_for_once_and_stay_as_they_were(tmp_path: Path) -> None:
    class Changing(ScriptedService):
        asked = 0

        async def groups(self, client: Any) -> Sequence[Group]:
            type(self).asked += 1
            return [Group(name=name) for name in ("x", "y", f"new-{self.asked}")]

    service = Changing(good)
    of = sweep(service, matrix={"groups": "all"})

    async with opened(tmp_path / "store.db", service) as engine:
        await finished(engine, of)
        more = sweep(service, repeats=2, matrix={"groups": "all"})
        _, status = await finished(engine, more)
        await (await engine.run()).execute()

    assert service.asked == 1
    assert status.cells_done == 6
    assert {start.job.labels["group"] for start in service.recording.started} == {
        "x",
        "y",
        "new-1",
    }


class OtherKind(ScriptedKind):
    name = "other"


async def test_a_sweep_of_another_service_or_evaluation_is_refused(tmp_path: Path) -> None:
    service = ScriptedService(good)
    elsewhere = ScriptedService(good)
    elsewhere.identity = "elsewhere"
    other = ScriptedService(good, kind=OtherKind)
    path = tmp_path / "store.db"

    async with opened(path, service) as engine:
        await engine.submit(sweep(service))
        with pytest.raises(IdentityChanged, match="service changed from scripted to elsewhere"):
            await engine.submit(sweep(elsewhere))
        with pytest.raises(UsageError, match="has the evaluation scripted, the sweep has other"):
            await engine.submit(sweep(other, evaluation="other"))
        status = await (await engine.run("scripted")).status()

    assert status.state is RunState.ACTIVE


async def test_a_run_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    service = ScriptedService(good)

    async with opened(tmp_path / "store.db", service) as engine:
        with pytest.raises(UsageError, match="is empty"):
            await engine.run()
        await engine.submit(sweep(service))
        with pytest.raises(UsageError, match="no run 'night'; known: scripted"):
            await engine.run("night")


async def test_answers_of_another_run_are_reused_and_marked(tmp_path: Path) -> None:
    service = ScriptedService(good)

    async with opened(tmp_path / "store.db", service) as engine:
        await finished(engine, sweep(service, repeats=2))
        run, status = await finished(engine, sweep(service, repeats=3, name="again"))
        rows = await rows_of(run)
        infos = await engine.runs()

    assert len(service.recording.started) == 3
    assert status.cells_done == 3
    assert Counter(row.source for row in rows) == {Source.REUSED: 2, Source.MEASURED: 1}
    assert {(row.passed, row.failed) for row in rows} == {(1, 1)}
    assert [info.name for info in infos] == ["again", "scripted"]


async def test_reuse_can_be_refused(tmp_path: Path) -> None:
    service = ScriptedService(good)

    async with opened(tmp_path / "store.db", service) as engine:
        await finished(engine, sweep(service, repeats=2))
        run, _ = await finished(engine, sweep(service, repeats=2, name="again", reuse=False))
        rows = await rows_of(run)

    assert len(service.recording.started) == 4
    assert {row.source for row in rows} == {Source.MEASURED}


async def test_the_first_jobs_are_sent_while_the_matrix_is_still_being_written(
    tmp_path: Path,
) -> None:
    service = ScriptedService(good)
    service.recording.hold()
    models = ["a", "b", "c", "d"]
    of = sweep(service, models=models, repeats=10_000, limits={"max_in_flight": 2})

    async with opened(tmp_path / "store.db", service) as engine:
        run = await engine.submit(of)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.execute)
            await service.recording.until_in_flight(2)
            early = await run.status()
            tasks.cancel_scope.cancel()

    assert early.expanding
    assert 0 < early.cells < 40_000


async def test_while_jobs_are_in_flight_their_outcomes_wait_for_few_new_jobs_at_a_time(
    tmp_path: Path,
) -> None:
    service = ScriptedService(good)
    service.recording.hold()
    of = sweep(service, models=["a", "b"], repeats=5_000, limits={"max_in_flight": 2})
    written: list[int] = []

    def keep(statement: str, values: Any) -> None:
        if statement.startswith("INSERT INTO job "):
            [rows] = [json.loads(value) for value in values if str(value).startswith("[")]
            written.append(len(rows))

    async with opened(tmp_path / "store.db", service) as engine:
        run = await engine.submit(of)
        with watched_statements(keep):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run.execute)
                await service.recording.until_in_flight(2)
                before = len(written)
                is_expanded = False
                while not is_expanded:
                    row = await engine.store.reader.find_run(run.name)
                    is_expanded = row is not None and row.is_expanded
                tasks.cancel_scope.cancel()

    assert sum(written) == 10_000
    assert written[0] == BATCH
    # One batch may have been prepared before; on a busy machine, the last ones may have been written.
    assert set(written[before + 1 : -1]) <= {BATCH_BESIDE_JOBS}


async def test_a_matrix_that_was_cut_short_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.core.expanding.BATCH", 1)
    monkeypatch.setattr("engine.core.expanding.BATCH_BESIDE_JOBS", 1)
    service = ScriptedService(good)
    service.recording.hold()
    of = sweep(service, repeats=300, limits={"max_in_flight": 2})

    async with opened(tmp_path / "store.db", service) as engine:
        run = await engine.submit(of)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.execute)
            await service.recording.until_in_flight(1)
            tasks.cancel_scope.cancel()
        cut_short = await run.status()
        monkeypatch.undo()
        service.recording.release()
        status = await (await engine.run()).execute()

    assert cut_short.expanding
    assert cut_short.cells < 300
    assert status.cells_done == 300
    assert not status.expanding


async def test_measured_derived_missing_and_unknown_cells_are_distinguished(tmp_path: Path) -> None:
    def script(job: Job) -> Answer | Exception:
        if job.labels["model"] == "failing":
            return Permanent("HTTP 404", detail="no such model")
        return scored(0.2, 0.4, 0.9, threshold=job.parameters["threshold"])

    service = ScriptedService(script)
    matrix = {"thresholds": [0.3, 0.5]}
    of = sweep(service, models=["failing", "good"], matrix=matrix)

    async with opened(tmp_path / "store.db", service) as engine:
        run, status = await finished(engine, of)
        rows = {(row.labels["model"], row.labels["threshold"]): row for row in await rows_of(run)}

    assert (status.cells, status.cells_done, status.cells_failed) == (4, 2, 2)
    measured, derived = rows["good", 0.5], rows["good", 0.3]
    assert (measured.source, measured.passed, measured.failed) == (Source.MEASURED, 1, 2)
    assert (derived.source, derived.passed, derived.failed) == (Source.DERIVED, 2, 1)
    assert derived.failure_rate == pytest.approx(1 / 3)
    assert derived.ci_low is not None
    assert derived.ci_high is not None
    assert derived.ci_low < 1 / 3 < derived.ci_high
    missing = rows["failing", 0.3]
    assert (missing.state, missing.source) == ("failed", Source.MISSING)
    assert missing.error == "HTTP 404: no such model"
    assert {
        missing.passed,
        missing.failed,
        missing.total,
        missing.failure_rate,
        missing.ci_low,
        missing.ci_high,
    } == {None}
    axes = ["model", "prompt", "group", "threshold", "variations", "repeat"]
    assert list(missing.labels) == [name for name in axes if name in missing.labels]


async def test_a_status_adds_up_what_the_rows_say(tmp_path: Path) -> None:
    service = ScriptedService(
        lambda job: Transient("HTTP 500", status=500) if job.repeat == 5 else good(job)
    )
    of = sweep(service, repeats=5, retry={"attempts": 1})

    async with opened(tmp_path / "store.db", service) as engine:
        run, status = await finished(engine, of)
        rows = await rows_of(run)

    assert status.tests_passed == sum(row.passed or 0 for row in rows) == 4
    assert status.tests_failed == sum(row.failed or 0 for row in rows) == 4
    assert (status.cells, status.cells_done, status.cells_failed) == (5, 4, 1)
    assert status.seconds_left == 0.0
    assert status.binding == ""


async def test_requests_in_flight_tell_nothing_of_the_speed(tmp_path: Path) -> None:
    service = ScriptedService(good, takes_s=60)
    of = sweep(service, repeats=64, limits={"max_in_flight": 16})
    clock = FakeClock()

    async with (
        opened(tmp_path / "store.db", service, clock) as engine,
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(of)
        tasks.start_soon(run.execute)
        await service.recording.until_started(16)
        in_flight = await run.status()
        await clock.advance(61)
        after = await run.status()
        tasks.cancel_scope.cancel()

    assert (in_flight.jobs["running"], in_flight.seconds_left) == (16, None)
    assert (after.cells_done, after.binding) == (16, "speed so far")
    assert after.seconds_left == pytest.approx(183, abs=10)


async def test_a_run_tells_what_happened_to_it(tmp_path: Path) -> None:
    service = ScriptedService(lambda _: Unauthorized("the key is refused", status=401))
    clock = FakeClock()

    async with opened(tmp_path / "store.db", service, clock) as engine, clock.jumping():
        run, status = await finished(engine, sweep(service))
        *_, last = await run.events()

    assert (last.kind, last.message) == ("unauthorized", status.message)
    assert last.at <= clock.now()


@pytest.mark.parametrize(
    ("repeats", "hours"),
    # An hour until it opens; what does not fit into one of its hours goes on the next day.
    [(20, 1 + 2 / 60), (1_000, 25 + 40 / 60)],
)
async def test_the_time_left_counts_the_hours_in_which_nothing_is_sent(
    tmp_path: Path, repeats: int, hours: float
) -> None:
    service = ScriptedService(good)
    hour = {"window": "09:00-10:00", "timezone": "UTC", "rate_per_min": 10}

    clock = FakeClock()  # it is 08:00

    async with opened(tmp_path / "store.db", service, clock) as engine:
        run = await engine.submit(sweep(service, repeats=repeats, limits=hour))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.execute)
            while not (status := await run.status()).cells:
                await clock.advance(1)
            tasks.cancel_scope.cancel()

    assert status.binding == "the run's window"
    assert status.seconds_left is not None
    assert status.seconds_left == pytest.approx(hours * 3600, abs=60)


async def test_the_time_left_counts_the_time_for_which_the_service_asked_to_wait(
    tmp_path: Path,
) -> None:
    service = ScriptedService(
        lambda _: RateLimited("too many requests", status=429, retry_after_s=3600.0)
    )
    clock = FakeClock()

    async with opened(tmp_path / "store.db", service, clock) as engine:
        run = await engine.submit(sweep(service, repeats=20, limits={"rate_per_min": 10}))
        status = await run.status()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.execute)
            while "held" not in [one.why for one in status.waiting]:
                await clock.advance(1)
                status = await run.status()
            tasks.cancel_scope.cancel()

    assert status.seconds_left == pytest.approx(3600 + 20 * 6, abs=30)


async def test_a_status_says_whether_a_process_works_on_the_run(tmp_path: Path) -> None:
    service = ScriptedService(good)
    service.recording.hold()
    path = tmp_path / "store.db"

    async with opened(path, service) as engine, anyio.create_task_group() as tasks:
        run = await engine.submit(sweep(service))
        before = await run.status()
        tasks.start_soon(run.execute)
        await service.recording.until_in_flight(1)
        during = await (await engine.run()).status()
        async with opened(path, service) as other:
            elsewhere = await (await other.run()).status()
        service.recording.release()

    assert (before.unattended, during.unattended, elsewhere.unattended) == (True, False, False)


async def test_calls_inside_an_evaluation_are_not_repeated_after_an_interruption(
    tmp_path: Path,
) -> None:
    class Calling(ScriptedKind):
        async def run(self, job: Job, client: Any, context: JobContext) -> Answer:
            for number in range(10):
                key = {"job": job.key, "call": number}
                await context.cached(key, partial(call, number))
            return await super().run(job, client, context)

    async def call(number: int) -> bytes:
        calls.append(number)
        if len(calls) == 7:
            reached.set()
            await anyio.sleep_forever()
        return b"answer"

    calls: list[int] = []
    reached = anyio.Event()
    service = ScriptedService(good, kind=Calling)

    async with opened(tmp_path / "store.db", service) as engine:
        run = await engine.submit(sweep(service))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.execute)
            await reached.wait()
            tasks.cancel_scope.cancel()
        status = await run.execute()

    assert status.jobs["succeeded"] == 1
    assert calls == [0, 1, 2, 3, 4, 5, 6, 6, 7, 8, 9]


def deterministic(job: Job) -> Answer | Exception:
    """A few jobs need two attempts, one in seven never goes well, the rest depend on the key alone."""
    number = int(job.key[:8], 16)
    if number % 7 == 0:
        return Permanent("HTTP 404", status=404)
    if number % 5 == 0 and job.attempt == 1:
        return Transient("HTTP 500", status=500)
    scores = [(number >> shift) % 10 / 10 for shift in (3, 7, 11)]
    return scored(*scores, threshold=job.parameters["threshold"])


async def in_pieces(interruptions: Sequence[tuple[int, bool]]) -> tuple[Any, Status]:
    """Work on a sweep, stopped or cancelled after so many starts each; its rows and its end."""
    service, store = ScriptedService(deterministic), Memory()
    of = sweep(
        service,
        models=["a", "b"],
        repeats=10,
        matrix={"thresholds": [0.3, 0.6]},
        limits={"max_in_flight": 3},
        retry={"base_delay_s": 0.001},
    )

    async def work(run: Run, waiting: anyio.CancelScope) -> None:
        await run.execute()
        # There may have been less to start than was waited for.
        waiting.cancel()

    for count, is_hard in interruptions:
        async with (
            opened(store, service) as engine,
            anyio.create_task_group() as tasks,
        ):
            run = await engine.submit(of)
            with anyio.CancelScope() as waiting:
                tasks.start_soon(work, run, waiting)
                await service.recording.until_started(len(service.recording.started) + count)
            if is_hard:
                tasks.cancel_scope.cancel()
            run.stop()
    async with opened(store, service) as engine:
        run, status = await finished(engine, of)
        return numbers(await timeless_rows(run)), status


UNDISTURBED: list[Any] = []


@settings(max_examples=8)
@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=4))
def test_totals_after_any_interruptions_are_those_of_an_undisturbed_run(
    interruptions: list[tuple[int, bool]],
) -> None:
    async def both() -> tuple[Any, Any]:
        if not UNDISTURBED:
            UNDISTURBED.append(await in_pieces([]))
        return UNDISTURBED[0], await in_pieces(interruptions)

    (rows, status), (rows_in_pieces, status_in_pieces) = anyio.run(both)

    assert rows_in_pieces == rows
    for name in ("cells", "cells_done", "cells_failed", "tests_passed", "tests_failed", "jobs"):
        assert getattr(status_in_pieces, name) == getattr(status, name)


class Sick(HealthGate):
    settings_model = GateSettings

    async def check(self, client: Any, lane: str) -> Health:
        if lane == "down":
            raise Transient("cannot connect", detail="the machine is in another network")
        return Health(healthy=lane == "well", message="" if lane == "well" else "it says nothing")


async def test_a_check_finds_what_would_stop_a_night_before_it_is_spent() -> None:
    class Checked(ScriptedService):
        async def check(self, client: Any) -> Sequence[Check]:
            return [Check(name="ping", ok=True, message="answers")]

    service = Checked(good, groups=("mania",))
    of = sweep(service, models=["well", "sick", "down"], matrix={"groups": ["manla"]}, gate=Sick())

    checks = {one.name: one for one in await check(of, SystemClock())}

    assert checks["ping"].ok
    assert not checks["sweep's groups"].ok
    assert "manla is not offered" in checks["sweep's groups"].message
    assert "mania" in checks["sweep's groups"].message
    assert checks["health well"].ok
    assert checks["health sick"].message == "it says nothing"
    assert checks["health down"].message == "cannot connect: the machine is in another network"
    assert service.recording.started == []


async def test_an_engine_can_work_on_two_runs_at_once(tmp_path: Path, clock: FakeClock) -> None:
    service = ScriptedService(good, takes_s=1.0)

    async def work(engine: Engine, name: str) -> None:
        _, status = await finished(engine, sweep(service, repeats=5, name=name, reuse=False))
        statuses.append(status)

    statuses: list[Status] = []
    async with (
        opened(tmp_path / "store.db", service, clock) as engine,
        clock.jumping(),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(work, engine, "one")
        tasks.start_soon(work, engine, "other")

    assert [status.jobs["succeeded"] for status in statuses] == [5, 5]
    assert len(service.recording.started) == 10


class _Asking(ScriptedKind):
    """A kind that learns of its service whether its cells fold, which is away at first."""

    asked = 0
    folds = False

    async def prepare(self, client: Any) -> Self:
        type(self).asked += 1
        if type(self).asked == 1:
            raise Unreachable("nobody listens")
        prepared = copy(self)
        prepared.folds = True
        return prepared

    def folds_exactly(self, labels: Mapping[str, Any]) -> bool:
        return self.folds


async def test_how_cells_fold_is_asked_until_the_service_says_it(tmp_path: Path) -> None:
    service = ScriptedService(good, kind=_Asking)
    folded = sweep(service, matrix={"thresholds": [0.3, 0.5, 0.7]})

    clock = FakeClock()

    async with opened(tmp_path / "store.db", service, clock) as engine, clock.jumping():
        run, status = await finished(engine, folded)
        rows = await rows_of(run)
        [event] = [one for one in await run.events() if one.kind == "service"]

    assert status.cells_done == 3
    assert [row.source for row in rows] == [Source.DERIVED, Source.DERIVED, Source.MEASURED]
    assert len(service.recording.started) == 1
    assert "asked again in 60 s how cells fold: nobody listens" in event.message


async def test_a_sweep_that_never_folds_asks_no_service_how(tmp_path: Path) -> None:
    service = ScriptedService(good, kind=_Unasked)

    async with opened(tmp_path / "store.db", service) as engine:
        _, status = await finished(
            engine, sweep(service, fold="never", matrix={"thresholds": [0.3, 0.5]})
        )

    assert status.cells_done == 2


class _Unasked(ScriptedKind):
    async def prepare(self, client: Any) -> Self:
        raise AssertionError("not asked for here")


async def test_what_an_interrupted_retry_has_left_is_put_back_by_the_next_execution(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    monkeypatch.setattr("engine.store.queries.parts.PART", 2)
    memory, told = Memory(), []
    broken = ScriptedService(lambda _: Permanent("no"))
    async with opened(memory, broken, clock) as engine, clock.jumping():
        run, _ = await finished(engine, sweep(broken, repeats=5))
        async with anyio.create_task_group() as tasks:

            def stop_after_first_part(done: int, total: int | None) -> None:
                told.append((done, total))
                if done:
                    tasks.cancel_scope.cancel()

            tasks.start_soon(partial(run.retry, on_progress=stop_after_first_part))
        left = await run.status()

    service = ScriptedService(good)
    async with opened(memory, service, clock) as engine, clock.jumping():
        status = await (await engine.run()).execute()
        again = await (await engine.run()).execute()

    assert told == [(0, None), (0, 5), (2, 5)]
    assert (left.jobs["pending"], left.jobs["failed"]) == (2, 3)
    assert "not all jobs are requeued yet" in left.message
    assert (status.jobs["succeeded"], status.state, status.message) == (5, RunState.FINISHED, "")
    assert (again.state, len(service.recording.started)) == (RunState.FINISHED, 5)


async def test_a_run_that_is_cancelled_while_a_retry_is_under_way_stays_cancelled(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    monkeypatch.setattr("engine.store.queries.parts.PART", 2)
    service = ScriptedService(lambda _: Permanent("no"))
    async with opened(Memory(), service, clock) as engine, clock.jumping():
        run, _ = await finished(engine, sweep(service, repeats=5))
        await run.retry()
        await run.cancel()
        parts: list[int] = []
        async with anyio.create_task_group() as tasks:

            def cancel_after_first_part(done: int, _total: int | None) -> None:
                parts.append(done)
                if done == 2:
                    tasks.start_soon(run.cancel)

            await run.retry(failed=False, cancelled=True, on_progress=cancel_after_first_part)
        status = await run.status()

    assert parts[-1] == 5
    assert status.state is RunState.CANCELLED
    assert status.jobs["cancelled"] == 5


async def test_a_run_is_cancelled_before_its_jobs_are(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    monkeypatch.setattr("engine.store.queries.parts.PART", 2)
    service = ScriptedService(lambda _: Permanent("no"))
    seen: list[tuple[int, int | None]] = []
    async with opened(Memory(), service, clock) as engine, clock.jumping():
        run, _ = await finished(engine, sweep(service, repeats=5))
        await run.retry()
        async with anyio.create_task_group() as tasks:

            def stop_at_once(done: int, total: int | None) -> None:
                seen.append((done, total))
                tasks.cancel_scope.cancel()

            tasks.start_soon(partial(run.cancel, on_progress=stop_at_once))
        state, left = await run.state(), await run.status()

    assert seen[0] == (0, None)
    assert state is RunState.CANCELLED
    assert left.jobs["pending"] > 0
