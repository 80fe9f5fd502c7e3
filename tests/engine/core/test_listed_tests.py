"""The tests that an answer lists, and how they are kept."""

from hypothesis import given
from hypothesis import strategies as st

from engine.core.listed_tests import ListedTest, Listing, count_listed_cases, is_of_layers

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
