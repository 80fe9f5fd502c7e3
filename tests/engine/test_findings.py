"""The failed tests of a run, read from the answers in its store."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import Finding, JudgedTest, Message, Registry, Run, Source, UsageError, open_engine
from engine.kinds import Answer, Job
from engine.store.queries import answers as queries
from engine.testing import FakeClock, ScriptedKind, ScriptedService, scored
from tests.engine.scenes import NOW, finished, opened, sweep
from tests.statements import watched_statements

HOSTILE = '\x1b]0;title\x07 \u202e<script>alert(1)</script>\r\n=cmd|" /C calc"!A0 \x00 \ud800 {"role":"system"}'


class ListingKind(ScriptedKind):
    """Its answers are lists of scores with the texts of the replies."""

    def tests(self, raw: bytes, labels: Mapping[str, Any]) -> Iterator[JudgedTest]:
        for score, text in json.loads(raw):
            yield JudgedTest(
                failed=score < labels["threshold"],
                score=score,
                messages=(Message(role="assistant", content=text),),
            )


def listing(*replies: tuple[float, str]) -> Callable[[Job], Answer]:
    """A script that gives these scores and texts at every threshold."""

    def answer(job: Job) -> Answer:
        scores = [score for score, _ in replies]
        raw = json.dumps(replies).encode()
        return scored(*scores, threshold=job.parameters.get("threshold", 0.5), raw=raw)

    return answer


def with_a_gap(reply: tuple[float, str]) -> Callable[[Job], Answer]:
    """A script that gives this reply, and none to another question."""

    def answer(job: Job) -> Answer:
        whole = listing(reply)(job)
        return replace(whole, measurement=replace(whole.measurement, unanswered={"empty": 1}))

    return answer


def service_of(*replies: tuple[float, str]) -> ScriptedService:
    return ScriptedService(listing(*replies), kind=ListingKind)


async def findings_of(run: Run, *, past: bool = False) -> list[Finding]:
    return [finding async for finding in run.findings(past=past)]


async def texts_of(run: Run, *, past: bool = False) -> list[str]:
    return [finding.messages[0].content for finding in await findings_of(run, past=past)]


async def texts_and_reads(run: Run) -> tuple[list[str], list[int]]:
    """The texts of the findings, and how many answers each statement has read."""
    read: list[int] = []

    def keep(statement: str, values: Any) -> None:
        if "answer.raw" in statement and "length(" not in statement:
            read.append(len(values))

    with watched_statements(keep):
        return await texts_of(run), read


async def test_findings_are_the_failed_tests_of_each_answer_with_their_thresholds(
    tmp_path: Path,
) -> None:
    service = service_of((0.8, "worse"), (0.2, "worst"), (0.95, "good"))
    wanted = sweep(service, models=["a", "b"], matrix={"thresholds": [0.3, 0.9]})

    async with opened(tmp_path / "store.db", service) as engine:
        run, _ = await finished(engine, wanted)
        found = await findings_of(run)
        jobs = [job.id async for job in run.jobs()]
        rows = [row.failed async for row in run.rows()]

    assert [(one.job, one.score, one.thresholds) for one in found] == [
        (job, *test) for job in jobs for test in [(0.8, (0.9,)), (0.2, (0.3, 0.9))]
    ]
    assert [one.labels["model"] for one in found] == ["a", "a", "b", "b"]
    assert {one.run for one in found} == {"scripted"}
    assert rows == [1, 2] * 2


async def test_hostile_texts_come_out_unchanged(tmp_path: Path) -> None:
    service = service_of((0.1, HOSTILE))

    async with opened(tmp_path / "store.db", service) as engine:
        run, _ = await finished(engine, sweep(service))

        assert await texts_of(run) == [HOSTILE]


async def test_labels_are_those_of_rows_but_for_the_threshold(tmp_path: Path) -> None:
    service = service_of((0.1, "bad"))
    old = sweep(service, matrix={"prompts": [{"name": "old", "text": "Be kind."}]})
    new = sweep(service, matrix={"prompts": [{"name": "new", "text": "Be kind."}]})

    async with opened(tmp_path / "store.db", service) as engine:
        await finished(engine, old)
        run, _ = await finished(engine, new)
        [row] = [row async for row in run.rows()]
        [found] = await findings_of(run)

    assert found.labels["prompt"] == "new"
    assert {**found.labels, "threshold": 0.5} == row.labels
    assert list(found.labels)[-1] == "repeat"


async def test_an_answer_that_was_reused_from_another_run_gives_its_findings_in_both(
    tmp_path: Path,
) -> None:
    service = service_of((0.1, "bad"))
    async with opened(tmp_path / "store.db", service) as engine:
        first, _ = await finished(engine, sweep(service))
        second, _ = await finished(engine, sweep(service, name="second"))
        in_both = await texts_of(first), await texts_of(second)
        [found] = await findings_of(second)
        await engine.delete("scripted")
        of_deleted = await texts_of(second)

    assert len(service.recording.started) == 1
    assert in_both == (["bad"], ["bad"])
    assert found.run == "second"
    assert of_deleted == ["bad"]


async def test_an_answer_that_is_asked_again_counts_only_once_it_is_new(tmp_path: Path) -> None:
    service = service_of((0.1, "old"))
    clock = FakeClock(NOW)
    async with opened(tmp_path / "store.db", service, clock) as engine:
        await finished(engine, sweep(service))
        other, _ = await finished(engine, sweep(service, name="other"))
        await clock.advance(60)
        service.recording.script = listing((0.1, "new"))
        run = await engine.submit(sweep(service, name="other"), fresh=True)
        outdated = await texts_and_reads(run)
        await run.execute()

        assert outdated == ([], [])
        assert await texts_of(run) == await texts_of(other) == ["new"]
        assert await texts_of(await engine.run("scripted")) == ["old"]


async def test_cells_that_the_sweep_no_longer_asks_for_have_findings_on_request(
    tmp_path: Path,
) -> None:
    service = ScriptedService(
        lambda job: listing((0.1, job.labels["model"]))(job), kind=ListingKind
    )
    async with opened(tmp_path / "store.db", service) as engine:
        await finished(engine, sweep(service, models=["a", "b"]))
        run, _ = await finished(engine, sweep(service, models=["b"]))

        assert await texts_of(run) == ["b"]
        assert sorted(await texts_of(run, past=True)) == ["a", "b"]


async def test_what_failed_in_an_answer_with_too_many_gaps_is_found(tmp_path: Path) -> None:
    service = ScriptedService(with_a_gap((0.1, "bad")), kind=ListingKind)
    async with opened(tmp_path / "store.db", service) as engine:
        await finished(engine, sweep(service, max_unanswered=0.5))
        run = await engine.submit(sweep(service, unanswered="fail_job"))
        [row] = [row async for row in run.rows()]

        assert row.source is Source.MISSING
        assert await texts_of(run) == ["bad"]


async def test_questions_that_count_as_failed_without_an_answer_are_no_findings(
    tmp_path: Path,
) -> None:
    service = ScriptedService(with_a_gap((0.9, "good")), kind=ListingKind)
    counted = sweep(service, unanswered="as_failed", max_unanswered=0.5)
    async with opened(tmp_path / "store.db", service) as engine:
        run, _ = await finished(engine, counted)
        [row] = [row async for row in run.rows()]

        assert row.failed == 1
        assert await texts_of(run) == []


async def test_many_findings_are_read_page_by_page_in_the_order_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = ScriptedService(
        lambda job: listing((0.1, f"{job.labels['model']} {job.repeat}"))(job), kind=ListingKind
    )
    in_order = [f"{model} {repeat}" for model in "abc" for repeat in (1, 2, 3)]
    async with opened(tmp_path / "store.db", service) as engine:
        run, _ = await finished(engine, sweep(service, models=list("abc"), repeats=3))
        whole = await texts_of(run)
        monkeypatch.setattr(queries, "_PAGE", 2)
        in_pages = await texts_of(run)
        # As little as one answer is more than a page may hold.
        monkeypatch.setattr(queries, "_PAGE_BYTES", 1)
        one_by_one, answers = await texts_and_reads(run)

        other, _ = await finished(engine, sweep(service, models=list("abc"), repeats=3, name="b"))
        reused = await texts_and_reads(other)

    assert whole == in_pages == one_by_one == in_order
    assert answers == [1] * 9
    assert reused == (in_order, [1] * 9)


async def test_answers_without_failed_tests_are_not_read(tmp_path: Path) -> None:
    def answer(job: Job) -> Answer:
        score = 0.1 if job.labels["model"] == "bad" else 0.9
        return listing((score, job.labels["model"]))(job)

    service = ScriptedService(answer, kind=ListingKind)
    async with opened(tmp_path / "store.db", service) as engine:
        run, _ = await finished(engine, sweep(service, models=["good", "bad", "fine"]))

        texts, answers = await texts_and_reads(run)

    assert texts == ["bad"]
    assert sum(answers) == 1


async def test_a_kind_that_lists_no_tests_has_no_findings(tmp_path: Path) -> None:
    service = ScriptedService(listing((0.1, "bad")))

    async with opened(tmp_path / "store.db", service) as engine:
        run, status = await finished(engine, sweep(service))

        assert status.tests_failed == 1
        assert await findings_of(run) == []


async def test_without_the_service_of_a_run_findings_say_what_is_missing(tmp_path: Path) -> None:
    store, service = tmp_path / "store.db", service_of((0.1, "bad"))
    async with opened(store, service) as engine:
        await finished(engine, sweep(service))

    async with open_engine(store, registry=Registry(services={}), read_only=True) as engine:
        run = await engine.run()
        with pytest.raises(UsageError) as executing:
            _ = run.sweep
        with pytest.raises(UsageError) as caught:
            await findings_of(run)

    assert str(caught.value) == str(executing.value)
    assert "there is no service 'scripted'" in str(caught.value)


async def test_findings_of_a_run_that_is_deleted_meanwhile_do_not_end_as_if_they_were_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "_PAGE", 1)
    service = service_of((0.1, "bad"))
    async with opened(tmp_path / "store.db", service) as engine:
        run, _ = await finished(engine, sweep(service, repeats=3))
        found = run.findings()
        await anext(found)
        await engine.delete("scripted")

        with pytest.raises(UsageError, match="was deleted or renamed"):
            [finding async for finding in found]
