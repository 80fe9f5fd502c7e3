"""The tests that an answer lists, and how they are kept."""

from hypothesis import given
from hypothesis import strategies as st

from engine.core.listed_tests import (
    ListedTest,
    Listing,
    count_listed_cases,
    is_of_layers,
    read_round,
)

TESTS = st.builds(
    ListedTest,
    st.none() | st.text(st.characters(codec=None)),
    st.none() | st.integers(0, 3),
    st.none() | st.floats(0, 1),
)
LISTINGS = st.builds(
    Listing,
    tests=st.lists(TESTS).map(tuple),
    cases=st.none() | st.integers(0),
    is_layered=st.booleans(),
)


@given(LISTINGS)
def test_a_listing_is_read_as_it_was_kept(listing: Listing) -> None:
    text = listing.encode()

    assert Listing.decode(text) == listing
    assert count_listed_cases(text) == listing.cases
    assert is_of_layers(text) is listing.is_layered
    # Any database takes it, whatever an answer calls its cases.
    assert text.isascii()


@given(LISTINGS)
def test_a_round_has_one_first_answer_to_each_of_its_cases(listing: Listing) -> None:
    found = read_round(listing.encode())

    tests = listing.tests
    names = {test.case for test in tests if test.layer == 0 and test.score is not None}
    if tests and None not in names and len(names) == len(tests) == listing.cases:
        assert found is not None
        assert tests == tuple(map(ListedTest, found.names, [0] * len(tests), found.scores))
        assert found.is_layered is listing.is_layered
    else:
        assert found is None


@given(st.lists(st.text(), unique=True, min_size=1), st.booleans())
def test_an_answer_with_one_test_for_each_case_is_a_round(names: list[str], layered: bool) -> None:
    tests = [ListedTest(name, 0, 0.5) for name in names]

    found = read_round(Listing.of(tests, is_layered=layered).encode())

    assert found == (tuple(names), [0.5] * len(names), layered)


def test_a_usual_answer_takes_few_bytes() -> None:
    tests = [ListedTest(f"minors-{n:02}", 0, n / 10) for n in range(8)]

    assert len(Listing.of(tests).encode()) < 150


def test_cases_are_those_of_the_first_layer_by_name() -> None:
    tests = [ListedTest("a", 0, 0.1), ListedTest("b", 0, 0.9), ListedTest("a", 1, 0.1)]

    assert Listing.of(tests).cases == 2
    assert Listing.of([ListedTest("a", 0, 0.1), ListedTest("a", 0, 0.2)]).cases == 1


def test_unnamed_tests_of_the_first_layer_are_cases_of_their_own() -> None:
    assert Listing.of([ListedTest(None, 0, 0.1), ListedTest(None, 0, 0.1)]).cases == 2


def test_a_question_without_an_answer_is_no_case() -> None:
    assert Listing.of([ListedTest("a", 0, 0.1), ListedTest("b", 0, None)]).cases == 1


def test_an_unknown_layer_makes_the_number_of_cases_unknown() -> None:
    assert Listing.of([ListedTest("a", None, 0.1)]).cases is None
