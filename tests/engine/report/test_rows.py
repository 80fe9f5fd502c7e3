"""From jobs to cells."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from engine.core.states import State
from engine.core.status import Row, Source
from engine.report.rows import rows
from engine.store import JobRow


def job(**changes: Any) -> JobRow:
    values: dict[str, Any] = {
        "id": 1,
        "labels": {"model": "a", "threshold": 0.5, "repeat": 1},
        "state": State.SUCCEEDED,
        "threshold": 0.5,
        "cells": (0.3, 0.5),
        "error": None,
        "passed": 7,
        "failed": 3,
        "scores": (0.1, 0.2, 0.4, 0.6),
        "note": None,
        "reused": False,
        **changes,
    }
    return JobRow(**values)


async def rows_of(*jobs: JobRow, folded_field: str | None = "threshold") -> list[Row]:
    async def stored() -> AsyncIterator[JobRow]:
        for one in jobs:
            yield one

    return [row async for row in rows(stored(), folded_field)]


async def test_a_job_gives_a_row_for_each_threshold_that_it_answers() -> None:
    low, high = await rows_of(job())

    assert low.labels == {"model": "a", "threshold": 0.3, "repeat": 1}
    assert (low.source, low.passed, low.failed, low.total) == (Source.DERIVED, 8, 2, 10)
    assert (high.source, high.passed, high.failed, high.total) == (Source.MEASURED, 7, 3, 10)


async def test_a_score_at_the_threshold_has_passed() -> None:
    low, _ = await rows_of(job(scores=(0.1, 0.3, 0.4), passed=7, failed=3))

    assert low.failed == 1


async def test_labels_keep_the_order_of_the_axes() -> None:
    low, _ = await rows_of(job())

    assert list(low.labels) == ["model", "threshold", "repeat"]


async def test_rates_and_intervals_are_those_of_the_counts() -> None:
    _, row = await rows_of(job(passed=90, failed=10, scores=None, cells=(0.5, 0.5)))

    assert row.failure_rate == pytest.approx(0.1)
    # Known values of the Wilson interval for 10 of 100.
    assert row.ci_low == pytest.approx(0.0552, abs=5e-5)
    assert row.ci_high == pytest.approx(0.1744, abs=5e-5)


@pytest.mark.parametrize("state", [one for one in State if one is not State.SUCCEEDED])
async def test_what_is_not_answered_is_missing_and_its_numbers_are_unknown(state: State) -> None:
    [row, _] = await rows_of(job(state=state, passed=None, failed=None, error="HTTP 404"))

    assert row == Row(
        labels={"model": "a", "threshold": 0.3, "repeat": 1},
        state=state,
        source=Source.MISSING,
        error="HTTP 404",
    )


async def test_an_answer_without_scores_is_never_read_at_another_threshold() -> None:
    low, high = await rows_of(job(scores=None))

    assert (low.source, low.failed, low.failure_rate) == (Source.MISSING, None, None)
    assert low.error == "the answer lists no scores to read at another threshold"
    assert (high.source, high.failed) == (Source.MEASURED, 3)


async def test_an_answer_from_another_run_is_said_to_be_reused() -> None:
    assert {row.source for row in await rows_of(job(reused=True))} == {Source.REUSED}


async def test_an_answer_that_measured_nothing_has_no_rate() -> None:
    [row] = await rows_of(job(passed=0, failed=0, scores=(), cells=(0.5,)))

    assert (row.total, row.failure_rate, row.ci_low, row.ci_high) == (0, None, None, None)


async def test_a_note_on_an_answer_is_passed_on() -> None:
    [row] = await rows_of(job(cells=(0.5,), note="2 cases were not answered"))

    assert (row.source, row.error) == (Source.MEASURED, "2 cases were not answered")


async def test_an_evaluation_without_thresholds_gives_a_row_for_each_job() -> None:
    labels = {"model": "a", "repeat": 1}
    [row] = await rows_of(job(labels=labels, threshold=None, cells=()), folded_field=None)

    assert (row.labels, row.source, row.failed) == (labels, Source.MEASURED, 3)
