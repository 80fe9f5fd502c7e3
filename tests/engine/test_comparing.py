"""Comparing runs in real stores, with what models said in the cases that flipped."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine import Change, FlippedCase, JudgedTest, Message, Sweep, UsageError
from engine.core.listed_tests import ListedTest, Listing
from engine.kinds import Answer, Fact, Job, Measurement
from engine.testing import FakeClock, ScriptedKind, ScriptedService, scored
from tests.engine.scenes import NOW, finished, opened, sweep

NAMES = ("first", "second", "third")


class NamingKind(ScriptedKind):
    """Its answers are lists of case, score and reply."""

    def tests(self, raw: bytes, labels: Mapping[str, Any]) -> Iterator[JudgedTest]:
        for case, score, text in json.loads(raw):
            yield JudgedTest(
                failed=score < labels.get("threshold", 0.5),
                case=case,
                layer=0,
                score=score,
                messages=(Message(role="assistant", content=text),),
            )


class StrictKind(NamingKind):
    def provenance(self, labels: Any) -> tuple[Fact, ...]:
        return (Fact(name="judge", value=JUDGE[0], judging=True),)


JUDGE = ["mild"]


def kind_prompts_pass(job: Job) -> Answer:
    """Under a kind prompt all cases pass, under a quick one all but the first fail."""
    text = job.parameters.get("prompt") or ""
    scores = [0.9, 0.9, 0.9] if "kind" in text else [0.9, 0.2, 0.1]
    failed = sum(score < 0.5 for score in scores)
    replies = [(name, score, f"{text} {name}") for name, score in zip(NAMES, scores, strict=True)]
    return Answer(
        raw=json.dumps(replies).encode(),
        measurement=Measurement(
            passed=3 - failed,
            failed=failed,
            tests=3,
            scores=tuple(sorted(scores)),
            listing=Listing.of(ListedTest(name, 0, score) for name, score, _ in replies),
        ),
    )


def over(service: ScriptedService, text: str, name: str = "production", **more: Any) -> Sweep:
    return sweep(
        service, matrix={"prompts": [{"name": "listener", "text": text}]}, name=name, **more
    )


def said(flipped: list[FlippedCase]) -> list[tuple[str, str | None, str | None]]:
    """The case, and what was said before and after."""
    return [
        (
            one.change.case,
            None if one.before is None else one.before.messages[0].content,
            None if one.after is None else one.after.messages[0].content,
        )
        for one in flipped
    ]


async def test_an_edited_prompt_in_another_run_is_compared_with_both_conversations(
    tmp_path: Path,
) -> None:
    service = ScriptedService(kind_prompts_pass, kind=NamingKind)
    async with opened(tmp_path / "store.db", service) as engine:
        before, _ = await finished(engine, over(service, "Be kind.", "main"))
        after, _ = await finished(engine, over(service, "Be quick.", "change"))

        found = await after.compare(before)
        flipped = await after.flipped_cases(found, before)

    [rate] = found.overall
    assert rate.rate_before == 0.0
    assert rate.rate_after == pytest.approx(2 / 3)
    assert [(one.axis, one.before, one.after) for one in found.changed] == [
        ("prompt", "listener", "listener")
    ]
    assert said(flipped) == [
        ("second", "Be kind. second", "Be quick. second"),
        ("third", "Be kind. third", "Be quick. third"),
    ]
    assert [one.change.change for one in flipped] == [Change.WORSE, Change.WORSE]


async def test_a_run_is_compared_with_its_answers_before_its_sweep_was_edited(
    tmp_path: Path,
) -> None:
    service = ScriptedService(kind_prompts_pass, kind=NamingKind)
    clock = FakeClock(NOW)
    async with opened(tmp_path / "store.db", service, clock) as engine, clock.jumping():
        for text in ("Be kind, at first.", "Be kind, then.", "Be kind."):
            await finished(engine, over(service, text))
            await clock.sleep(60)
        run, _ = await finished(engine, over(service, "Be quick."))

        found = await run.compare()
        flipped = await run.flipped_cases(found)

    assert (found.is_edit, found.cells_compared) == (True, 1)
    assert found.coverage_before.cells == 1
    assert said(flipped) == [
        ("second", "Be kind. second", "Be quick. second"),
        ("third", "Be kind. third", "Be quick. third"),
    ]


async def test_the_answer_that_is_shown_is_one_that_flipped(tmp_path: Path) -> None:
    def fails_later(job: Job) -> Answer:
        # In the later run only the first of three answers passes.
        is_good = job.repeat == 1 or "kind" in job.parameters["prompt"]
        score = 0.9 if is_good else 0.1
        return Answer(
            raw=json.dumps([("first", score, f"answer {job.repeat}")]).encode(),
            measurement=Measurement(
                passed=int(is_good),
                failed=int(not is_good),
                tests=1,
                scores=(score,),
                listing=Listing.of([ListedTest("first", 0, score)]),
            ),
        )

    service = ScriptedService(fails_later, kind=NamingKind)
    async with opened(tmp_path / "store.db", service) as engine:
        before, _ = await finished(engine, over(service, "Be kind.", "main", repeats=3))
        after, _ = await finished(engine, over(service, "Be quick.", "change", repeats=3))

        flipped = await after.flipped_cases(await after.compare(before), before)

    assert said(flipped) == [("first", "answer 1", "answer 2")]


async def test_a_run_whose_sweep_was_never_edited_has_nothing_earlier(tmp_path: Path) -> None:
    service = ScriptedService(kind_prompts_pass, kind=NamingKind)
    async with opened(tmp_path / "store.db", service) as engine:
        run, _ = await finished(engine, over(service, "Be kind."))

        found = await run.compare()

    assert (found.cells_compared, found.coverage_before.cells, found.overall) == (0, 0, ())


async def test_runs_of_different_judges_are_compared_only_if_that_is_asked_for(
    tmp_path: Path,
) -> None:
    service = ScriptedService(kind_prompts_pass, kind=StrictKind)
    async with opened(tmp_path / "store.db", service) as engine:
        before, _ = await finished(engine, over(service, "Be kind.", "main"))
        JUDGE[0] = "strict"
        try:
            after, _ = await finished(engine, over(service, "Be kind.", "change"))
            with pytest.raises(UsageError, match="judge changed from mild to strict"):
                await after.compare(before)
            found = await after.compare(before, across_judges=True)
        finally:
            JUDGE[0] = "mild"

    assert found.cells_compared == 1


async def test_a_threshold_that_the_run_does_not_have_is_refused(tmp_path: Path) -> None:
    service = ScriptedService(kind_prompts_pass, kind=NamingKind)
    async with opened(tmp_path / "store.db", service) as engine:
        run, _ = await finished(engine, over(service, "Be kind."))

        with pytest.raises(UsageError, match=r"no threshold 0\.7"):
            await run.compare(run, thresholds=[0.7])


async def test_an_answer_that_counts_at_several_thresholds_has_its_values_once(
    tmp_path: Path,
) -> None:
    both = {"thresholds": [0.3, 0.5]}
    service = ScriptedService(lambda job: scored(0.4, values={"length": 10 * job.repeat}))
    async with opened(tmp_path / "store.db", service) as engine:
        before, _ = await finished(engine, sweep(service, name="main", matrix=both))
        after, _ = await finished(
            engine, sweep(service, name="change", models=["b"], matrix=both, repeats=2)
        )

        found = await after.compare(before)

    [length] = found.values
    assert [one.threshold for one in found.overall] == [0.3, 0.5]
    assert (length.cells, length.cases) == (2, 1)
    assert (length.mean_before, length.mean_after) == (10.0, 15.0)
