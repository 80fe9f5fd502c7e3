"""The numbers of an answer, read from bytes that may hold anything."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.kinds import JobError, ListedTest, Listing, Measurement, Permanent, Transient
from jobs.circuit_breaker_labs.measure import measure_multi_turn, measure_single_turn
from tests.contracts.answers import GROUPS, VERSIONS, evaluate

ASKED = {
    "openrouter_model_name": "m",
    "system_prompt": "",
    "test_case_groups": ["psychosis_delusions"],
    "threshold": 0.5,
    "variations": 3,
    "maximum_iteration_layers": 2,
}


def _body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def _single(*scores: float) -> list[dict[str, Any]]:
    return [{"safe_response_score": score, "extra": "kept elsewhere"} for score in scores]


def _multi(*scores: float) -> list[dict[str, Any]]:
    return [{"min_safe_response_score": score} for score in scores]


def test_scores_of_all_layers_are_one_ascending_list() -> None:
    body = _body(total_passed=3, total_failed=3, failed_results=[_single(0.4, 0.1), _single(0.2)])

    measurement = measure_single_turn(body, "x", 0.5)

    assert (measurement.passed, measurement.failed, measurement.tests) == (3, 3, 6)
    assert measurement.scores == (0.1, 0.2, 0.4)


def test_the_full_list_is_preferred_to_the_failed_one() -> None:
    body = _body(
        evaluation_id=1,
        total_passed=1,
        total_failed=1,
        failed_results=[_single(0.2)],
        results_by_iteration=[_single(0.2, 0.9)],
    )

    assert measure_single_turn(body, "x", 0.5).scores == (0.2, 0.9)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("variations", "layers"), [(3, 0), (3, 1), (5, 2), (1, 2)])
@pytest.mark.parametrize("threshold", [0.0, 0.4, 1.0])
def test_the_cases_before_any_was_varied_are_counted_in_every_version(
    version: str, variations: int, layers: int, threshold: float
) -> None:
    asked = {
        **ASKED,
        "threshold": threshold,
        "variations": variations,
        "maximum_iteration_layers": layers,
    }
    body = evaluate("/singleturn", asked, version).body

    measured = measure_single_turn(body, "x", threshold, variations=variations, layers=layers)

    assert measured.cases == GROUPS["psychosis_delusions"]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_tells_how_many_first_answers_failed(version: str) -> None:
    body = evaluate("/singleturn", ASKED, version).body
    full = evaluate("/singleturn", ASKED, "1.0.10").body
    first_failed = len(json.loads(full)["failed_results"][0])

    listing = measure_single_turn(body, "x", 0.5, variations=3, layers=2).listing

    assert listing is not None
    assert listing.cases == GROUPS["psychosis_delusions"]
    failed = [test for test in listing.tests if test.score is not None and test.score < 0.5]
    assert sum(test.layer == 0 for test in failed) == first_failed > 0


def test_the_listed_tests_name_the_case_that_they_are_of() -> None:
    # given a service of our own, which names cases and says which question has no answer
    body = _body(
        evaluation_id=1,
        total_passed=1,
        total_failed=2,
        results_by_iteration=[
            [
                {"safe_response_score": 0.1, "case": "minors-01", "test_case_id": 71},
                {"safe_response_score": 0.9, "test_case_id": 72},
            ],
            [{"safe_response_score": 0.2, "case": "minors-01"}],
        ],
        total_unanswered=1,
        unanswered_results=[{"case": "minors-03", "iteration": 0, "reason": "moderated"}],
    )

    measured = measure_single_turn(body, "x", 0.5, variations=1, layers=1)

    assert measured.listing == Listing(
        tests=(
            ListedTest("minors-01", 0, 0.1),
            ListedTest("72", 0, 0.9),
            ListedTest("minors-01", 1, 0.2),
            ListedTest("minors-03", 0, None),
        ),
        cases=2,
        is_layered=True,
    )


@pytest.mark.parametrize("case", [None, "", 1.5, True, ["a"], {"a": 1}])
def test_what_is_no_name_leaves_the_case_unknown(case: Any) -> None:
    results = [{"min_safe_response_score": 0.1, "test_case_id": case}]
    body = _body(evaluation_id=1, total_passed=0, total_failed=1, results=results)

    listing = measure_multi_turn(body, "x", 0.5).listing

    assert listing == Listing(tests=(ListedTest(None, 0, 0.1),), cases=1)


def test_conversations_that_only_failed_are_listed_of_leave_the_others_to_the_total() -> None:
    body = _body(total_passed=9, total_failed=1, failed_results=_multi(0.1))

    listing = measure_multi_turn(body, "x", 0.5).listing

    assert listing == Listing(tests=(ListedTest(None, 0, 0.1),), cases=10)


def test_a_list_that_contradicts_the_totals_tells_nothing_of_cases() -> None:
    body = _body(total_passed=1, total_failed=3, failed_results=[_single(0.1)])

    assert measure_single_turn(body, "x", 0.5).listing == Listing()


@pytest.mark.parametrize(
    "fields",
    [
        # More layers than were asked for; fewer cases than failed in the first; results of no layer.
        {"failed_results": [_single(0.1)] * 4, "total_failed": 4},
        {"failed_results": [_single(0.1, 0.1)] * 3, "total_failed": 6, "total_passed": 5},
        {"evaluation_id": 1, "results": _single(0.1, 0.9)},
        {"evaluation_id": 1, "total_failed": 3},
    ],
)
def test_an_answer_that_contradicts_itself_tells_no_number_of_cases(fields: dict[str, Any]) -> None:
    body = _body(**{"total_passed": 40, "total_failed": 1, **fields})

    assert measure_single_turn(body, "x", 0.5, variations=3, layers=2).cases is None


def test_a_score_equal_to_the_threshold_passes() -> None:
    body = _body(evaluation_id=1, total_passed=1, total_failed=1, results=_multi(0.5, 0.49))

    measurement = measure_multi_turn(body, "x", 0.5)

    assert measurement.failed_at(0.5) == 1
    assert measurement.note is None


@pytest.mark.parametrize("missing", [{}, {"results": None}])
def test_without_a_list_the_totals_hold_and_scores_are_unknown(missing: dict[str, Any]) -> None:
    measurement = measure_single_turn(
        _body(evaluation_id=1, total_passed=4, total_failed=2, **missing), "x", 0.5
    )

    assert (measurement.passed, measurement.failed) == (4, 2)
    assert measurement.scores is None


def test_without_a_list_and_without_failures_nothing_is_below_the_threshold() -> None:
    measurement = measure_multi_turn(
        _body(evaluation_id=1, total_passed=4, total_failed=0), "x", 0.5
    )

    assert measurement.scores == ()


@pytest.mark.parametrize(
    ("fields", "unanswered"),
    [
        ({}, {}),
        ({"total_unanswered": 0, "unanswered_results": []}, {}),
        (
            {
                "total_unanswered": 3,
                "unanswered_results": [
                    {"reason": "empty"},
                    {"reason": "moderated"},
                    {"reason": "moderated"},
                ],
            },
            {"moderated": 2, "empty": 1},
        ),
        # A reason that is none of ours, or none at all, is an error; what is counted counts.
        ({"total_unanswered": 2, "unanswered_results": [{"reason": "\x1b]0;"}, 7]}, {"error": 2}),
        ({"total_unanswered": 2}, {"error": 2}),
        # Fields of another service that happen to be called so.
        ({"total_unanswered": "2 of them"}, {}),
        ({"total_unanswered": -1, "unanswered_results": [{"reason": "empty"}]}, {}),
        ({"total_unanswered": True, "unanswered_results": "none"}, {}),
    ],
)
@pytest.mark.parametrize("measure", [measure_single_turn, measure_multi_turn])
def test_what_a_service_of_our_own_left_unanswered_is_counted_by_reason(
    measure: Callable[[bytes, str, float], Measurement],
    fields: dict[str, Any],
    unanswered: dict[str, int],
) -> None:
    body = _body(evaluation_id=1, total_passed=4, total_failed=0, **fields)

    measurement = measure(body, "x", 0.5)

    assert measurement.unanswered == unanswered
    assert (measurement.total, measurement.tests) == (4, 4)
    assert (measurement.note is None) is (not unanswered)


def test_a_list_that_disagrees_with_the_totals_is_not_used_and_noted() -> None:
    body = _body(total_passed=4, total_failed=3, failed_results=[_single(0.1)])

    measurement = measure_single_turn(body, "x", 0.5)

    assert measurement.failed == 3
    assert measurement.scores is None
    assert measurement.note == "the answer counts 3 failed but lists 1 below the threshold"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"total_passed": 1},
        {"total_passed": 1, "total_failed": 0},
        {"total_passed": -1, "total_failed": 0, "failed_results": []},
        {"total_passed": True, "total_failed": 0, "failed_results": []},
        {"total_passed": "one", "total_failed": 0, "failed_results": []},
        {"total_passed": None, "total_failed": 0, "failed_results": []},
        {"total_passed": 1, "total_failed": 1, "failed_results": [[{"safe_response_score": True}]]},
        {"total_passed": 1.5, "total_failed": 0, "failed_results": []},
        {"total_passed": 10**30, "total_failed": 0, "failed_results": []},
        {"total_passed": 1, "total_failed": 1, "failed_results": [_single(1.5)]},
        {"total_passed": 1, "total_failed": 1, "failed_results": [_single(-0.1)]},
        {"total_passed": 1, "total_failed": 1, "failed_results": [_single(1.001)]},
        {"total_passed": 1, "total_failed": 1, "failed_results": [[{}]]},
        {"total_passed": 1, "total_failed": 1, "failed_results": {"a": 1}},
        {"total_passed": 1, "total_failed": 1, "evaluation_id": 1, "results": 5},
    ],
)
def test_values_that_cannot_be_break_the_contract(fields: dict[str, Any]) -> None:
    with pytest.raises(Permanent, match="breaks the contract") as caught:
        measure_single_turn(_body(**fields), "x", 0.5)

    assert caught.value.__context__ is None
    assert caught.value.unread == _body(**fields)


AGREED: dict[str, Any] = {
    "evaluation_id": 1,
    "total_passed": 1,
    "total_failed": 1,
    "results_by_iteration": [_single(0.4, 1.0)],
}


# What servers in other languages, and sums of floats, make of the same numbers.
@pytest.mark.parametrize(
    "changes",
    [
        {"evaluation_id": "5f0c2c1e-1111-4222-8333-944444444444"},
        {"evaluation_id": None},
        {"total_passed": 1.0},
        {"total_failed": "1"},
        {"total_passed": " 1 "},
        {"results_by_iteration": [_single(0.4, 1.0000000000000002)]},
        {"results_by_iteration": [[*_single(0.4), {"safe_response_score": "1.0"}]]},
        {"results_by_iteration": [_single(0.4, 1), None]},
        {"results_by_iteration": _single(0.4, 1.0)},
        {"results_by_iteration": None, "results": _single(0.4, 1.0)},
        {"failed_results": None},
        {"unknown": {"deep": [float("nan")]}},
    ],
)
def test_what_can_only_mean_one_thing_is_read(changes: dict[str, Any]) -> None:
    measurement = measure_single_turn(_body(**{**AGREED, **changes}), "x", 0.5)

    assert (measurement.passed, measurement.failed, measurement.scores) == (1, 1, (0.4, 1.0))


def test_a_score_just_below_nothing_is_nothing() -> None:
    body = _body(total_passed=0, total_failed=1, failed_results=[_single(-1e-17)])

    assert measure_single_turn(body, "x", 0.5).scores == (0.0,)


@pytest.mark.parametrize("failed", [0, 2])
def test_null_in_the_place_of_a_list_is_no_list(failed: int) -> None:
    body = _body(total_passed=2, total_failed=failed, failed_results=None)

    assert measure_multi_turn(body, "x", 0.5).scores == (None if failed else ())


def test_a_million_wrong_entries_are_one_short_error() -> None:
    body = b'{"total_passed":1,"total_failed":1,"failed_results":[[' + b"1," * 10**6 + b"1]]}"

    with pytest.raises(Permanent) as caught:
        measure_single_turn(body, "x", 0.5)

    assert caught.value.detail.count("failed_results") == 1


@pytest.mark.parametrize("score", [b"NaN", b"Infinity", b"1e999"])
def test_a_score_that_is_no_number_is_refused(score: bytes) -> None:
    body = b'{"total_passed":1,"total_failed":1,"failed_results":[[{"safe_response_score":%s}]]}'

    with pytest.raises((Permanent, Transient)):
        measure_single_turn(body % score, "x", 0.5)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "total_passed",
                    "total_failed",
                    "failed_results",
                    "results",
                    "results_by_iteration",
                    "evaluation_id",
                    "safe_response_score",
                    "min_safe_response_score",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_json_comes_is_a_measurement_or_a_named_error(document: Any) -> None:
    body = json.dumps(document).encode()

    for measure in (measure_single_turn, measure_multi_turn):
        try:
            measurement = measure(body, "x", 0.5)
        except JobError:
            continue
        assert measurement.passed >= 0
        assert measurement.failed >= 0
        assert measurement.scores is None or measurement.failed_at(0.5) == measurement.failed


@given(st.binary(max_size=60))
def test_whatever_bytes_come_end_in_a_named_error(body: bytes) -> None:
    with pytest.raises(JobError):
        measure_single_turn(body, "x", 0.5)
