"""Sweeps that are edited between executions: what is sent, what is written, and in which order it stands."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from engine import Engine, Row, Run
from engine.kinds import Answer, Job
from engine.store import KeptLayout, RunRow, Store
from engine.testing import Memory, ScriptedService, scored
from tests.engine.scenes import finished, good, opened, sweep, timeless_rows
from tests.engine.store.scenes import rows, sqlite_of
from tests.statements import watched_statements

JOBS = "SELECT id, generation, place, labels, cells, attempts FROM job WHERE state = 'succeeded'"


@contextmanager
def asked_for() -> Iterator[list[int]]:
    """How many jobs each statement has asked for within the block."""
    counts: list[int] = []

    def executed(statement: str, given: Any) -> None:
        if statement.startswith("INSERT INTO job"):
            counts.append(len(json.loads(next(one for one in given if str(one).startswith("[")))))

    with watched_statements(executed):
        yield counts


def sent(service: ScriptedService) -> list[str]:
    return [start.job.labels["model"] for start in service.recording.started]


async def models_of(engine: Engine) -> list[str]:
    run = await engine.run()
    return [row.labels["model"] async for row in run.rows()]


@pytest.mark.parametrize(
    ("models", "new"),
    [("abcx", "x"), ("xabc", "x"), ("axbyc", "xy"), ("ac", ""), ("xb", "x"), ("abc", "")],
)
async def test_an_edit_asks_for_what_is_new_and_writes_no_answered_job(
    tmp_path: Path, models: str, new: str
) -> None:
    service = ScriptedService(good)
    path = tmp_path / "store.db"
    async with opened(path, service) as engine:
        await finished(engine, sweep(service, models="abc", repeats=3))
        before = rows(path, JOBS)
        service.recording.started.clear()

        with asked_for() as counts:
            _, status = await finished(engine, sweep(service, models=models, repeats=3))

        found = await models_of(engine)
    kept = [row for row in before if json.loads(row[3])["model"] in models]
    assert set(kept) <= set(rows(path, JOBS))
    assert Counter(sent(service)) == Counter(3 * new)
    assert sum(counts) == 3 * len(new)
    assert found == [model for model in models for _ in range(3)]
    assert status.cells_done == 3 * len(models)


async def test_what_stays_in_a_sweep_is_sent_while_what_an_edit_adds_is_not_yet_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = ScriptedService(good)
    service.recording.hold()
    limits = {"max_in_flight": 2}
    async with opened(tmp_path / "store.db", service) as engine:
        run = await engine.submit(sweep(service, models="ab", repeats=4, limits=limits))
        await cut_short(engine, service, run_to=1)
        service.recording.started.clear()
        edited = sweep(service, models="bc", repeats=4, limits=limits)
        monkeypatch.setattr(engine.store.matrix, "add_jobs", _never)

        await engine.submit(edited)
        await cut_short(engine, service, run_to=2)
        half = sent(service)
        monkeypatch.undo()
        service.recording.release()
        status = await (await engine.run()).execute()

    assert half == ["b", "b"]
    assert "a" not in sent(service)
    assert (run.name, status.cells_done, status.cells) == (edited.name, 8, 8)


async def _never(*_: object, **__: object) -> None:
    await anyio.sleep_forever()


async def cut_short(engine: Engine, service: ScriptedService, *, run_to: int) -> None:
    """Execute the run until so many attempts are in flight, then end it at once."""
    run = await engine.run()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run.execute)
        await service.recording.until_in_flight(run_to)
        tasks.cancel_scope.cancel()


async def test_a_job_whose_repeat_is_removed_is_not_sent(tmp_path: Path) -> None:
    service = ScriptedService(good)
    service.recording.hold()
    async with opened(tmp_path / "store.db", service) as engine:
        await engine.submit(sweep(service, models="ab", repeats=3))
        run = await engine.run()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.execute)
            await service.recording.until_in_flight(6)
            tasks.cancel_scope.cancel()
        service.recording.started.clear()
        service.recording.release()

        _, status = await finished(engine, sweep(service, models="ab", repeats=1))

    assert sorted(sent(service)) == ["a", "b"]
    assert status.cells == 2


async def test_answers_that_another_run_has_had_since_are_reused_by_an_edit(
    tmp_path: Path,
) -> None:
    service = ScriptedService(good)
    async with opened(tmp_path / "store.db", service) as engine:
        service.recording.hold()
        await engine.submit(sweep(service, models="ab", repeats=2))
        await cut_short(engine, service, run_to=1)
        service.recording.release()
        await finished(engine, sweep(service, models="ab", repeats=2, name="other"))
        service.recording.started.clear()

        _, status = await finished(engine, sweep(service, models="abc", repeats=2))

    assert sent(service) == ["c", "c"]
    assert status.cells_done == 6


async def test_answers_that_another_run_had_while_a_sweep_was_written_out_are_reused_by_an_edit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, theirs = ScriptedService(good), ScriptedService(good)
    is_written_out = anyio.Event()

    async def before_another_run(of: RunRow, *batch: Any, **more: Any) -> int:
        written = await add(of, *batch, **more)
        if of.name == "scripted" and not is_written_out.is_set():
            async with opened(tmp_path / "store.db", theirs) as other:
                await finished(other, sweep(theirs, models="ab", repeats=2, name="other"))
        return written

    async def noted(of: RunRow, kept: KeptLayout | None) -> int:
        removed = await finish(of, kept)
        if of.name == "scripted":
            is_written_out.set()
        return removed

    async with opened(tmp_path / "store.db", service) as engine:
        service.recording.hold()
        run = await engine.submit(
            sweep(service, models="ab", repeats=2, limits={"max_in_flight": 1})
        )
        add, finish = engine.store.matrix.add_jobs, engine.store.matrix.finish_expansion
        monkeypatch.setattr(engine.store.matrix, "add_jobs", before_another_run)
        monkeypatch.setattr(engine.store.matrix, "finish_expansion", noted)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.execute)
            await is_written_out.wait()
            tasks.cancel_scope.cancel()
        service.recording.release()
        service.recording.started.clear()

        _, status = await finished(engine, sweep(service, models="abc", repeats=2))

    assert sent(service) == ["c", "c"]
    assert status.cells_done == 6


async def test_answers_with_gaps_that_an_edit_allows_are_reused_from_another_run(
    tmp_path: Path,
) -> None:
    def with_a_gap(_: Job) -> Answer:
        found = scored(0.2, 0.9)
        return replace(found, measurement=replace(found.measurement, unanswered={"timeout": 1}))

    service, theirs = ScriptedService(good), ScriptedService(with_a_gap)
    path = tmp_path / "store.db"
    async with opened(path, theirs) as other:
        await finished(other, sweep(theirs, models="ab", name="other", max_unanswered=0.5))
    async with opened(path, service) as engine:
        service.recording.hold()
        await engine.submit(sweep(service, models="ab", max_unanswered=0))
        await cut_short(engine, service, run_to=2)
        service.recording.release()
        service.recording.started.clear()

        await finished(engine, sweep(service, models="abc", max_unanswered=0.5))

    assert sent(service) == ["c"]


prompts = st.lists(
    st.sampled_from([("p", "one"), ("p", "two"), ("q", "one"), ("q", "two"), ("r", "three")]),
    min_size=1,
    max_size=3,
    unique_by=(lambda prompt: prompt[0], lambda prompt: prompt[1]),
)
usual: dict[str, Any] = {}
edits = st.lists(
    st.tuples(
        st.lists(st.sampled_from("abcde"), min_size=1, max_size=4, unique=True),
        prompts,
        st.integers(1, 2),
        st.sampled_from(
            [
                usual,
                usual,
                usual,
                {"exclude": []},
                {"include": [{"models": "d"}, {"groups": "more"}]},
                {"matrix": {"thresholds": [0.3, 0.5]}},
                {"matrix": {"groups": ["more", "any"]}},
            ]
        ),
        st.sampled_from(["whole", "whole", "fresh", 3, 4, 5, 6]),
    ),
    min_size=2,
    max_size=4,
)


ONE_AFTER_THE_OTHER = [
    ("abc", [("p", "one"), ("q", "two")], 1, usual, "whole"),
    ("cab", [("p", "one"), ("q", "two")], 1, usual, "whole"),
    ("cab", [("q", "one"), ("p", "two")], 1, usual, "whole"),
    ("cadb", [("q", "one"), ("p", "three")], 2, usual, "whole"),
    ("cadb", [("q", "one"), ("p", "three")], 2, {"exclude": []}, "whole"),
    ("ce", [("q", "one"), ("p", "three")], 2, usual, 6),
    ("ca", [("q", "one"), ("p", "three")], 1, usual, "whole"),
    ("cab", [("q", "one"), ("p", "three")], 1, usual, "fresh"),
]
"""Moved, renamed, another text under the same name, a rule, an edit that is cut short, and everything again."""


@settings(max_examples=3, deadline=None)
@example(ONE_AFTER_THE_OTHER)
@given(edits)
def test_after_whatever_edits_a_store_holds_what_a_new_one_holds_of_the_last_sweep(
    script: Sequence[tuple[Any, Any, int, dict[str, Any], str | int]],
) -> None:
    answers: Counter[str] = Counter()

    def counted(job: Job) -> Answer:
        answers[job.key] += 1
        return good(job)

    service, of_new = ScriptedService(counted), ScriptedService(good)

    async def play(folder: Path) -> None:
        async with opened(folder / "store.db", service) as engine:
            for models, given_prompts, repeats, more, end in script:
                service.recording.started.clear()
                matrix = {
                    "prompts": [{"name": name, "text": text} for name, text in given_prompts],
                    **more.get("matrix", {}),
                }
                changes = {**more, "models": models, "repeats": repeats, "matrix": matrix}
                if "exclude" in more and len(models) > 1:
                    changes["exclude"] = [{"models": models[-1], "prompts": given_prompts[0][0]}]
                of = sweep(service, **changes)
                if end == "fresh":
                    answers.clear()
                run = await engine.submit(of, fresh=end == "fresh")
                if isinstance(end, int):
                    await cut_after(engine.store, run, commits=end)
                else:
                    status = await run.execute()
                    assert status.cells_done == status.cells
                    async with opened(Memory(), of_new) as new:
                        await finished(new, sweep(of_new, **changes))
                        assert await rows_of(engine) == await rows_of(new)
                asked = {job.key.hex(): job.labels for job in of.jobs()}
                for start in service.recording.started:
                    assert start.job.labels == asked[start.job.key]
                assert max(answers.values(), default=0) <= 1
                if end == "fresh":
                    assert answers.keys() == asked.keys()

    with TemporaryDirectory() as folder:
        anyio.run(play, Path(folder))


async def rows_of(engine: Engine) -> list[Row]:
    return await timeless_rows(await engine.run())


async def cut_after(store: Store, run: Run, *, commits: int) -> None:
    """Execute a run until so many transactions are committed, then end it at once."""
    left, loop = commits, asyncio.get_running_loop()
    database = sqlite_of(store)._writer

    def committed(_: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            loop.call_soon_threadsafe(scope.cancel)

    event.listen(database, "commit", committed)
    with anyio.CancelScope() as scope:
        await run.execute()
    event.remove(database, "commit", committed)
