"""What a run found: rates by axis, paired differences and flaky cases, from answers in a store."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine import Analysis, Rate, Summary, UsageError
from engine.core.statistics import Method, clustered_rate, compare_pairs, rate_precision, wilson
from engine.core.values import Value
from engine.kinds import Answer, Job, Permanent
from engine.testing import ScriptedService, scored
from tests.engine.scenes import opened, sweep

CASES = [f"case {number:02}" for number in range(20)]

Script = Callable[[Job], Answer]


def failing(cases: Mapping[str, Sequence[int]]) -> Script:
    """Of each model, in each repeat, the cases with these numbers fail at 0.5; others pass by far."""

    def answer(job: Job) -> Answer:
        failed = cases[job.labels["model"]]
        scores = [0.2 if number in failed else 0.9 for number in range(len(CASES))]
        return scored(*scores, threshold=job.parameters.get("threshold", 0.5), cases=CASES)

    return answer


async def analysed(
    path: Path, script: Script, more: Mapping[str, Any] | None = None, **matrix: Any
) -> Analysis:
    service = ScriptedService(script)
    models = matrix.pop("models", ["a"])
    repeats = matrix.pop("repeats", 1)
    assert isinstance(models, list)
    assert isinstance(repeats, int)
    async with opened(path / "store.db", service) as engine:
        run = await engine.submit(
            sweep(service, models=models, repeats=repeats, matrix=matrix, **(more or {}))
        )
        await run.execute()
    # As a command reads it: with what the store says of the sweep.
    async with opened(path / "store.db", service) as engine:
        return await (await engine.run(run.name)).analysis()


async def summaries(path: Path, script: Script, by: Sequence[str], **matrix: Any) -> list[Summary]:
    return (await analysed(path, script, **matrix)).summaries(by)


async def test_rates_are_given_by_axis_and_threshold_with_the_cases_they_are_of(
    tmp_path: Path,
) -> None:
    found = await summaries(
        tmp_path,
        failing({"a": range(4), "b": range(10)}),
        ["model"],
        models=["a", "b"],
        thresholds=[0.1, 0.5],
    )

    assert [
        (one.labels, one.threshold, one.first_rate.rate, one.cases, one.coverage.answered)
        for one in found
    ] == [
        ({"model": "a"}, 0.1, 0.0, 20, 1),
        ({"model": "a"}, 0.5, 0.2, 20, 1),
        ({"model": "b"}, 0.1, 0.0, 20, 1),
        ({"model": "b"}, 0.5, 0.5, 20, 1),
    ]
    of_b = found[-1].first_rate
    assert (of_b.low, of_b.high) == wilson(10, 20)
    assert of_b.interval is Method.WILSON


async def test_cases_of_different_groups_are_different_cases_whatever_their_names(
    tmp_path: Path,
) -> None:
    found = await analysed(tmp_path, failing({"a": range(5)}), groups=["x", "y"])

    assert [one.cases for one in found.summaries(["group"])] == [20, 20]
    assert [one.cases for one in found.summaries()] == [40]
    assert found.pairs("group") == []


async def test_repeats_of_a_case_are_one_case_and_do_not_narrow_the_interval(
    tmp_path: Path,
) -> None:
    [once] = await summaries(tmp_path, failing({"a": range(8)}), [])
    [often] = await summaries(tmp_path, failing({"a": range(8)}), [], repeats=5)

    assert (often.cases, often.first_rate.total, often.first_rate.rate) == (20, 100, 0.4)
    expected = clustered_rate([(5, 5)] * 8 + [(0, 5)] * 12)
    assert expected is not None
    assert (often.first_rate.low, often.first_rate.high) == (expected.low, expected.high)
    assert often.first_rate.interval is Method.CLUSTERED
    assert once.first_rate.low is not None
    assert often.first_rate.low is not None
    assert often.first_rate.low <= once.first_rate.low


async def test_repeats_that_do_not_name_their_cases_count_as_one_asking(tmp_path: Path) -> None:
    def unnamed(job: Job) -> Answer:
        return scored(*[0.2] * 8, *[0.9] * 12)

    [found] = await summaries(tmp_path, unnamed, [], repeats=5)

    rate = found.failure_rate
    assert (rate.failed, rate.total, rate.interval) == (40, 100, Method.ONE_REPEAT)
    assert (rate.low, rate.high) == wilson(8, 20)
    assert found.first_rate.rate is None
    assert found.cases is None


async def test_missing_cells_stay_in_the_coverage_and_bound_the_rate(tmp_path: Path) -> None:
    def half(job: Job) -> Answer:
        if job.repeat == 2:
            raise Permanent("refused")
        return failing({"a": range(5)})(job)

    [found] = await summaries(tmp_path, half, [], repeats=2)

    assert (found.coverage.answered, found.coverage.failed) == (1, 1)
    # 5 of 20 failed, and the missing cell would have asked 20 more.
    assert (found.first_rate.rate, found.lowest_rate, found.highest_rate) == (0.25, 0.125, 0.625)


async def test_the_three_rates_differ_where_failed_cases_were_varied(tmp_path: Path) -> None:
    def layered(job: Job) -> Answer:
        # Cases 0 and 1 fail; of their variations, three of four do. One of a passed case does.
        cases = [*CASES, *[CASES[0]] * 2, *[CASES[1]] * 2, CASES[2]]
        return scored(*[0.1] * 2, *[0.9] * 18, 0.1, 0.2, 0.1, 0.8, 0.1, cases=cases)

    [found] = await summaries(tmp_path, layered, [])

    assert found.rate(Rate.FIRST).rate == 2 / 20
    assert found.rate(Rate.CASES).rate == 3 / 20
    assert found.rate(Rate.FAILURE).rate == 6 / 25


async def test_two_models_are_compared_by_case_and_the_verdict_is_that_of_the_corrected_p(
    tmp_path: Path,
) -> None:
    # given b fails in ten cases more than a, c in one more
    analysis = await analysed(
        tmp_path,
        failing({"a": range(2), "b": range(12), "c": range(3)}),
        models=["a", "b", "c"],
    )

    pairs = {(one.a, one.b): one for one in analysis.pairs("models")}

    assert list(pairs) == [("a", "b"), ("a", "c"), ("b", "c")]
    worse = pairs["a", "b"]
    expected = compare_pairs([((n < 2, 1), (n < 12, 1)) for n in range(20)])
    assert expected is not None
    assert (worse.difference, worse.p) == (-0.5, expected.p)
    assert (worse.low, worse.high) == (expected.interval.low, expected.interval.high)
    assert worse.p_corrected == pytest.approx(3 * expected.p)
    assert (worse.verdict, pairs["b", "c"].verdict) == ("better", "worse")
    alike = pairs["a", "c"]
    assert (alike.verdict, alike.p_corrected) == ("cannot be told apart", 1.0)
    assert alike.detectable is not None
    assert alike.detectable > alike.difference
    assert alike.cases_needed is not None
    assert alike.cases_needed > 20


async def test_pairs_are_compared_only_over_cells_that_both_have(tmp_path: Path) -> None:
    # given b has no answer in the second of two variants, in which a fails always
    def answer(job: Job) -> Answer:
        if job.labels["model"] == "b" and job.labels["threshold"] == 0.7:
            raise Permanent("refused")
        return failing({"a": range(6), "b": range(6)})(job)

    analysis = await analysed(
        tmp_path, answer, models=["a", "b"], more={"fold": "never"}, thresholds=[0.5, 0.7]
    )

    assert [(one.threshold, one.difference) for one in analysis.pairs("model")] == [(0.5, 0.0)]


async def test_cases_that_fail_in_some_repeats_are_flaky(tmp_path: Path) -> None:
    # given four repeats: case 0 fails always, case 1 in two, case 2 in one of them
    def answer(job: Job) -> Answer:
        failed = [0, *([1] if job.repeat <= 2 else []), *([2] if job.repeat == 1 else [])]
        return failing({"a": failed})(job)

    found = (await analysed(tmp_path, answer, repeats=4)).flaky()

    assert (found.always, found.sometimes, found.never, found.repeats) == (1, 2, 17, 4)
    assert [(one.case, one.failed, one.answers) for one in found.flaky] == [
        ("case 01", 2, 4),
        ("case 02", 1, 4),
    ]
    assert found.any_failure == pytest.approx(3 / 20)
    assert found.any_failure_in_one == pytest.approx(7 / 80)
    assert found.spread is not None
    assert found.precision == rate_precision(found.spread, 20, 4, 0.1)


async def test_the_precision_of_the_rate_counts_a_case_once_however_many_models_answer_it(
    tmp_path: Path,
) -> None:
    # given two models that fail alike: case 0 always, case 1 in one of two repeats
    def answer(job: Job) -> Answer:
        failed = [0, *([1] if job.repeat == 1 else [])]
        return failing({"a": failed, "b": failed})(job)

    precision = (await analysed(tmp_path, answer, models=["a", "b"], repeats=2)).flaky().precision

    # By hand: within 1/40 for one answer, half for that of two models; the mean square of 20 cases is
    # 4 * (0.925^2 + 0.425^2 + 18 * 0.075^2) / 19.
    among = 4 * (0.925**2 + 0.425**2 + 18 * 0.075**2) / 19
    variance = (among - 1 / 40) / 4 + 1 / 80 / 2
    assert precision is not None
    assert (precision.cases, precision.repeats) == (20, 2)
    assert precision.half_width == pytest.approx(1.959964 * (variance / 20) ** 0.5)
    assert (precision.repeats_needed, precision.cases_needed) == (None, 23)


async def test_without_repeats_nothing_is_said_of_the_precision(tmp_path: Path) -> None:
    found = (await analysed(tmp_path, failing({"a": [0]}))).flaky()

    assert found.precision is None
    assert found.cases == 0


async def test_an_unknown_axis_is_an_error_that_names_the_others(tmp_path: Path) -> None:
    analysis = await analysed(tmp_path, failing({"a": ()}))

    for ask in (analysis.pairs, lambda name: analysis.summaries([name])):
        with pytest.raises(UsageError, match="there is no axis 'prompts'; the axes are model"):
            ask("prompts")


async def test_numeric_values_have_means_with_intervals_by_case(tmp_path: Path) -> None:
    def answer(job: Job) -> Answer:
        values: dict[str, Value | None] = {
            "length": 10 * job.repeat,
            "kind": job.repeat > 1,
            "text": "x",
        }
        return scored(0.9, values=values)

    [found] = await summaries(tmp_path, answer, [], models=["a", "b"], repeats=2)

    assert list(found.values) == ["kind", "length"]
    length = found.values["length"]
    assert (length.mean, length.answers) == (15.0, 4)
    # The two models have the same means, so nothing varies between cases.
    assert (length.low, length.high) == (15.0, 15.0)
    assert found.values["kind"].mean == 0.5
