"""What a plan says that the store holds and what is left is what a run then finds and asks."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Plan, Sweep
from engine.core.rows import Coverage
from engine.core.status import ReusedAnswers, StoredCells
from engine.kinds import Answer, Job, Permanent
from engine.report.plans import plan_lines
from engine.results.coverage import CountedRows
from engine.testing import FakeClock, Memory, ScriptedService, scored
from tests.engine.scenes import NOW, finished, good, opened, sweep

LEVELS = [0.3, 0.5, 0.7]
submissions = st.lists(
    st.tuples(
        st.sampled_from(["one", "other"]),
        st.fixed_dictionaries(
            {
                "models": st.lists(
                    st.sampled_from(["a", "b", "failing"]), min_size=1, max_size=3, unique=True
                ),
                "repeats": st.integers(1, 2),
                "thresholds": st.lists(
                    st.sampled_from(LEVELS), min_size=1, max_size=3, unique=True
                ),
            }
        ),
        st.sampled_from(["exact", "never"]),
        st.booleans(),  # whether answers of other runs are reused
        st.sampled_from([False, False, True]),  # whether everything is asked again
    ),
    min_size=1,
    max_size=5,
)


def answer(job: Job) -> Answer | Exception:
    if job.labels["model"] == "failing":
        return Permanent("no such model")
    return scored(0.2, 0.4, 0.6, 0.9)


def stored(plan: Plan) -> StoredCells:
    assert plan.stored is not None
    return plan.stored


@settings(max_examples=12, deadline=None)
@given(submissions)
def test_what_a_plan_says_is_left_is_what_a_run_asks(
    script: list[tuple[str, dict[str, Any], str, bool, bool]],
) -> None:
    service = ScriptedService(answer)

    def wanted(name: str, axes: dict[str, Any], fold: str, reuse: bool) -> Sweep:
        more = {key: value for key, value in axes.items() if key == "thresholds"}
        return sweep(
            service,
            models=axes["models"],
            repeats=axes["repeats"],
            matrix=more,
            name=name,
            fold=fold,
            reuse=reuse,
        )

    async def play() -> None:
        clock = FakeClock(NOW)
        async with opened(Memory(), service, clock) as engine:
            for name, axes, fold, reuse, fresh in script:
                async with clock.jumping():
                    await clock.sleep(1.0)
                asked = wanted(name, axes, fold, reuse)
                plan = await engine.plan(asked, fresh=fresh)
                before = len(service.recording.started)
                status = await (await engine.submit(asked, fresh=fresh)).execute()
                sent = len(service.recording.started) - before

                found = stored(plan)
                reused = sum(one.cells for one in found.reused)
                assert found.left.jobs == sent
                assert (
                    found.cells_answered
                    + found.cells_failed
                    + found.cells_cancelled
                    + reused
                    + found.left.cells
                    == plan.cells
                    == status.cells
                )
                assert (await _again(engine, asked)).jobs == 0

    async def _again(engine: Any, asked: Sweep) -> Plan:
        return stored(await engine.plan(asked)).left

    asyncio.run(play())


async def test_a_plan_says_what_is_stored_and_what_is_left_to_pay_for(tmp_path: Path) -> None:
    service = ScriptedService(good)
    limits = {"rate_per_min": 6, "max_in_flight": 4}
    clock = FakeClock(NOW)
    async with opened(tmp_path / "store.db", service, clock) as engine:
        await finished(engine, sweep(service, repeats=2, name="other"))
        await finished(engine, sweep(service, models=["b"]))
        more = sweep(service, models=["a", "b"], repeats=3, limits=limits)
        plan = await engine.plan(more)
        async with clock.jumping():
            await clock.sleep(1.0)
        asked_again = await engine.plan(more, fresh=True)

    found = stored(plan)
    assert (plan.cells, found.cells_answered, found.cells_failed) == (6, 1, 0)
    assert found.reused == (ReusedAnswers(run="other", cells=2, answered_at=NOW),)
    assert (found.left.cells, found.left.jobs, found.left.lanes) == (3, 3, {"a": 1, "b": 2})
    assert plan.hours is not None
    assert found.left.hours == plan.hours / 2
    lines = plan_lines(plan)
    at = next(index for index, line in enumerate(lines) if line.startswith("stored"))
    assert lines[at].startswith(
        "stored     1 cell answered, 2 cells reused from the run other (answered 2027-01-15"
    )
    assert lines[at + 1] == "left       3 cells, 3 jobs"
    assert lines[at + 2] == "           requests: 3"
    assert stored(asked_again).is_empty
    assert stored(asked_again).left.jobs == 6
    assert not [line for line in plan_lines(asked_again) if line.startswith(("stored", "left"))]


async def test_a_plan_of_what_a_run_would_refuse_says_so(tmp_path: Path) -> None:
    base, elsewhere = ScriptedService(good), ScriptedService(good)
    elsewhere.identity = "elsewhere"
    async with opened(tmp_path / "store.db", base, FakeClock(NOW)) as engine:
        await finished(engine, sweep(base))
        plan = await engine.plan(sweep(elsewhere))
        accepted = await engine.plan(sweep(elsewhere), accept=True)

    assert plan.stored is None
    assert any("`run` would refuse" in what for what in plan.unknown)
    assert stored(accepted).left.jobs == 0


async def test_a_plan_a_status_and_the_rows_count_the_same_cells(tmp_path: Path) -> None:
    service = ScriptedService(answer)
    asked = sweep(service, models=["a", "failing", "b"], repeats=2)
    async with opened(tmp_path / "store.db", service, FakeClock(NOW)) as engine:
        run, _ = await finished(engine, asked)
        failed = await run.status(), stored(await engine.plan(asked))
        await run.retry(failed=True)
        await run.cancel()
        cancelled = await run.status(), stored(await engine.plan(asked))
        rows = CountedRows(run.rows, None)
        _ = [row async for row in rows()]

    for status, found in (failed, cancelled):
        counted = Coverage(
            answered=found.cells_answered,
            failed=found.cells_failed,
            cancelled=found.cells_cancelled,
            to_come=found.left.cells,
        )
        assert counted == status.coverage
    assert failed[0].coverage == Coverage(answered=4, failed=2)
    assert rows.counts.coverage == cancelled[0].coverage == Coverage(answered=4, cancelled=2)
    plan = Sweep.plan(asked)
    assert _stored_line(plan, failed[1]) == "4 cells answered, 2 cells failed (`retry` asks again)"
    assert _stored_line(plan, cancelled[1]) == (
        "4 cells answered, 2 cells cancelled (`retry --cancelled` asks again)"
    )


def _stored_line(plan: Plan, found: StoredCells) -> str:
    [line] = [one for one in plan_lines(replace(plan, stored=found)) if one.startswith("stored")]
    return line.removeprefix("stored").strip()
