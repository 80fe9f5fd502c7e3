"""The report on a run, read from its store."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import JudgedTest, Message, Run, Sweep, job, open_engine
from engine.core.estimates import Rate
from engine.core.listed_tests import ListedTest, Listing
from engine.core.reports import ReportData
from engine.kinds import Answer, Job, Permanent
from engine.results.ranking import AnswerRanking
from engine.store.queries import answers
from engine.testing import FakeClock, ScriptedKind, ScriptedService, scored
from tests.engine.scenes import NOW, finished, opened, sweep
from tests.statements import watched_statements

SCORES = {"good": 0.9, "bad": 0.2, "worse": 0.1}


class ListingKind(ScriptedKind):
    """Its answers are lists of (case, score), with a text for each failed one."""

    def tests(self, raw: bytes, labels: Mapping[str, Any]) -> Iterator[JudgedTest]:
        for case, score in json.loads(raw):
            said = Message(role="assistant", content=f"{labels['model']} on {case}")
            yield JudgedTest(
                case=case,
                layer=0,
                score=score,
                failed=score < labels["threshold"],
                messages=(said,),
            )


def answer(of: Job) -> Answer:
    """Ten cases, of which a model fails those below its share; the model `gone` has no answer."""
    if of.labels["model"] == "gone":
        raise Permanent("Unknown model", status=404)
    lowest = SCORES[of.labels["model"]]
    tests = [(f"case-{number}", lowest if number < 8 else 0.95) for number in range(10)]
    made = scored(*(score for _, score in tests), threshold=of.parameters["threshold"])
    listing = Listing.of([ListedTest(case, 0, score) for case, score in tests])
    return Answer(
        raw=json.dumps(tests).encode(), measurement=replace(made.measurement, listing=listing)
    )


async def data_of(run: Run) -> ReportData:
    return await run._gather_report()


async def test_a_report_has_the_rates_pairs_and_findings_of_its_run(tmp_path: Path) -> None:
    service = ScriptedService(answer, kind=ListingKind)
    wanted = sweep(
        service,
        models=["good", "bad", "worse", "gone"],
        repeats=2,
        matrix={"thresholds": [0.15, 0.5]},
    )

    async with opened(tmp_path / "store.db", service, FakeClock(NOW)) as engine:
        run, _ = await finished(engine, wanted)
        data = await data_of(run)

    heat = data.heat_map
    assert heat is not None
    rates = {
        (cell.row, cell.threshold): (cell.estimates[Rate.FIRST].rate, cell.cases)
        for cell in heat.cells
    }
    assert rates["bad", 0.5] == (0.8, 10)
    assert rates["bad", 0.15] == (0.0, 10)
    assert rates["gone", 0.5][0] is None
    [lacking] = [cell for cell in heat.cells if (cell.row, cell.threshold) == ("gone", 0.5)]
    assert (lacking.coverage.failed, lacking.coverage.cells) == (2, 2)
    curves = {one.row: one for one in data.score_curves}
    assert [(name, one.answers, one.cases) for name, one in curves.items()] == [
        (name, 20, 10) for name in ("good", "bad", "worse")
    ]
    assert [curves["worse"].rate(step) for step in (20, 21, 190, 191)] == [0, 0.8, 0.8, 1]
    [pairs] = data.pairs
    assert (pairs.axis, pairs.threshold, pairs.total) == ("model", 0.5, 3)
    assert {(one.a, one.b, str(one.verdict)) for one in pairs.shown if one.is_told_apart} == {
        ("good", "bad", "better"),
        ("good", "worse", "better"),
    }
    assert data.flakiness is not None
    assert (data.flakiness.always, data.flakiness.sometimes) == (16, 0)
    assert data.findings.total == 32
    assert [one.score for one in data.findings.kept] == [0.1] * 16 + [0.2] * 16
    assert data.findings.kept[0].messages[0].content == "worse on case-0"
    assert ("gone", 2, 2) in {(one.name, one.jobs, one.failed) for one in data.effort}
    assert data.spent.requests == 8


@pytest.mark.parametrize(("page_bytes", "reads"), [(1_000_000, [3]), (1, [1, 1, 1])])
async def test_of_many_answers_only_the_worst_are_read_and_the_others_counted(
    page_bytes: int, reads: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AnswerRanking.__init__, "__defaults__", (3,))
    monkeypatch.setattr(answers, "_PAGE_BYTES", page_bytes)
    service = ScriptedService(answer, kind=ListingKind)
    wanted = sweep(service, models=["bad", "good", "worse"], repeats=2)
    read: list[int] = []

    def keep(statement: str, values: Any) -> None:
        if "answer.raw" in statement and "length(" not in statement:
            read.append(len(values))

    async with opened(tmp_path / "store.db", service, FakeClock(NOW)) as engine:
        run, _ = await finished(engine, wanted)
        with watched_statements(keep):
            data = await data_of(run)

    assert read == reads
    assert data.findings.total == 32
    assert [one.score for one in data.findings.kept] == [0.1] * 16 + [0.2] * 8


async def test_a_mild_failure_beside_a_bad_one_is_left_out_if_answers_that_are_not_read_have_worse_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AnswerRanking.__init__, "__defaults__", (2,))
    scores = {"mixed": [0.1, 0.3, 0.45], "even": [0.2, 0.3], "good": [0.25]}

    def of_model(of: Job) -> Answer:
        found = scores[of.labels["model"]]
        made = scored(*found, threshold=of.parameters["threshold"])
        tests = [(f"case-{number}", score) for number, score in enumerate(found)]
        return replace(made, raw=json.dumps(tests).encode())

    service = ScriptedService(of_model, kind=ListingKind)
    async with opened(tmp_path / "store.db", service, FakeClock(NOW)) as engine:
        run, _ = await finished(engine, sweep(service, models=list(scores)))
        data = await data_of(run)

    assert [one.score for one in data.findings.kept] == [0.1, 0.2]
    assert data.findings.total == 6


async def test_a_report_of_functions_has_the_means_of_their_values(tmp_path: Path) -> None:
    @job(version="1")
    async def share(width: int, text: str) -> dict[str, float]:
        return {"share": len(text) / width}

    wanted = Sweep("shares", share, matrix={"width": [4, 8], "text": ["ab", "abcd"]})
    async with open_engine(tmp_path / "store.db") as engine:
        run = await engine.submit(wanted)
        await run.execute()
        data = await data_of(run)
        await run.to_report(tmp_path / "report.html")

    assert {row.name: row.means["share"].mean for row in data.means} == {"4": 0.75, "8": 0.375}
    text = (tmp_path / "report.html").read_text()
    assert 'id="means"' in text
    assert 'id="rates"' not in text


async def test_without_its_service_a_run_has_a_report_without_findings(tmp_path: Path) -> None:
    service = ScriptedService(answer, kind=ListingKind)
    async with opened(tmp_path / "store.db", service, FakeClock(NOW)) as engine:
        await finished(engine, sweep(service, models=["bad"]))

    async with open_engine(tmp_path / "store.db", read_only=True) as engine:
        data = await data_of(await engine.run("scripted"))

    assert data.findings.total == 0
    assert re.match("What failed cannot be read: .*scripted", data.findings.unavailable)
    assert data.heat_map is not None
    assert [cell.estimates[Rate.FIRST].failed for cell in data.heat_map.cells] == [8]
