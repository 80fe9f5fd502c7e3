"""Outcomes of a run: in the order of their commits, with a cursor that survives restarts."""

from pathlib import Path

import anyio
import pytest

from engine import Outcome, Run, Settings, UsageError
from engine.kinds import Answer, Job, Permanent
from engine.testing import FakeClock, Memory, ScriptedService
from tests.engine.scenes import finished, good, opened, sweep
from tests.engine.store.sqlite.revisions import downgrade

SETTINGS = Settings(poll_s=1.0)


def fails_for_b(job: Job) -> Answer | Exception:
    return Permanent("no") if job.labels["model"] == "b" else good(job)


def fails_for_a(job: Job) -> Answer | Exception:
    return Permanent("no") if job.labels["model"] == "a" else good(job)


async def all_outcomes(run: Run, *, after: int = 0) -> list[Outcome]:
    return [outcome async for outcome in run.outcomes(after=after)]


def models(outcomes: list[Outcome]) -> list[str]:
    return [row.labels["model"] for outcome in outcomes for row in outcome.rows]


async def test_answered_and_failed_jobs_are_outcomes_with_the_rows_of_the_run(
    clock: FakeClock,
) -> None:
    service = ScriptedService(fails_for_b)
    async with opened(Memory(), service, clock) as engine, clock.jumping():
        run, _ = await finished(engine, sweep(service, models=["a", "b", "c"]))

        outcomes = await all_outcomes(run)
        rows = [row async for row in run.rows()]

    assert sorted(models(outcomes)) == ["a", "b", "c"]
    of_model = {row.labels["model"]: row for outcome in outcomes for row in outcome.rows}
    assert [of_model[row.labels["model"]] for row in rows] == rows
    cursors = [outcome.cursor for outcome in outcomes]
    assert cursors == sorted(set(cursors))


async def test_a_folded_job_is_one_outcome_with_a_row_for_each_threshold(clock: FakeClock) -> None:
    service = ScriptedService(good)
    async with opened(Memory(), service, clock) as engine, clock.jumping():
        run, _ = await finished(engine, sweep(service, matrix={"thresholds": [0.3, 0.5, 0.7]}))

        [outcome] = await all_outcomes(run)

    assert [row.labels["threshold"] for row in outcome.rows] == [0.3, 0.5, 0.7]


async def test_a_cursor_continues_behind_what_an_earlier_process_has_seen(
    tmp_path: Path, clock: FakeClock
) -> None:
    service = ScriptedService(good)
    path = tmp_path / "store.db"
    async with opened(path, service, clock) as engine, clock.jumping():
        run, _ = await finished(engine, sweep(service, models=["a", "b"]))
        seen = await all_outcomes(run)

    async with opened(path, service, clock) as engine, clock.jumping():
        run, _ = await finished(engine, sweep(service, models=["a", "b", "c"]))
        new = await all_outcomes(run, after=seen[-1].cursor)
        partly = await all_outcomes(run, after=seen[0].cursor)

    assert models(new) == ["c"]
    assert models(partly) == [models(seen)[1], "c"]


async def test_a_job_that_is_asked_again_has_a_further_outcome_and_none_meanwhile(
    clock: FakeClock,
) -> None:
    service = ScriptedService(fails_for_b)
    async with opened(Memory(), service, clock) as engine, clock.jumping():
        run, _ = await finished(engine, sweep(service, models=["a", "b"]))
        seen = await all_outcomes(run)

        await run.retry()
        meanwhile = await all_outcomes(run)
        service.recording.script = good
        await run.execute()
        new = await all_outcomes(run, after=seen[-1].cursor)

    assert models(meanwhile) == ["a"]
    assert models(new) == ["b"]
    assert [row.state for outcome in new for row in outcome.rows] == ["succeeded"]


async def test_answers_reused_from_another_run_are_outcomes(clock: FakeClock) -> None:
    service = ScriptedService(good)
    async with opened(Memory(), service, clock) as engine, clock.jumping():
        await finished(engine, sweep(service, models=["a"]))
        run, _ = await finished(engine, sweep(service, models=["a"], name="again"))

        [outcome] = await all_outcomes(run)

    assert [row.source for row in outcome.rows] == ["reused"]


async def test_outcomes_are_followed_as_they_arrive_until_the_run_ends(clock: FakeClock) -> None:
    service = ScriptedService(good, takes_s=10.0)
    arrived: list[tuple[float, str]] = []
    async with opened(Memory(), service, clock, settings=SETTINGS) as engine, clock.jumping():
        run = await engine.submit(
            sweep(service, models=["a", "b", "c"], limits={"max_in_flight": 1})
        )
        began = clock.now()

        async def listen() -> None:
            async for outcome in run.outcomes(follow=True):
                [model] = models([outcome])
                arrived.append((clock.now() - began, model))

        async with anyio.create_task_group() as tasks:
            # Before the run is executed: it is waited for.
            tasks.start_soon(listen)
            await run.execute()

    assert [model for _, model in arrived] == ["a", "b", "c"]
    for number, (after_s, _) in enumerate(arrived, 1):
        assert 10.0 * number <= after_s <= 10.0 * number + 2.0


async def test_following_a_run_that_has_ended_ends_as_well(clock: FakeClock) -> None:
    service = ScriptedService(good)
    async with opened(Memory(), service, clock) as engine, clock.jumping():
        run, _ = await finished(engine, sweep(service))

        followed = [outcome async for outcome in run.outcomes(follow=True)]

    assert models(followed) == ["a"]


async def test_outcomes_of_a_deleted_run_are_an_error_that_says_so(clock: FakeClock) -> None:
    service = ScriptedService(good)
    async with opened(Memory(), service, clock) as engine, clock.jumping():
        run, _ = await finished(engine, sweep(service))
        await engine.delete("scripted")

        with pytest.raises(UsageError, match="deleted"):
            await all_outcomes(run)


async def test_cells_that_the_sweep_no_longer_asks_for_are_marked(clock: FakeClock) -> None:
    service = ScriptedService(good)
    async with opened(Memory(), service, clock) as engine, clock.jumping():
        await finished(engine, sweep(service, models=["a", "b"]))
        run, _ = await finished(engine, sweep(service, models=["b"]))

        outcomes = await all_outcomes(run)

    asked = {row.labels["model"]: row.asked for outcome in outcomes for row in outcome.rows}
    assert asked == {"a": False, "b": True}


async def test_a_store_of_an_earlier_version_has_its_outcomes_in_the_order_of_their_times(
    tmp_path: Path, clock: FakeClock
) -> None:
    path = tmp_path / "store.db"
    service = ScriptedService(fails_for_a, takes_s=10.0)
    async with opened(path, service, clock) as engine, clock.jumping():
        of = sweep(service, models=["a", "b", "c"], limits={"max_in_flight": 1})
        run, _ = await finished(engine, of)
        # Answered last, although it is first in the file.
        await run.retry(failed=True)
        service.recording.script = good
        await run.execute()
        before = models(await all_outcomes(run))
    downgrade(path, "0021")

    async with opened(path, service, clock) as engine, clock.jumping():
        outcomes = await all_outcomes(await engine.run("scripted"))

    assert before[-1] == "a"
    assert models(outcomes) == before
