"""The failure rate at every threshold, from the scores of first answers."""

from typing import Any

import pytest

from engine.core.listed_tests import ListedTest, Listing
from engine.core.policy import UnansweredPolicy, UnansweredRule
from engine.core.reports import CURVE_STEPS, ScoreCurve
from engine.core.statistics import band_half_width
from engine.results.analysis import Analysis
from engine.results.cells import RowRules, cells
from engine.results.heat import HeatAxes, heat_map_of
from engine.results.observations import observe, read_round_of
from engine.results.score_curves import ScoreCounter
from engine.store import JobRow
from tests.engine.results.test_heat import GROUPS, MODELS, THRESHOLDS, with_values
from tests.engine.results.test_rows import job

AXES = [with_values(axis, 2) for axis in (MODELS, GROUPS, THRESHOLDS)]
AS_FAILED = UnansweredPolicy(rule=UnansweredRule.AS_FAILED, max_share=1.0)


def answer(*tests: ListedTest, model: str = "a", repeat: int = 1, **changes: Any) -> JobRow:
    """A job whose answer has these tests, and lists them all."""
    scores = sorted(test.score for test in tests if test.score is not None)
    failed = sum(score < 0.5 for score in scores)
    values = {
        "id": hash((model, repeat)),
        "labels": {"model": model, "group": "x", "threshold": 0.5, "repeat": repeat},
        "scores": tuple(scores),
        "passed": len(scores) - failed,
        "failed": failed,
        "listing": Listing.of(tests, is_layered=any(test.layer for test in tests)).encode(),
        **changes,
    }
    return job(**values)


def cases(*scores: float | None) -> list[ListedTest]:
    return [ListedTest(f"case-{number}", 0, score) for number, score in enumerate(scores)]


async def curves_of(*jobs: JobRow, policy: UnansweredPolicy | None = None) -> dict[str, ScoreCurve]:
    """The curves of a run over models and groups, by model."""
    rules = RowRules(folded_field="threshold", unanswered=policy or UnansweredPolicy())
    axes = HeatAxes(row="model", column="group")
    counter = ScoreCounter(axes, rules)

    async def each() -> Any:
        for one in jobs:
            counter.add(one, read_round_of(one, rules))
            yield one

    seen = await observe(cells(each(), rules), AXES, "threshold")
    analysis = Analysis(seen, {"model": "model", "group": "group"})
    return {one.row: one for one in counter.curves(heat_map_of(analysis, axes))}


async def test_a_score_fails_at_every_threshold_above_itself() -> None:
    scores = (0.0, 0.29, 0.3, 0.3049, 0.3051, 0.9999, 1.0)

    curve = (await curves_of(answer(*cases(*scores))))["a"]

    for step in range(CURVE_STEPS + 1):
        threshold = step / CURVE_STEPS
        assert curve.failed[step] == sum(score < threshold for score in scores), threshold
    assert curve.answers == 7


async def test_however_many_different_scores_there_are_all_of_them_count() -> None:
    repeats = [
        answer(*cases(*((number + repeat / 9) / 400 for number in range(400))), repeat=repeat)
        for repeat in range(3)
    ]

    curve = (await curves_of(*repeats))["a"]

    scores = [score for one in repeats for score in one.scores or ()]
    assert curve.answers == len(scores) == 1_200
    for step in range(CURVE_STEPS + 1):
        assert curve.failed[step] == sum(score < step / CURVE_STEPS for score in scores)


async def test_only_the_steps_after_which_the_rate_changes_are_drawn() -> None:
    curve = (await curves_of(answer(*cases(0.1, 0.5, 0.5, 1.0))))["a"]

    assert curve.steps() == [0, 20, 100, 200]
    assert [curve.rate(step) for step in (20, 21, 100, 101, 200)] == [0, 0.25, 0.25, 0.75, 0.75]
    assert curve.steps(10) == [0, 20, 100, 200]
    assert curve.rate(110) == 0.75


async def test_the_band_is_that_of_different_cases_and_stays_within_0_and_1() -> None:
    repeats = [answer(*cases(*[0.2] * 20, *[0.8] * 20), repeat=number) for number in (1, 2, 3)]

    curve = (await curves_of(*repeats))["a"]

    half = band_half_width(40)
    assert half is not None
    assert (curve.cases, curve.answers, curve.half_width) == (40, 120, half)
    assert curve.band(0) == (0.0, half)
    assert curve.band(100) == pytest.approx((0.5 - half, 0.5 + half))
    all_failed = (await curves_of(answer(*cases(*[0.2] * 20))))["a"]
    band = all_failed.band(100)
    assert band is not None
    assert band[1] == 1.0


async def test_of_layered_answers_only_the_first_ones_count() -> None:
    varied = [*cases(0.2, 0.8), ListedTest("case-0", 1, 0.1), ListedTest("case-0", 2, 0.9)]

    curve = (await curves_of(answer(*varied)))["a"]

    assert (curve.answers, curve.cases) == (2, 2)
    assert [curve.rate(step) for step in (30, 41, 161)] == [0, 0.5, 1]


async def test_a_line_has_no_curve_if_an_answer_does_not_list_all_its_scores() -> None:
    whole = answer(*cases(0.2, 0.8), model="a")
    failed_only = Listing(tests=tuple(cases(0.2)), cases=2).encode()

    found = await curves_of(
        whole,
        answer(*cases(0.2, 0.8), model="b"),
        answer(*cases(0.2, 0.8), model="b", repeat=2, listing=failed_only, scores=(0.2,)),
        answer(*cases(0.2, 0.8), model="c", listing=None),
        answer(*cases(0.2, 0.8), model="d"),
        answer(ListedTest("x", None, 0.2), ListedTest("x", None, 0.8), model="d", repeat=2),
    )

    assert list(found) == ["a"]


async def test_jobs_without_numbers_that_count_leave_a_curve_as_it_is() -> None:
    found = await curves_of(
        answer(*cases(0.2, 0.8)),
        job(labels={"model": "a", "group": "x"}, passed=None, failed=None, scores=None),
        answer(*cases(0.1, 0.1), repeat=2, outdated=True),
        answer(*cases(0.1, 0.1), repeat=3, is_asked=False),
        answer(*cases(0.1, None), repeat=4, unanswered={"refused": 1}),
    )

    assert found["a"].answers == 2


async def test_questions_that_count_as_failed_fail_at_every_threshold() -> None:
    one = answer(*cases(0.2, 0.8, None), unanswered={"refused": 1})

    failing = (await curves_of(one, policy=AS_FAILED))["a"]
    apart = (await curves_of(one, policy=UnansweredPolicy(max_share=1.0)))["a"]

    unlisted = answer(*cases(0.2, 0.8), repeat=2, unanswered={"refused": 1})
    assert await curves_of(one, unlisted, policy=AS_FAILED) == {}
    assert [failing.rate(step) for step in (0, 41)] == pytest.approx([1 / 3, 2 / 3])
    assert [apart.rate(step) for step in (0, 41)] == [0, 0.5]


async def test_a_text_that_shares_its_label_has_a_curve_of_its_own() -> None:
    found = await curves_of(
        answer(*cases(0.2), documents={"model": "1" * 64}),
        answer(*cases(0.8), repeat=2, documents={"model": "2" * 64}),
    )

    assert [curve.rate(100) for curve in found.values()] == [1, 0]
    assert all(name.startswith("a (") for name in found)
