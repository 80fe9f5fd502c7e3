"""`where`: rows, findings and cases of the cells that patterns select."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from engine import JobFilter, JudgedTest, Run, UsageError
from engine.kinds import Answer, Job
from engine.testing import ScriptedKind, ScriptedService, scored
from tests.engine.scenes import finished, opened, sweep
from tests.statements import watched_statements

MATRIX = {
    "prompts": [{"name": "bare", "text": "Be kind."}, {"name": "Größe_1", "text": "Be tall."}],
    "thresholds": [0.3, 0.9],
}


class ListingKind(ScriptedKind):
    """Its answers list the scores of two cases."""

    def tests(self, raw: bytes, labels: Mapping[str, Any]) -> Iterator[JudgedTest]:
        for case, score in json.loads(raw).items():
            yield JudgedTest(case=case, score=score, failed=score < labels["threshold"])


def answer(job: Job) -> Answer:
    scores = {"one": 0.1, "two": 0.5}
    return scored(
        *scores.values(),
        threshold=job.parameters["threshold"],
        cases=list(scores),
        raw=json.dumps(scores).encode(),
    )


@asynccontextmanager
async def answered(store: Path, matrix: Mapping[str, Any] = MATRIX) -> AsyncIterator[Run]:
    service = ScriptedService(answer, kind=ListingKind)
    async with opened(store, service) as engine:
        models = ["openai/gpt", "qwen/qwen3", "qwen/[mini]"]
        run, _ = await finished(engine, sweep(service, models=models, matrix=matrix, repeats=2))
        yield run


async def cells_of(run: Run, **where: str | float) -> set[tuple[Any, ...]]:
    """Model, prompt, threshold and repeat of the cells that are selected."""
    return {
        tuple(row.labels[name] for name in ("model", "prompt", "threshold", "repeat"))
        async for row in run.rows(where=where)
    }


async def test_patterns_select_rows_by_the_field_of_an_axis_or_its_plural(tmp_path: Path) -> None:
    async with answered(tmp_path / "store.db") as run:
        everything = await cells_of(run)

        for name in ("model", "models"):
            found = await cells_of(run, **{name: "QWEN/*"})
            assert found == {cell for cell in everything if cell[0].startswith("qwen/")}
        assert await cells_of(run, model="qwen/[mini]", prompt="größe_?", threshold=0.30) == {
            cell for cell in everything if cell[:3] == ("qwen/[mini]", "Größe_1", 0.3)
        }
        assert {cell[3] for cell in await cells_of(run, repeat="2")} == {2}
        assert await cells_of(run, thresholds=0.4) == set()
        assert len(everything) == 3 * 2 * 2 * 2


async def test_a_renamed_prompt_is_selected_by_its_present_name(tmp_path: Path) -> None:
    service = ScriptedService(answer, kind=ListingKind)
    async with opened(tmp_path / "store.db", service) as engine:
        old, new = ({"prompts": [{"name": n, "text": "Be kind."}]} for n in ("old", "new"))
        await finished(engine, sweep(service, matrix=old))
        run, _ = await finished(engine, sweep(service, matrix=new))

        assert len([row async for row in run.rows(where={"prompt": "n*"})]) == 1
        assert [row async for row in run.rows(where={"prompt": "old"})] == []


async def test_findings_are_selected_by_a_threshold_at_which_they_fail_and_by_case(
    tmp_path: Path,
) -> None:
    async with answered(tmp_path / "store.db") as run:

        async def found(**where: str | float) -> set[tuple[Any, ...]]:
            return {
                (one.labels["model"], one.case, one.thresholds)
                async for one in run.findings(where={"models": "open*", **where})
            }

        one, two = ("openai/gpt", "one", (0.3, 0.9)), ("openai/gpt", "two", (0.9,))
        assert await found() == await found(threshold=0.9) == {one, two}
        assert await found(threshold=0.3) == {one}
        assert await found(case="T?o") == {two}


async def test_cases_are_selected_by_their_cells_and_names(tmp_path: Path) -> None:
    async with answered(tmp_path / "store.db") as run:
        found = [
            (case.labels["threshold"], case.case, case.failed)
            async for case in run.cases(
                where={"model": "openai/*", "prompt": "bare", "repeat": 1, "case": "two"}
            )
        ]

    assert found == [(0.3, "two", 0), (0.9, "two", 1)]


async def test_answers_of_other_cells_are_not_read(tmp_path: Path) -> None:
    read: list[int] = []

    def keep(statement: str, values: Any) -> None:
        if "answer.raw" in statement and "length(" not in statement:
            read.append(len(values))

    async with answered(tmp_path / "store.db", {"variations": [1, 2]}) as run:
        with watched_statements(keep):
            found = [one async for one in run.findings(where={"model": "openai/*", "repeat": 2})]

    assert len(found) == 2
    assert read == [2]


@pytest.mark.parametrize("of", ["rows", "findings", "cases"])
async def test_an_unknown_axis_is_an_error_that_lists_the_axes(tmp_path: Path, of: Any) -> None:
    async with answered(tmp_path / "store.db") as run:
        with pytest.raises(UsageError) as caught:
            await run.to_arrow(of=of, where={"modle": "a"})
        with pytest.raises(UsageError, match="'models' names the axis 'model' a second time"):
            await run.to_arrow(of=of, where={"model": "a", "models": "b"})

    assert str(caught.value) == (
        "scripted has no axis 'modle'; did you mean \"model\"?; it has: model, prompt, group,"
        " threshold, variations, repeat" + ("" if of == "rows" else ", case")
    )


async def test_rows_have_no_case_to_be_selected_by(tmp_path: Path) -> None:
    async with answered(tmp_path / "store.db") as run:
        with pytest.raises(UsageError, match="has no axis 'case'"):
            [row async for row in run.rows(where={"case": "one"})]


async def test_jobs_are_selected_by_plurals_too(tmp_path: Path) -> None:
    async with answered(tmp_path / "store.db") as run:
        wanted = JobFilter(where={"models": "openai/*", "repeat": "1", "lane": "*"})

        assert {job.labels["model"] async for job in run.jobs(wanted)} == {"openai/gpt"}
