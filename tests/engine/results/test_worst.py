"""Keeping the worst findings of a run, however many it has."""

import gc
import weakref
from collections.abc import AsyncIterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from engine.core.findings import Finding
from engine.results.worst import WorstCollector, collect_worst, size_of
from tests.engine.report.reports import finding


def kept_of(scores: list[float | None], room_for: int) -> list[float | None]:
    collector = WorstCollector(room_for * size_of(finding(0)))
    for number, score in enumerate(scores):
        collector.add(finding(number % 10, score=score))
    assert collector.total == len(scores)
    return [one.score for one in collector.kept()]


def test_the_lowest_scores_are_kept_and_come_first() -> None:
    assert kept_of([0.4, 0.1, 0.3, 0.2, 0.5], room_for=3) == [0.1, 0.2, 0.3]


def test_findings_without_a_score_come_last() -> None:
    assert kept_of([None, 0.4, None, 0.1], room_for=4) == [0.1, 0.4, None, None]
    assert kept_of([None, 0.4, None, 0.1], room_for=2) == [0.1, 0.4]


def test_of_equal_scores_the_first_of_the_run_are_kept() -> None:
    size = size_of(finding(0))
    collector = WorstCollector(2 * size)
    for number in range(5):
        collector.add(finding(number, score=0.1))

    assert [one.job for one in collector.kept()] == [1, 2]


def test_a_finding_larger_than_everything_is_kept_if_it_is_the_worst() -> None:
    collector = WorstCollector(1_000)
    huge: Finding = finding(1, "x" * 5_000, score=0.0)
    for one in (finding(0, score=0.3), huge, finding(2, score=0.2)):
        collector.add(one)

    assert collector.kept() == (huge,)
    assert collector.total == 3


async def each(scores: Sequence[float | None]) -> AsyncIterator[Finding]:
    for number, score in enumerate(scores):
        yield finding(number, score=score)


@given(st.lists(st.none() | st.sampled_from([0.0, 0.1, 0.5, 1.0]), max_size=12), st.integers(1, 6))
async def test_no_more_than_a_number_of_them_are_kept(
    scores: list[float | None], count: int
) -> None:
    everything = [one async for one in each(scores)]

    found = await collect_worst(each(scores), count=count)

    in_order = sorted(
        range(len(scores)), key=lambda at: (2.0 if (score := scores[at]) is None else score, at)
    )
    assert found.kept() == tuple(everything[at] for at in in_order[:count])
    assert found.total == len(scores)


async def test_no_more_findings_are_held_than_are_wanted() -> None:
    class Watched(str):
        __slots__ = ("__weakref__",)

    alive: weakref.WeakSet[Watched] = weakref.WeakSet()
    most = 0

    async def stored() -> AsyncIterator[Finding]:
        nonlocal most
        for number in range(500):
            case = Watched(f"case-{number}")
            alive.add(case)
            yield finding(0, score=1 - number / 1_000, case=case)
            del case
            if number % 100 == 0:
                gc.collect()
            most = max(most, len(alive))

    found = await collect_worst(stored(), count=5)

    assert len(found.kept()) == 5
    assert most <= 8
