"""95 % intervals hold the true value as often as is promised, in simulated answers."""

from collections import defaultdict

import pytest

from tests.engine.core.statistics.simulation import (
    Coverage,
    Design,
    cover_difference,
    cover_rate,
    designs,
)

CASES, REPEATS, CORRELATIONS = (12, 24, 60, 200), (1, 3, 5), (0.1, 0.7)
ROUNDS = 120
"""For each combination: each rate of the simulation twenty times."""
PAIRED_ROUNDS = 36
"""For each combination: each pair of rates six times, with independent and with related models."""
SEED = 1


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_the_interval_of_a_rate_holds_it_in_94_percent(layers: int) -> None:
    levels: defaultdict[str, Coverage] = defaultdict(Coverage)
    for design in designs(CASES, REPEATS, CORRELATIONS, (layers,)):
        merge(levels, design, cover_rate(design, ROUNDS, SEED))

    assert {level: one.share for level, one in levels.items() if one.share < 0.94} == {}


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_the_interval_of_a_paired_difference_holds_it_in_93_percent(layers: int) -> None:
    levels: defaultdict[str, Coverage] = defaultdict(Coverage)
    for design in designs(CASES, REPEATS, CORRELATIONS, (layers,)):
        merge(levels, design, cover_difference(design, PAIRED_ROUNDS, SEED))

    assert {level: one.share for level, one in levels.items() if one.share < 0.93} == {}


def merge(levels: defaultdict[str, Coverage], design: Design, found: Coverage) -> None:
    """Add a combination to the sums over all that have as many cases, repeats or its correlation."""
    for level in (
        f"{design.cases} cases",
        f"{design.repeats} repeats",
        f"correlation {design.correlation}",
    ):
        levels[level].merge(found)


@pytest.mark.parametrize("layers", [1, 2])
def test_layered_answers_of_many_cases_have_an_interval_that_tells_something(layers: int) -> None:
    design = Design(cases=200, repeats=1, correlation=0.4, layers=layers)

    found = cover_rate(design, ROUNDS, SEED)

    assert found.given == ROUNDS
    assert found.width / found.given < 0.25


def test_many_repeats_of_few_cases_do_not_make_the_difference_surer_than_the_cases() -> None:
    design = Design(cases=12, repeats=30, correlation=0.5, layers=0)

    found = cover_difference(design, 480, SEED, [(0.05, 0.15)])

    assert found.share >= 0.93
