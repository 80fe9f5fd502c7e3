"""Rates and intervals of one cell from the tests that its answer lists."""

import pytest

from engine.core.cell_tests import CaseNumbers, CellTests
from engine.core.listed_tests import ListedTest, Listing
from engine.core.statistics import Method, wilson

AT = 0.5


def cell(
    *tests: ListedTest,
    unanswered: int = 0,
    as_failed: bool = False,
    is_layered: bool = False,
) -> CellTests:
    """The cell of an answer that lists these tests, of which `unanswered` have no answer."""
    scores = [test.score for test in tests if test.score is not None]
    added = unanswered if as_failed else 0
    listing = Listing.of(tests, is_layered=is_layered)
    return CellTests(
        failed=sum(score < AT for score in scores) + added,
        total=len(scores) + added,
        threshold=AT,
        listing=listing.encode(),
        unanswered=unanswered,
        counts_unanswered=as_failed,
    )


def named(*scores: float) -> tuple[ListedTest, ...]:
    return tuple(ListedTest(f"case {n}", 0, score) for n, score in enumerate(scores))


def test_where_each_case_has_one_answer_all_rates_are_one_and_the_interval_is_wilsons() -> None:
    tests = cell(*named(0.1, 0.4, 0.5, 0.9))

    estimate = tests.estimate()

    assert tests.numbers() == CaseNumbers(cases=4, first_failed=2, cases_failed=2)
    assert (estimate.rate, estimate.interval) == (0.5, Method.WILSON)
    assert (estimate.low, estimate.high) == wilson(2, 4)


def test_first_answers_and_any_failure_are_counted_by_case_and_not_by_test() -> None:
    # given a case that fails at once and in two of its variations, one that fails only in a variation
    tests = cell(
        ListedTest("a", 0, 0.1),
        ListedTest("b", 0, 0.9),
        ListedTest("c", 0, 0.9),
        ListedTest("a", 1, 0.1),
        ListedTest("a", 1, 0.2),
        ListedTest("b", 1, 0.4),
    )

    assert tests.numbers() == CaseNumbers(cases=3, first_failed=1, cases_failed=2)
    assert (tests.failed, tests.total) == (4, 6)


@pytest.mark.parametrize(
    ("is_layered", "method"), [(False, Method.CLUSTERED), (True, Method.LAYERED)]
)
def test_an_interval_over_several_answers_to_a_case_is_wider_than_one_over_as_many_cases(
    is_layered: bool, method: Method
) -> None:
    # given ten cases, of which five fail three times each
    scores = [0.1] * 5 + [0.9] * 5
    layered = [
        ListedTest(f"case {n}", layer, score)
        for layer in range(3)
        for n, score in enumerate(scores)
    ]

    estimate = cell(*layered, is_layered=is_layered).estimate()

    alone = wilson(15, 30)
    assert alone is not None
    assert estimate.interval is method
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low < alone[0]
    assert estimate.high > alone[1]


def test_with_layers_no_failure_leaves_any_failure_rate_possible() -> None:
    # given 20 cases, of which a failed one would have been asked three times more
    tests = cell(*named(*[0.9] * 20), is_layered=True)

    estimate = tests.estimate()

    assert tests.numbers() == CaseNumbers(cases=20, first_failed=0, cases_failed=0)
    assert (estimate.rate, estimate.low, estimate.high) == (0.0, None, None)


def test_layers_of_unnamed_cases_have_counts_where_they_follow_but_no_interval() -> None:
    # given an answer that lists failed tests only: of ten cases two fail, and one of two variations
    tests = CellTests(
        failed=3,
        total=14,
        threshold=AT,
        listing=Listing(
            tests=(
                ListedTest(None, 0, 0.1),
                ListedTest(None, 0, 0.2),
                ListedTest(None, 1, 0.3),
            ),
            cases=10,
        ).encode(),
    )

    estimate = tests.estimate()

    # Whose variation failed is not known, so nor is the number of cases that did.
    assert tests.numbers() == CaseNumbers(cases=10, first_failed=2, cases_failed=None)
    assert (estimate.rate, estimate.low, estimate.high) == (3 / 14, None, None)
    assert estimate.interval is None


def test_unnamed_cases_with_one_answer_each_have_wilsons_interval() -> None:
    tests = cell(*[ListedTest(None, 0, 0.1)] * 2, *[ListedTest(None, 0, 0.9)] * 8)

    assert tests.numbers() == CaseNumbers(cases=10, first_failed=2, cases_failed=2)
    assert tests.estimate().interval is Method.WILSON


def test_a_test_whose_layer_is_unknown_makes_the_cases_unknown() -> None:
    tests = cell(ListedTest("a", 0, 0.1), ListedTest("b", None, 0.1))

    assert tests.numbers() == CaseNumbers(None, None, None)
    assert tests.estimate().interval is None


def test_questions_without_an_answer_are_no_cases_unless_they_count_as_failed() -> None:
    listed = [*named(0.1, 0.9), ListedTest("c", 0, None), ListedTest("case 0", 1, None)]

    left_out = cell(*listed, unanswered=2)
    failed = cell(*listed, unanswered=2, as_failed=True)

    assert left_out.numbers() == CaseNumbers(cases=2, first_failed=1, cases_failed=1)
    assert failed.numbers() == CaseNumbers(cases=3, first_failed=2, cases_failed=2)
    assert (failed.failed, failed.total) == (3, 4)


def test_unlisted_questions_that_count_as_failed_make_the_cases_unknown() -> None:
    # given an answer that says that two questions have no answer, but not which
    tests = cell(*named(0.1, 0.9), unanswered=2, as_failed=True)

    assert tests.numbers() == CaseNumbers(None, None, None)


@pytest.mark.parametrize(
    ("failed", "total", "numbers"),
    [
        (1, 1, CaseNumbers(1, 1, 1)),
        (0, 0, CaseNumbers(0, 0, 0)),
        (1, 3, CaseNumbers(None, None, None)),
    ],
)
def test_without_a_listing_only_a_single_test_is_known_to_be_a_case(
    failed: int, total: int, numbers: CaseNumbers
) -> None:
    tests = CellTests(failed=failed, total=total, threshold=None, listing=None)

    assert tests.numbers() == numbers


def test_a_single_case_with_several_answers_says_nothing_about_others() -> None:
    estimate = cell(ListedTest("a", 0, 0.1), ListedTest("a", 1, 0.9)).estimate()

    assert (estimate.rate, estimate.low, estimate.high) == (0.5, None, None)


def test_the_lowest_score_of_a_case_is_kept() -> None:
    by_case = cell(
        ListedTest("a", 0, 0.7), ListedTest("a", 1, 0.2), ListedTest("b", 0, 0.9)
    ).by_case()

    assert by_case is not None
    assert {name: (one.tests, one.failed, one.lowest) for name, one in by_case.items()} == {
        "a": (2, 1, 0.2),
        "b": (1, 0, 0.9),
    }
