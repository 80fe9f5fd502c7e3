"""What rows and counts say after the sweep of a run has been edited."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engine import Row, Run, RunState, Status
from engine.core.policy import UnansweredRule
from engine.kinds import Answer, Job, Measurement, Permanent
from engine.testing import ScriptedService, scored
from tests.engine.scenes import finished, opened, sweep

SCORES = (0.2, 0.4, 0.6, 0.9)


def at_its_threshold(job: Job) -> Answer:
    return scored(*SCORES, threshold=job.parameters["threshold"])


async def edited(
    path: Path, service: ScriptedService, *versions: Mapping[str, Any]
) -> tuple[list[Row], list[Row], Status]:
    """Rows, rows with what is past, and the status after each version of a sweep has been run in turn."""
    *earlier, last = versions
    async with opened(path, service) as engine:
        for version in earlier:
            await finished(engine, sweep(service, **version))
        run, status = await finished(engine, sweep(service, **last))
        return *await both(run), status


async def both(run: Run) -> tuple[list[Row], list[Row]]:
    return [row async for row in run.rows()], [row async for row in run.rows(past=True)]


def cells(rows: list[Row]) -> list[tuple[Any, ...]]:
    return [
        (row.labels["model"], row.labels["threshold"], row.labels["repeat"], row.asked)
        for row in rows
    ]


FIRST: dict[str, Any] = {
    "models": ["a", "b"],
    "matrix": {"thresholds": [0.3, 0.5, 0.7]},
    "repeats": 2,
}


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"models": ["a"]}, [("a", at, n) for n in (1, 2) for at in (0.3, 0.5, 0.7)]),
        ({"repeats": 1}, [(m, at, 1) for m in ("a", "b") for at in (0.3, 0.5, 0.7)]),
        (
            {"matrix": {"thresholds": [0.5]}},
            [(m, 0.5, n) for m in ("a", "b") for n in (1, 2)],
        ),
        (
            {"exclude": [{"models": ["b"], "thresholds": [0.3, 0.7]}]},
            [
                *(("a", at, n) for n in (1, 2) for at in (0.3, 0.5, 0.7)),
                *(("b", 0.5, n) for n in (1, 2)),
            ],
        ),
    ],
    ids=[
        "a model is removed",
        "repeats are lowered",
        "thresholds are removed",
        "cells are excluded",
    ],
)
async def test_rows_are_what_the_sweep_asks_now_and_the_rest_can_be_had(
    tmp_path: Path, change: dict[str, Any], kept: list[tuple[Any, ...]]
) -> None:
    service = ScriptedService(at_its_threshold)

    rows, past, status = await edited(tmp_path / "store.db", service, FIRST, {**FIRST, **change})

    assert sorted(cells(rows)) == sorted((*cell, True) for cell in kept)
    assert len(past) == 12
    assert sorted(cells([row for row in past if row.asked])) == sorted(cells(rows))
    assert {row.asked for row in past} == {True, False}
    assert all(row.total == 4 for row in past)
    assert (status.cells, status.cells_done) == (len(kept), len(kept))
    assert status.cells_past == 12 - len(kept)
    assert len(service.recording.started) == 4


async def test_a_sweep_that_is_edited_back_and_forth_asks_for_what_it_did_at_first(
    tmp_path: Path,
) -> None:
    service = ScriptedService(at_its_threshold)
    between = {"models": ["b"], "matrix": {"thresholds": [0.5, 0.9]}, "repeats": 1}

    rows, past, status = await edited(tmp_path / "store.db", service, FIRST, between, FIRST)

    assert len(rows) == status.cells == status.cells_done == 12
    assert {row.asked for row in rows} == {True}
    assert cells([row for row in past if not row.asked]) == [("b", 0.9, 1, False)]
    # Both repeats of both models at 0.7, and one of them at 0.9.
    assert len(service.recording.started) == 5


async def test_a_removed_cell_that_has_failed_is_put_back_by_no_retry(tmp_path: Path) -> None:
    def answered(job: Job) -> Answer | Exception:
        is_good = job.labels["model"] == "a"
        return at_its_threshold(job) if is_good else Permanent("HTTP 404", status=404)

    service = ScriptedService(answered)

    async with opened(tmp_path / "store.db", service) as engine:
        await finished(engine, sweep(service, models=["a", "b"]))
        run, status = await finished(engine, sweep(service, models=["a"]))
        rows, past = await both(run)
        put_back = await run.retry(cancelled=True, failed=True, unanswered=True)

    assert [(row.labels["model"], row.state) for row in rows] == [("a", "succeeded")]
    assert [(row.labels["model"], row.state, row.asked, row.error) for row in past] == [
        ("a", "succeeded", True, None),
        ("b", "failed", False, "HTTP 404"),
    ]
    assert (status.state, status.cells, put_back) == (RunState.FINISHED, 1, 0)
    assert status.cells_past == 1


def named(**texts: str | None) -> dict[str, Any]:
    return {"matrix": {"prompts": [{"name": name, "text": text} for name, text in texts.items()]}}


async def test_a_prompt_that_is_renamed_is_renamed_in_the_rows_and_not_asked_again(
    tmp_path: Path,
) -> None:
    def by_prompt(job: Job) -> Answer:
        return scored(0.2 if job.parameters["prompt"] == "Be kind." else 0.9)

    service = ScriptedService(by_prompt)
    first = named(one="Be kind.", two="Be brief.")
    swapped = named(two="Be kind.", one="Be brief.")
    # Answered by the job of a higher threshold, which is not its own.
    lower = {"matrix": {**named(kind="Be kind.")["matrix"], "thresholds": [0.3]}}

    before, _, _ = await edited(tmp_path / "store.db", service, first)
    after, _, _ = await edited(tmp_path / "store.db", service, swapped)
    last, past, _ = await edited(tmp_path / "store.db", service, lower)

    reported = [
        {row.labels["prompt"]: (row.failed, row.digests["prompt"]) for row in rows}
        for rows in (before, after)
    ]
    assert reported[0]["one"] == reported[1]["two"]
    assert reported[0]["two"] == reported[1]["one"]
    assert {failed for failed, _ in reported[0].values()} == {0, 1}
    assert [(row.labels["prompt"], row.labels["threshold"]) for row in last] == [("kind", 0.3)]
    assert {row.labels["prompt"] for row in past} == {"kind", "one"}
    assert len(service.recording.started) == 2


async def test_two_texts_of_one_name_are_distinguished_by_their_digests(tmp_path: Path) -> None:
    service = ScriptedService(at_its_threshold)

    rows, past, _ = await edited(
        tmp_path / "store.db", service, named(bare="Be kind."), named(bare="Be brief.")
    )

    [now] = rows
    [gone] = [row for row in past if not row.asked]
    assert now.labels == gone.labels
    assert len(str(now.digests["prompt"])) == len(str(gone.digests["prompt"])) == 12
    assert now.digests["prompt"] != gone.digests["prompt"]


def with_gaps(job: Job) -> Answer:
    answer = at_its_threshold(job)
    if job.labels["model"] == "whole":
        return answer
    lacking = {"moderated": 1 if job.labels["model"] == "one gap" else 3}
    measured = answer.measurement
    return Answer(
        raw=answer.raw,
        measurement=Measurement(
            passed=measured.passed,
            failed=measured.failed,
            tests=measured.tests,
            scores=measured.scores if job.labels["model"] != "no scores" else None,
            unanswered={} if job.labels["model"] == "no scores" else lacking,
        ),
    )


@pytest.mark.parametrize("rule", UnansweredRule)
@pytest.mark.parametrize("thresholds", [[0.3, 0.5, 0.7], [0.3, 0.5], [0.3]])
async def test_a_status_counts_each_test_once_as_the_rows_of_its_threshold_say(
    tmp_path: Path, rule: UnansweredRule, thresholds: list[float]
) -> None:
    service = ScriptedService(with_gaps)
    models = ["whole", "one gap", "three gaps", "no scores"]
    first = {"models": models, "matrix": {"thresholds": [0.3, 0.5, 0.7]}}
    counting = {"unanswered": str(rule), "max_unanswered": 0.3}

    rows, _, status = await edited(
        tmp_path / "store.db",
        service,
        first,
        {**first, "matrix": {"thresholds": thresholds}, **counting},
    )

    at = [row for row in rows if row.labels["threshold"] == max(thresholds)]
    assert status.threshold == max(thresholds)
    assert status.tests_passed == sum(row.passed or 0 for row in at)
    assert status.tests_failed == sum(row.failed or 0 for row in at) > 0
    assert dict(status.tests_unanswered) == {"moderated": sum(row.unanswered or 0 for row in at)}
    assert status.cells_done == sum(row.total is not None for row in rows)
    assert status.cells_failed == sum(row.state == "failed" for row in rows)
    assert status.cells == len(rows)
