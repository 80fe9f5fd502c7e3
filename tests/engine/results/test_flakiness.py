"""The flakiest cases of a run."""

from engine.results.flakiness import find_flaky
from tests.engine.results.observed import layered, named, observations

FAILED, PASSED = 0.2, 0.8


def test_the_cases_nearest_to_one_half_are_listed_and_of_equal_ones_the_first() -> None:
    rarely = [FAILED, *[PASSED] * 3]
    half = [FAILED, PASSED, FAILED, PASSED]
    seen = observations(
        named({"rarely": rarely, "half": half}),
        named({"half": half, "never": [PASSED] * 4, "other": half}, model="b"),
    )

    found = find_flaky(seen, 0.5, most=2)

    assert [(one.labels["model"], one.case, one.failed, one.answers) for one in found.flaky] == [
        ("a", "half", 2, 4),
        ("b", "half", 2, 4),
    ]
    assert (found.always, found.sometimes, found.never) == (0, 4, 1)


def test_variations_are_no_repeats() -> None:
    seen = observations(layered({"once": [FAILED, PASSED]}), named({"twice": [FAILED] * 2}))

    found = find_flaky(seen, 0.5)

    assert (found.always, found.sometimes, found.never) == (1, 0, 0)
