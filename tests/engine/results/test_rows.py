"""From jobs to cells."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from engine.core.axes import Scalar
from engine.core.canonical import digest
from engine.core.policy import UnansweredPolicy, UnansweredRule
from engine.core.rows import Row, Source
from engine.core.states import State
from engine.results.cells import RowRules
from engine.results.rows import rows
from engine.store import JobRow

APART = UnansweredPolicy()


def job(**changes: Any) -> JobRow:
    values: dict[str, Any] = {
        "id": 1,
        "labels": {"model": "a", "threshold": 0.5, "repeat": 1},
        "documents": {},
        "state": State.SUCCEEDED,
        "threshold": 0.5,
        "cells": (0.3, 0.5),
        "past_cells": (),
        "is_asked": True,
        "error": None,
        "passed": 7,
        "failed": 3,
        "scores": (0.1, 0.2, 0.4, 0.6),
        "note": None,
        "unanswered": {},
        "values": {},
        "reused": False,
        **changes,
    }
    return JobRow(**values)


async def rows_of(
    *jobs: JobRow,
    folded_field: str | None = "threshold",
    policy: UnansweredPolicy = APART,
    names: Mapping[str, Mapping[str, Scalar]] | None = None,
    past: bool = False,
) -> list[Row]:
    async def stored() -> AsyncIterator[JobRow]:
        for one in jobs:
            yield one

    rules = RowRules(folded_field=folded_field, unanswered=policy, names=names or {})
    return [row async for row in rows(stored(), rules, past=past)]


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
    [row] = await rows_of(job(passed=90, failed=10, scores=None, cells=(0.5,)))

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

    assert (low.state, low.source, low.failed) == (State.FAILED, Source.MISSING, None)
    assert low.error == "the answer lists no scores to read at another threshold"
    assert (high.source, high.failed) == (Source.MEASURED, 3)


async def test_an_answer_from_another_run_is_marked_as_reused() -> None:
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


GAPS: dict[str, Any] = {"passed": 12, "failed": 3, "unanswered": {"moderated": 1}, "cells": (0.5,)}


async def test_unanswered_questions_are_counted_apart_with_the_bounds_of_the_rate() -> None:
    [row] = await rows_of(job(**GAPS))

    assert (row.passed, row.failed, row.total, row.failure_rate) == (12, 3, 15, 0.2)
    assert (row.unanswered, row.unanswered_reasons) == (1, {"moderated": 1})
    assert (row.lowest_rate, row.highest_rate) == (3 / 16, 4 / 16)


async def test_the_bounds_are_those_of_the_cell_s_own_threshold() -> None:
    gaps = {**GAPS, "cells": (0.3, 0.5), "scores": (0.1, 0.4, 0.45)}

    low, high = await rows_of(job(**gaps))

    assert (low.source, low.failed, low.unanswered) == (Source.DERIVED, 1, 1)
    assert (low.lowest_rate, low.highest_rate) == (1 / 16, 2 / 16)
    assert (high.lowest_rate, high.highest_rate) == (3 / 16, 4 / 16)


async def test_unanswered_questions_count_as_failed_where_the_sweep_says_so() -> None:
    as_failed = UnansweredPolicy(rule=UnansweredRule.AS_FAILED)

    [row] = await rows_of(job(**GAPS), policy=as_failed)

    assert (row.passed, row.failed, row.total, row.failure_rate) == (12, 4, 16, 0.25)
    assert (row.lowest_rate, row.highest_rate, row.unanswered) == (3 / 16, 4 / 16, 1)


@pytest.mark.parametrize(
    "policy",
    [UnansweredPolicy(rule=UnansweredRule.FAIL_JOB), UnansweredPolicy(max_share=0.05)],
)
async def test_an_answer_with_more_gaps_than_the_sweep_allows_gives_no_numbers(
    policy: UnansweredPolicy,
) -> None:
    [row] = await rows_of(job(**GAPS), policy=policy)

    assert (row.state, row.source) == (State.FAILED, Source.MISSING)
    assert (row.total, row.failure_rate, row.unanswered) == (None, None, 1)
    assert row.error is not None
    assert row.error.startswith("1 of 16 questions unanswered (moderated 1), more than")


async def test_an_answer_without_gaps_has_one_rate() -> None:
    [row] = await rows_of(job(cells=(0.5,)))

    assert (row.unanswered, row.unanswered_reasons) == (0, {})
    assert row.lowest_rate == row.highest_rate == row.failure_rate


@pytest.mark.parametrize("state", [State.PENDING, State.RUNNING, State.WAITING])
async def test_an_answer_that_is_asked_for_again_keeps_its_numbers_meanwhile(state: State) -> None:
    [row] = await rows_of(job(**GAPS, state=state))

    assert (row.state, row.source, row.total) == (state, Source.MEASURED, 15)


async def test_a_failed_attempt_to_ask_again_is_shown_with_the_old_numbers() -> None:
    [row] = await rows_of(job(**GAPS, note="1 missing", error="HTTP 500"))

    assert (row.total, row.error) == (15, "1 missing; asking again failed: HTTP 500")


async def test_cells_of_an_earlier_sweep_are_returned_on_request_and_marked() -> None:
    one = job(cells=(0.5,), past_cells=(0.3,))
    gone = job(threshold=0.5, cells=(), past_cells=(0.5,), is_asked=False)

    now = await rows_of(one)
    everything = await rows_of(one, gone, past=True)

    assert [(row.labels["threshold"], row.asked) for row in now] == [(0.5, True)]
    assert [(row.labels["threshold"], row.asked, row.failed) for row in everything] == [
        (0.3, False, 2),
        (0.5, True, 3),
        (0.5, False, 3),
    ]


async def test_a_row_without_thresholds_says_whether_it_is_asked_for() -> None:
    labels = {"model": "a", "repeat": 1}
    gone = job(labels=labels, threshold=None, cells=(), is_asked=False)

    [row] = await rows_of(gone, folded_field=None, past=True)

    assert (row.asked, row.failed) == (False, 3)


async def test_a_prompt_has_the_name_that_its_text_has_now_and_a_digest_of_its_text() -> None:
    texts = {"be kind": digest("be kind"), "be brief": digest("be brief")}
    names = {"prompt": {texts["be kind"]: "second", texts["be brief"]: "first"}}
    kind, brief, gone = (
        job(labels={"prompt": name, "repeat": 1}, documents={"prompt": text}, threshold=None)
        for name, text in (
            ("first", texts["be kind"]),
            ("second", texts["be brief"]),
            ("old", "ab" * 32),
        )
    )

    rows = await rows_of(kind, brief, gone, folded_field=None, names=names)

    assert [row.labels["prompt"] for row in rows] == ["second", "first", "old"]
    assert [row.digests["prompt"] for row in rows] == [
        texts["be kind"][:12],
        texts["be brief"][:12],
        "abababababab",
    ]


async def test_no_text_has_no_digest() -> None:
    bare = job(labels={"prompt": "none"}, documents={"prompt": digest(None)}, threshold=None)

    [row] = await rows_of(bare, folded_field=None)

    assert row.digests == {"prompt": None}
