"""From cells to cases: how many tests of each failed, at each threshold."""

from collections.abc import AsyncIterator
from typing import Any

from engine.core.cases import CaseRow
from engine.core.listed_tests import ListedTest, Listing
from engine.results.cases import cases
from engine.results.cells import RowRules
from engine.store import JobRow
from tests.engine.results.test_rows import job

LAYERED = (
    ListedTest("one", 0, 0.2),
    ListedTest("two", 0, 0.8),
    ListedTest("one", 1, 0.1),
    ListedTest("two", 1, 0.4),
)


def listed(*tests: ListedTest, **changes: Any) -> JobRow:
    """A job whose answer lists these tests, sent at 0.5."""
    scores = sorted(test.score for test in tests if test.score is not None)
    failed = sum(score < 0.5 for score in scores)
    values = {"passed": len(scores) - failed, "failed": failed, "scores": tuple(scores)}
    return job(listing=Listing.of(tests).encode(), **{**values, **changes})


async def cases_of(
    *jobs: JobRow, case_field: str | None = None, folded_field: str | None = "threshold"
) -> list[CaseRow]:
    async def stored() -> AsyncIterator[JobRow]:
        for one in jobs:
            yield one

    rules = RowRules(folded_field=folded_field)
    return [case async for case in cases(stored(), rules, case_field=case_field)]


def numbers(case: CaseRow) -> tuple[Any, ...]:
    return case.case, case.tests, case.failed, case.first_failed, case.lowest_score


async def test_each_case_has_its_tests_in_all_layers_at_each_threshold() -> None:
    found = await cases_of(listed(*LAYERED, cells=(0.3, 0.5), id=7, provenance="abc"))

    assert [(case.labels["threshold"], *numbers(case)) for case in found] == [
        (0.3, "one", 2, 2, 1, 0.1),
        (0.3, "two", 2, 0, 0, 0.4),
        (0.5, "one", 2, 2, 1, 0.1),
        (0.5, "two", 2, 1, 0, 0.4),
    ]
    assert {(case.job, case.identity) for case in found} == {(7, "abc")}


async def test_tests_of_unnamed_cases_are_one_row_without_a_name() -> None:
    found = await cases_of(listed(ListedTest(None, 0, 0.2), ListedTest(None, 0, 0.7), cells=(0.5,)))

    assert [numbers(case) for case in found] == [(None, 2, 1, 1, 0.2)]


async def test_where_an_axis_has_the_cases_its_value_is_the_case() -> None:
    one = job(
        labels={"model": "a", "input": "japan", "repeat": 1},
        threshold=None,
        cells=(),
        passed=0,
        failed=1,
        scores=None,
    )

    found = await cases_of(one, case_field="input", folded_field=None)

    assert [numbers(case) for case in found] == [("japan", 1, 1, 1, None)]


async def test_cells_without_tests_and_outdated_answers_have_no_cases() -> None:
    missing = job(passed=None, failed=None, scores=None)
    empty = job(passed=0, failed=0, scores=None, threshold=None, cells=())

    assert await cases_of(missing, empty, listed(*LAYERED, outdated=True)) == []
