"""Stored answers are not asked for again, and reported; with `fresh`, everything is asked."""

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from engine import Engine, Run, Source, Status, UsageError
from engine.core.rows import Coverage
from engine.core.status import ReusedAnswers, Session
from engine.kinds import Answer, Job, Permanent
from engine.report.words import status_lines, summary_lines
from engine.results.cells import OUTDATED
from engine.results.coverage import CountedRows
from engine.testing import FakeClock, Memory, ScriptedService, scored
from tests.engine.scenes import NOW, finished, good, opened, sweep
from tests.engine.store.scenes import raw_answer


class Asked:
    """Says that each further answer is another one."""

    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.fails = False
        self.meanwhile: Callable[[], None] = lambda: None

    def __call__(self, job: Job) -> Answer | Exception:
        self.jobs.append(f"{job.labels['model']} {job.repeat}")
        self.meanwhile()
        if self.fails:
            return Permanent("no such model")
        return scored(*[0.9] * len(self.jobs))


async def answers(run: Run) -> list[tuple[Source, int | None]]:
    return [(row.source, row.passed) async for row in run.rows()]


async def counted(run: Run) -> tuple[Coverage, int, int]:
    """What the rows of a run add up to: cells, tests that passed, tests that failed."""
    rows = CountedRows(run.rows, folded_field=None)
    async for _ in rows():
        pass
    tests = list(rows.counts.tests.values())
    passed, failed = sum(one.passed for one in tests), sum(one.failed for one in tests)
    return rows.counts.coverage, passed, failed


def reuse_line(status: Status) -> str:
    """The second line of a run's end."""
    return summary_lines(status)[1]


async def test_a_run_that_has_every_answer_sends_nothing_and_says_so(tmp_path: Path) -> None:
    service = ScriptedService(good)
    async with opened(tmp_path / "store.db", service, FakeClock(NOW)) as engine:
        _, first = await finished(engine, sweep(service, repeats=2))
        await _later(engine)
        _, again = await finished(engine, sweep(service, repeats=2))
        _, extended = await finished(engine, sweep(service, repeats=3))
        await _later(engine)
        edited = sweep(service, models=["a", "b"], repeats=1)
        _, changed = await finished(engine, edited)

    assert first.session == Session(began_at=NOW, cells_before=0, attempts=2)
    assert not reuse_line(first).startswith(("nothing", "not asked"))
    assert again.session == Session(began_at=NOW + 60, cells_before=2)
    assert (
        reuse_line(again) == "nothing was sent: 2 cells answered before; `run --fresh` asks again"
    )
    assert reuse_line(extended) == "not asked again: 2 cells answered before"
    assert (changed.cells_done, reuse_line(changed)) == (
        2,
        "not asked again: 1 cell answered before",
    )


async def test_cells_behind_a_reached_limit_are_not_reported_as_answered_before(
    tmp_path: Path,
) -> None:
    service = ScriptedService(good)
    wanted = sweep(service, repeats=2, limits={"requests": 1})
    async with opened(tmp_path / "store.db", service, FakeClock(NOW)) as engine:
        await finished(engine, wanted)
        await _later(engine)
        _, again = await finished(engine, wanted)

    assert (again.cells_done, again.cells) == (1, 2)
    assert reuse_line(again) == "not asked again: 1 cell answered before"


async def test_reused_answers_are_reported_with_their_run_and_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    service = ScriptedService(good)
    clock = FakeClock(NOW)
    async with opened(tmp_path / "store.db", service, clock) as engine:
        await finished(engine, sweep(service, repeats=2))
        async with clock.jumping():
            await clock.sleep(86_400.0)
        run, again = await finished(engine, sweep(service, repeats=2, name="again"))
        third, _ = await finished(engine, sweep(service, repeats=1, name="third"))
        await engine.delete("scripted")
        of_deleted = await third.status()
    async with opened(tmp_path / "store.db", service, clock) as engine:
        elsewhere = await (await engine.run(run.name)).status()

    reused = "2 cells reused from the run scripted (answered 2027-01-15 08:00 UTC)"
    assert again.reused == (ReusedAnswers(run="scripted", cells=2, answered_at=NOW),)
    assert reuse_line(again) == f"nothing was sent: {reused}; `run --fresh` asks again"
    assert elsewhere.session is None
    assert any(line.startswith("of these, 2 cells reused") for line in status_lines(elsewhere))
    assert [one.cells for one in of_deleted.reused] == [1]


async def test_a_reused_answer_keeps_the_cases_that_it_lists(tmp_path: Path) -> None:
    service = ScriptedService(lambda job: scored(0.1, 0.9, cases=["one", "other"]))
    async with opened(tmp_path / "store.db", service) as engine:
        first, _ = await finished(engine, sweep(service))
        again, _ = await finished(engine, sweep(service, name="again"))
        rows = [row for run in (first, again) async for row in run.rows()]

    assert [row.source for row in rows] == [Source.MEASURED, Source.REUSED]
    assert [(row.cases, row.first_failed) for row in rows] == [(2, 1), (2, 1)]


async def test_a_fresh_run_asks_everything_again_and_reuses_nothing(tmp_path: Path) -> None:
    asked = Asked()
    service = ScriptedService(asked)
    wanted = sweep(service, repeats=2, name="again")
    async with opened(tmp_path / "store.db", service, FakeClock(NOW)) as engine:
        await finished(engine, sweep(service, repeats=2))
        first, _ = await finished(engine, wanted)
        before = await answers(first)
        await _later(engine)
        run = await engine.submit(wanted, fresh=True)
        to_go = await run.status()
        kept = await answers(run)
        status = await run.execute()
        after = await answers(run)

    assert before == kept == [(Source.REUSED, 1), (Source.REUSED, 2)]
    assert (to_go.cells_done, to_go.cells, to_go.tests_passed) == (0, 2, 0)
    assert (status.cells_done, status.reused) == (2, ())
    assert after == [(Source.MEASURED, 3), (Source.MEASURED, 4)]
    assert asked.jobs == ["a 1", "a 2"] * 2


async def test_a_fresh_run_that_was_stopped_goes_on_where_it_stopped(tmp_path: Path) -> None:
    asked = Asked()
    service = ScriptedService(asked)
    wanted = sweep(service, repeats=3, limits={"max_in_flight": 1})
    async with opened(tmp_path / "store.db", service, FakeClock(NOW)) as engine:
        await finished(engine, wanted)
        await _later(engine)
        run = await engine.submit(wanted, fresh=True)
        asked.meanwhile = run.stop
        stopped = await run.execute()
    asked.meanwhile = lambda: None
    async with opened(tmp_path / "store.db", service, FakeClock(NOW + 120)) as engine:
        resumed = await (await engine.run()).execute()
        again = await (await engine.submit(wanted)).execute()

    assert (stopped.cells_done, resumed.cells_done, again.cells_done) == (1, 3, 3)
    assert asked.jobs == ["a 1", "a 2", "a 3", "a 1", "a 2", "a 3"]


async def test_rows_of_a_fresh_run_add_up_to_its_status_at_every_step(tmp_path: Path) -> None:
    asked = Asked()
    service = ScriptedService(asked)
    wanted = sweep(service, repeats=3, limits={"max_in_flight": 1})
    agree: list[tuple[int, int, int]] = []

    async def look(run: Run) -> None:
        status = await run.status()
        coverage, *tests = await counted(run)
        assert coverage == status.coverage
        assert tests == [status.tests_passed, status.tests_failed]
        [listed] = await engine.runs()
        assert listed.jobs == status.jobs
        agree.append((coverage.answered, coverage.failed, coverage.to_come))

    async with opened(tmp_path / "store.db", service, FakeClock(NOW)) as engine:
        run = await engine.submit(wanted)
        asked.meanwhile = run.stop
        await run.execute()
        asked.fails, asked.meanwhile = True, lambda: None
        await run.execute()
        await look(run)
        await _later(engine)
        run = await engine.submit(wanted, fresh=True)
        await look(run)
        notes = [row.error async for row in run.rows()]
        asked.meanwhile = run.stop
        await run.execute()
        await look(run)
        asked.meanwhile = lambda: None
        await run.execute()
        await look(run)

    assert agree == [(1, 2, 0), (0, 0, 3), (1, 0, 2), (1, 2, 0)]
    assert notes == [OUTDATED, "no such model", "no such model"]


async def test_a_fresh_run_keeps_the_answer_of_before_where_it_gets_no_other_and_says_so(
    tmp_path: Path,
) -> None:
    asked = Asked()
    service = ScriptedService(asked)
    async with opened(tmp_path / "store.db", service, FakeClock(NOW)) as engine:
        run, _ = await finished(engine, sweep(service))
        await _later(engine)
        asked.fails = True
        status = await (await engine.submit(sweep(service), fresh=True)).execute()

        assert await answers(run) == [(Source.MEASURED, 1)]
    assert (status.cells_done, status.cells_outdated) == (1, 1)
    assert reuse_line(status).startswith("1 cell with an answer from before 2027-01-")


async def test_answers_that_other_runs_reuse_stay_when_their_run_is_asked_again(
    tmp_path: Path,
) -> None:
    service = ScriptedService(Asked())
    async with opened(tmp_path / "store.db", service, FakeClock(NOW)) as engine:
        await finished(engine, sweep(service))
        other, _ = await finished(engine, sweep(service, name="other"))
        [row] = [job async for job in engine.store.reader.job_rows(other._row)]
        raw = await raw_answer(engine.store, row.id)
        await _later(engine)
        await (await engine.submit(sweep(service), fresh=True)).execute()

        assert await answers(other) == [(Source.REUSED, 1)]
        assert await raw_answer(engine.store, row.id) == raw


async def test_removed_cells_are_not_asked_again_by_a_fresh_run_but_when_they_are_back(
    tmp_path: Path,
) -> None:
    asked = Asked()
    service = ScriptedService(asked)
    both, one = sweep(service, models=["a", "b"]), sweep(service, models=["a"])
    async with opened(tmp_path / "store.db", service, FakeClock(NOW)) as engine:
        await finished(engine, both)
        await _later(engine)
        await (await engine.submit(one, fresh=True)).execute()
        fewer = list(asked.jobs)
        await finished(engine, both)

    assert fewer == ["a 1", "b 1", "a 1"]
    assert asked.jobs == [*fewer, "b 1"]


async def test_a_run_that_a_process_works_on_is_not_asked_again() -> None:
    service = ScriptedService(Asked())
    service.recording.hold()

    async with opened(Memory(), service) as engine, anyio.create_task_group() as tasks:
        run = await engine.submit(sweep(service))
        tasks.start_soon(run.execute)
        await service.recording.until_in_flight(1)
        with pytest.raises(UsageError, match="a process works on the run 'scripted'"):
            await engine.submit(sweep(service), fresh=True)
        service.recording.release()


async def _later(engine: Engine) -> None:
    """A minute later by the engine's clock."""
    clock = engine.clock
    assert isinstance(clock, FakeClock)
    async with clock.jumping():
        await clock.sleep(60.0)
