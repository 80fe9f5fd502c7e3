"""In which order jobs are claimed: that of the file, repeat by repeat, whatever became of some of them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.store import Claimed, NewJob, QuotaKey, RunRow, Store
from engine.testing import FakeClock
from tests.engine.store.databases import DATABASES, Scratch
from tests.engine.store.scenes import (
    LANE,
    NOW,
    answer,
    begin,
    claim,
    grants,
    interruption,
    later_retry,
    new_job,
    submit,
    success,
)

TESTS = QuotaKey(name="run", period="2027-01")


def matrix(
    groups: Sequence[str], *, lanes: Sequence[str] = (LANE,), repeats: int = 1, **more: Any
) -> list[NewJob]:
    """The jobs of a file with these lanes and groups: each group is a cost class."""
    return [
        new_job(
            f"{lane} {group} {repeat}",
            lane=lane,
            cost_class=group,
            repeat=repeat,
            place=place,
            **more,
        )
        for repeat in range(1, repeats + 1)
        for place, (lane, group) in enumerate(product(lanes, groups))
    ]


async def ask(store: Store, jobs: Iterable[NewJob], sweep: str = "first") -> RunRow:
    run = await begin(store, sweep=sweep)
    await store.matrix.add_jobs(run, list(jobs), reuse=False)
    await store.matrix.finish_expansion(run)
    found = await store.reader.find_run(run.name)
    assert found is not None
    return found


def names(claimed: Iterable[Claimed]) -> list[str]:
    return [str(job.labels["name"]) for job in claimed]


async def test_groups_are_sent_in_the_order_of_the_file_and_repeat_by_repeat(store: Store) -> None:
    run = await ask(store, matrix(["z", "a", "m"], repeats=2))

    found = [await claim(store, run, count, classes=("a", "m", "z")) for count in (1, 2, 2, 9)]

    assert [names(jobs) for jobs in found] == [
        ["model z 1"],
        ["model a 1", "model m 1"],
        ["model z 2", "model a 2"],
        ["model m 2"],
    ]


async def test_a_job_that_is_due_again_has_the_turn_that_it_had(store: Store) -> None:
    run = await ask(store, matrix(["b", "a"], repeats=3))
    first, second = await claim(store, run, 2, classes=("a", "b"))
    await store.queue.settle(later_retry(first, run, due_at=NOW + 30))
    await store.queue.settle(interruption(second, run))

    early = await claim(store, run, 2, classes=("a", "b"), now=NOW + 29)
    late = await claim(store, run, 2, classes=("a", "b"), now=NOW + 30)

    assert names(early) == ["model a 1", "model b 2"]
    assert names(late) == ["model b 1", "model a 2"]


async def test_an_edited_file_has_the_order_that_it_has_now(store: Store) -> None:
    run = await ask(store, matrix(["a", "b"], repeats=2))
    await claim(store, run, 1, classes=("a", "b"))

    await ask(store, matrix(["c", "b", "a"], repeats=2), sweep="reordered")

    found = await claim(store, run, classes=("a", "b", "c"))
    assert names(found) == ["model c 1", "model b 1", "model c 2", "model b 2", "model a 2"]


async def test_what_an_edit_has_not_reached_yet_is_not_sent(store: Store) -> None:
    run = await ask(store, matrix(["a", "b", "c"], repeats=2))
    edited = matrix(["c", "a"], repeats=2)
    found = []

    half = await begin(store, sweep="reordered, without b")
    with store.matrix.expanding(half):
        found.append(await claim(store, run, classes=("a", "b", "c")))
        for job in edited[:3]:
            await store.matrix.add_jobs(half, [job], reuse=False)
            found.append(await claim(store, run, classes=("a", "b", "c")))
        await store.matrix.add_jobs(half, edited[3:], reuse=False)
        await store.matrix.finish_expansion(half)
    found.append(await claim(store, run, classes=("a", "b", "c")))

    assert list(map(names, found)) == [
        [],
        ["model c 1"],
        ["model a 1"],
        ["model c 2"],
        ["model a 2"],
    ]


async def test_an_edit_that_was_cut_short_is_no_obstacle_once_another_process_has_finished_it(
    store: Store, scratch: Scratch
) -> None:
    run = await ask(store, matrix(["a", "b"]))
    half = await begin(store, sweep="reordered")
    with store.matrix.expanding(half):
        await store.matrix.add_jobs(half, matrix(["b", "a"])[:1], reuse=False)

    async with scratch.open(FakeClock(NOW)) as other:
        await other.matrix.add_jobs(half, matrix(["b", "a"]), reuse=False)
        await other.matrix.finish_expansion(half)

    assert names(await claim(store, run, classes=("a", "b"))) == ["model b 1", "model a 1"]


async def test_an_answer_that_serves_another_threshold_stands_where_the_file_has_that(
    store: Store,
) -> None:
    run = await submit(store, new_job("b", 0.7), new_job("a", 0.7))
    for job in await claim(store, run):
        await store.queue.settle(success(job, run))

    await submit(
        store, new_job("new", 0.5), new_job("a", 0.5), new_job("b", 0.5), sweep="lower threshold"
    )

    found = [row async for row in store.reader.job_rows(run)]
    assert [(row.labels["name"], row.threshold) for row in found] == [
        ("new", 0.5),
        ("a", 0.7),
        ("b", 0.7),
    ]


async def test_rows_come_in_the_order_of_the_file_with_repeats_side_by_side(store: Store) -> None:
    run = await ask(store, matrix(["z", "a"], repeats=2))
    await ask(store, matrix(["m", "a", "z"], repeats=2), sweep="reordered")

    found = [row.labels["name"] async for row in store.reader.job_rows(run)]

    assert found == [f"model {group} {repeat}" for group in "maz" for repeat in (1, 2)]


async def test_a_class_that_quota_refuses_stops_no_other(store: Store) -> None:
    await store.limits.set_cap(TESTS, allotted=30)
    jobs = matrix(["dear", "cheap"], repeats=3)
    run = await ask(store, (_costing(job, 50 if job.cost_class == "dear" else 10) for job in jobs))

    [grant] = await grants(store, run, classes=("cheap", "dear"), quotas=[TESTS])

    assert names(grant.jobs) == ["model cheap 1", "model cheap 2", "model cheap 3"]
    assert grant.why == "quota"


@pytest.mark.parametrize(
    ("cost", "then"), [(10, ["model second 1", "model cheap 1"]), (40, ["model cheap 1"])]
)
async def test_what_is_first_keeps_its_turn_while_requests_in_flight_may_leave_enough_for_it(
    store: Store, cost: int, then: list[str]
) -> None:
    await store.limits.set_cap(TESTS, allotted=80)
    first, second, cheap = matrix(["first", "second", "cheap"])
    classes = ("cheap", "first", "second")
    run = await ask(store, (_costing(first, 40), _costing(second, 50), _costing(cheap, 5)))
    [job] = await claim(store, run, 1, classes=classes, quotas=[TESTS])

    [meanwhile] = await grants(store, run, classes=classes, quotas=[TESTS])
    await store.queue.settle(success(job, run, reserved=True, answer=answer(*[0.9] * cost)))

    assert (meanwhile.jobs, meanwhile.why) == ((), "quota")
    assert names(await claim(store, run, classes=classes, quotas=[TESTS])) == then


def _costing(job: NewJob, tests: int) -> NewJob:
    return replace(job, expected_tests=tests)


GROUPS = ["z", "a", "m", "b"]
moves = st.lists(
    st.tuples(
        st.sampled_from(["x", "y"]),
        st.integers(1, 5),
        st.lists(st.sampled_from(["answered", "retried", "given back", "in flight"]), max_size=5),
    ),
    max_size=12,
)


@pytest.mark.parametrize("database", DATABASES)
@settings(max_examples=25, deadline=None)
@given(
    st.permutations(GROUPS),
    st.integers(1, 3),
    st.none() | st.integers(0, 12),
    moves,
)
def test_what_a_run_that_is_cut_short_has_sent_is_the_beginning_of_its_file_in_each_lane(
    database: str,
    groups: list[str],
    repeats: int,
    jobs_allowed: int | None,
    script: list[tuple[str, int, list[str]]],
) -> None:
    jobs = matrix(groups, lanes=["x", "y"], repeats=repeats, expected_tests=7)
    sent: dict[str, set[str]] = {"x": set(), "y": set()}

    async def play(folder: Path) -> None:
        async with DATABASES[database](folder).open(FakeClock(NOW)) as store:
            quotas = [] if jobs_allowed is None else [TESTS]
            if jobs_allowed is not None:
                await store.limits.set_cap(TESTS, allotted=7 * jobs_allowed)
            run = await ask(store, jobs)
            for hour, (lane, count, ends) in enumerate(script):
                claimed = await claim(
                    store,
                    run,
                    count,
                    lanes=[lane],
                    classes=sorted(groups),
                    quotas=quotas,
                    now=NOW + 60 * hour,
                )
                sent[lane] |= set(names(claimed))
                for job, end in zip(claimed, ends, strict=False):
                    more: dict[str, Any] = {"reserved": bool(quotas)}
                    if end == "answered":
                        await store.queue.settle(
                            success(job, run, answer=answer(*[0.9] * 7), **more)
                        )
                    elif end == "retried":
                        due_at = NOW + 60 * hour + 90
                        await store.queue.settle(
                            later_retry(job, run, due_at=due_at, charged=False, **more)
                        )
                    elif end == "given back":
                        await store.queue.settle(interruption(job, run, **more))

    with TemporaryDirectory() as folder:
        anyio.run(play, Path(folder))

    for lane, found in sent.items():
        in_order = [str(job.labels["name"]) for job in jobs if job.lane == lane]
        assert found == set(in_order[: len(found)])
