"""Pairs of values compared over the cells and cases that both have, against a count of each pair on its own."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.samples import Setting
from engine.core.statistics import Counts, compare_pairs
from engine.results.pairs import pairs_of
from tests.engine.results.observed import answered, layered, named, observations, unanswered

CASES = ("a", "b", "c")
THRESHOLD = 0.5

Cell = Mapping[str, Sequence[float]]
"""The scores of each case, one for each repeat."""

CELLS = st.dictionaries(
    st.sampled_from(CASES), st.lists(st.sampled_from([0.2, 0.8]), min_size=1, max_size=2)
)
"""Cells in which some cases were asked, some of them twice, or none."""


def setting_of(cell: Cell, model: str, prompt: str) -> Setting:
    if cell:
        return named(cell, model=model, group="x", prompt=prompt)
    return unanswered(model=model, group="x", prompt=prompt)


def count_shared(one: Mapping[str, Cell], other: Mapping[str, Cell]) -> list[tuple[Counts, Counts]]:
    """(failed, total) answers of each case on either side, over the prompts for which both have it."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for prompt in one.keys() & other.keys():
        for case in one[prompt].keys() & other[prompt].keys():
            for at, cell in enumerate((one[prompt], other[prompt])):
                counts[case][2 * at] += sum(score < THRESHOLD for score in cell[case])
                counts[case][2 * at + 1] += len(cell[case])
    return [((a, b), (c, d)) for a, b, c, d in counts.values()]


@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=2, max_size=3))
def test_each_pair_is_compared_over_the_cases_that_both_were_asked_in_the_same_cells(
    models: list[list[Cell]],
) -> None:
    cells = {
        f"model {number}": {f"prompt {at}": cell for at, cell in enumerate(of)}
        for number, of in enumerate(models)
    }
    seen = observations(
        *(
            setting_of(cell, model, prompt)
            for model, of in cells.items()
            for prompt, cell in of.items()
        )
    )
    seen.axes = ("model", "group", "prompt")

    found = {(one.a, one.b): one for one in pairs_of(seen, "model")}

    names = list(cells)
    for a, b in ((a, b) for at, a in enumerate(names) for b in names[at + 1 :]):
        expected = compare_pairs(count_shared(cells[a], cells[b]))
        if expected is None:
            assert (a, b) not in found
            continue
        one = found[a, b]
        assert one.cases == expected.cases
        assert (one.rate_a, one.rate_b, one.p) == pytest.approx(
            (expected.rate_a, expected.rate_b, expected.p)
        )


def test_variations_and_answers_without_names_are_no_first_answers_of_a_case() -> None:
    layers = {"a": [0.2, 0.8], "b": [0.8, 0.2]}
    of_a, of_b = layered(layers), named({"a": [0.8], "b": [0.8]}, model="b")
    nothing = [answered(3, 4, model=model, group="y") for model in "ab"]

    [found] = pairs_of(observations(of_a, of_b, *nothing), "model")

    assert (found.cases, found.rate_a, found.rate_b) == (2, 0.5, 0.0)
