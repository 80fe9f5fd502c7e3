import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.errors import UsageError
from engine.core.layout import Edit
from engine.core.policy import UnansweredPolicy, UnansweredRule
from engine.core.states import State
from engine.store import NewJob, NewRun, RunRow, Store
from engine.testing import FakeClock
from tests.engine.store.databases import DATABASES, Scratch
from tests.engine.store.scenes import (
    NOW,
    answer,
    begin,
    claim,
    count_tests,
    interruption,
    new_job,
    raw_answer,
    submit,
    success,
)

CELLS = "SELECT threshold, cells, state FROM job WHERE cell_count > 0 ORDER BY threshold"


def new_folded_job(*thresholds: float, name: str = "one") -> NewJob:
    """One job at the highest threshold that answers them all."""
    return new_job(name, max(thresholds), sorted(thresholds))


async def answer_all(store: Store, run: RunRow) -> list[float]:
    """Answer whatever is to be claimed; the thresholds that were sent."""
    sent = []
    for job in await claim(store, run):
        await store.queue.settle(success(job, run, answer=answer(0.1, 0.4, 0.8)))
        sent.append(job.labels["threshold"])
    return sent


async def past_of(store: Store, run: RunRow) -> dict[tuple[str, float | None], str]:
    """The cells that an earlier sweep asked for and the present one does not, and their states."""
    found: dict[tuple[str, float | None], str] = {}
    for row in [row async for row in store.reader.job_rows(run, past=True)]:
        gone = (None,) if row.threshold is None and row.is_asked is False else row.past_cells
        found |= {(row.labels["name"], cell): row.state.value for cell in gone}
    return found


def cells_of(scratch: Scratch) -> dict[float, list[float]]:
    return {threshold: json.loads(cells) for threshold, cells, _ in scratch.rows(CELLS)}


async def test_submitting_the_same_again_changes_nothing(store: Store, scratch: Scratch) -> None:
    run = await submit(store, new_job("one"), new_job("other"))
    [job] = await claim(store, run, 1)
    before = scratch.rows("SELECT * FROM job")

    again = await submit(store, new_job("one"), new_job("other"))

    assert scratch.rows("SELECT * FROM job") == before
    assert (again.id, again.generation, again.is_expanded) == (run.id, 1, True)
    assert await store.queue.settle(success(job, run))


async def test_a_cell_that_is_added_adds_its_job_alone(store: Store, scratch: Scratch) -> None:
    run = await submit(store, new_job("one"))
    await answer_all(store, run)

    await submit(store, new_job("one"), new_job("new"), sweep="second")

    assert scratch.states() == {"succeeded": 1, "pending": 1}


async def test_a_cell_that_is_removed_is_cancelled_while_answers_are_kept(
    store: Store, scratch: Scratch
) -> None:
    run = await submit(store, new_job("answered"), new_job("pending"), new_job("stays"))
    [job] = await claim(store, run, 1)
    await store.queue.settle(success(job, run))

    await submit(store, new_job("stays"), sweep="second")

    assert scratch.rows("SELECT state, error, cell_count FROM job ORDER BY id") == [
        ("succeeded", None, 0),
        ("cancelled", "removed from the sweep", 0),
        ("pending", None, 1),
    ]
    assert await raw_answer(store, job.id) is not None


async def test_a_removed_cell_that_is_back_is_sent_after_all(
    store: Store, scratch: Scratch
) -> None:
    await submit(store, new_job("one"), new_job("other"))
    await submit(store, new_job("other"), sweep="second")

    run = await submit(store, new_job("one"), new_job("other"), sweep="first")

    assert scratch.states() == {"pending": 2}
    assert [job.attempt for job in await claim(store, run)] == [1, 1]


async def test_a_job_that_the_user_cancelled_stays_cancelled_when_submitted_again(
    store: Store, scratch: Scratch
) -> None:
    run = await submit(store, new_job("one"))
    await store.queue.cancel(run.id)

    await submit(store, new_job("one"), new_job("new"), sweep="second")

    assert scratch.states() == {"cancelled": 1, "pending": 1}


async def test_an_expansion_that_was_cut_short_is_simply_done_again(
    store: Store, scratch: Scratch
) -> None:
    jobs = [new_job(number) for number in range(6)]
    half = await begin(store)
    await store.matrix.add_jobs(half, jobs[:3], reuse=False)
    assert not half.is_expanded

    run = await submit(store, *jobs)

    assert run.is_expanded
    assert scratch.rows("SELECT count(*), count(DISTINCT key) FROM job") == [(6, 6)]


PLACED = [new_job(f"{name}{repeat}", repeat=repeat) for repeat in (1, 2) for name in "abc"]
"""Three values in places 0 to 2, twice."""


async def submit_placed(store: Store) -> RunRow:
    run = await begin(store)
    await store.matrix.add_jobs(
        run, [replace(job, place=number % 3) for number, job in enumerate(PLACED)], reuse=False
    )
    await store.matrix.finish_expansion(run)
    return run


@pytest.mark.parametrize(
    ("left", "repeats_left", "kept"),
    [
        ([(0, 4, frozenset({0}))], None, ["b1", "c1", "b2", "c2"]),
        ([(0, 4, frozenset({0, 2}))], None, ["b1", "b2"]),
        ([], 1, ["a1", "b1", "c1"]),
        ([(0, 4, frozenset({1}))], 1, ["a1", "c1"]),
        ([], None, ["a1", "b1", "c1", "a2", "b2", "c2"]),
    ],
)
async def test_what_an_edit_removes_is_not_claimed_while_the_edit_is_written_out(
    store: Store,
    left: Sequence[tuple[int, int, frozenset[int]]],
    repeats_left: int | None,
    kept: Sequence[str],
) -> None:
    await submit_placed(store)
    edited = await begin(store, sweep="second")

    with store.matrix.expanding(edited):
        none = await claim(store, edited)
        await store.matrix.begin_edit(
            edited, Edit(changed={}, repeats=2, left=left, repeats_left=repeats_left)
        )
        claimed = await claim(store, edited)
        removed = await store.matrix.finish_expansion(edited)

    assert none == []
    assert [job.labels["name"] for job in claimed] == kept
    assert removed == 6 - len(kept)
    assert await claim(store, edited) == []


@pytest.mark.parametrize("is_compared", [False, True])
async def test_what_an_edit_removes_is_not_sent_once_another_process_gives_it_back(
    store: Store, *, is_compared: bool
) -> None:
    run = await submit_placed(store)
    in_flight = await claim(store, run, 1)
    edited = await begin(store, sweep="second")
    gone = Edit(changed={}, repeats=2, left=[(0, 4, frozenset({0}))], repeats_left=None)

    with store.matrix.expanding(edited):
        if is_compared:
            await store.matrix.add_jobs(
                edited, [replace(PLACED[at], place=at) for at in (1, 2)], reuse=False
            )
        else:
            await store.matrix.begin_edit(edited, gone)
        for job in in_flight:
            await store.queue.settle(interruption(job, run))
        claimed = await claim(store, edited)

    assert [job.labels["name"] for job in in_flight] == ["a1"]
    assert "a1" not in [job.labels["name"] for job in claimed]


async def test_an_edit_that_another_process_has_written_out_puts_nothing_behind(
    store: Store, scratch: Scratch
) -> None:
    await submit_placed(store)
    edited = await begin(store, sweep="second")
    edit = Edit(
        changed={"name": frozenset({0})},
        repeats=2,
        left=[(0, 4, frozenset({0}))],
        repeats_left=None,
    )
    moved = [new_job(f"new{repeat}", repeat=repeat) for repeat in (1, 2)]
    async with scratch.open(FakeClock(NOW)) as other:
        with other.matrix.expanding(edited):
            await other.matrix.begin_edit(edited, edit)
            await other.matrix.add_jobs(edited, moved, reuse=False)
            await other.matrix.finish_expansion(edited)

    with store.matrix.expanding(edited):
        await store.matrix.begin_edit(edited, edit)

    claimed = [job.labels["name"] for job in await claim(store, edited)]
    assert claimed == ["new1", "b1", "c1", "new2", "b2", "c2"]


async def test_going_back_to_the_sweep_before_a_half_written_one_expands_it_again(
    store: Store, scratch: Scratch
) -> None:
    await submit(store, new_job("one"))
    half = await begin(store, sweep="second")
    await store.matrix.add_jobs(half, [new_job("never mind")], reuse=False)

    back = await begin(store, sweep="first")
    assert not back.is_expanded
    await submit(store, new_job("one"))

    assert scratch.states() == {"pending": 1, "cancelled": 1}


async def test_the_expansion_of_a_sweep_that_was_replaced_meanwhile_changes_nothing(
    store: Store, scratch: Scratch
) -> None:
    old = await begin(store, sweep="old")
    new = await submit(store, new_job("shared"), sweep="new")

    await store.matrix.add_jobs(old, [new_job("shared"), new_job("old")], reuse=False)
    await store.matrix.finish_expansion(old)

    found = await store.reader.find_run("run")
    assert found is not None
    assert (found.digest, found.is_expanded) == ("new", True)
    assert scratch.rows("SELECT generation, state FROM job") == [(new.generation, "pending")]


async def test_a_lower_threshold_is_served_by_the_answer_that_is_there(
    store: Store, scratch: Scratch
) -> None:
    run = await submit(store, new_folded_job(0.5, 0.7))
    await answer_all(store, run)

    run = await submit(store, new_folded_job(0.3, 0.5, 0.7), sweep="second")

    assert await answer_all(store, run) == []
    assert cells_of(scratch) == {0.7: [0.3, 0.5, 0.7]}


async def test_removing_the_highest_threshold_sends_nothing_again(
    store: Store, scratch: Scratch
) -> None:
    run = await submit(store, new_folded_job(0.3, 0.5, 0.7))
    await answer_all(store, run)

    run = await submit(store, new_folded_job(0.3, 0.5), sweep="second")

    assert await answer_all(store, run) == []
    assert cells_of(scratch) == {0.7: [0.3, 0.5]}
    assert await past_of(store, run) == {("one", 0.7): "succeeded"}


async def test_a_higher_threshold_sends_one_job_for_the_new_cells_alone(
    store: Store, scratch: Scratch
) -> None:
    run = await submit(store, new_folded_job(0.3, 0.5))
    await answer_all(store, run)

    run = await submit(store, new_folded_job(0.3, 0.5, 0.7, 0.9), sweep="second")

    assert await answer_all(store, run) == [0.9]
    assert cells_of(scratch) == {0.5: [0.3, 0.5], 0.9: [0.7, 0.9]}


async def test_a_job_answered_while_its_sweep_was_being_replaced_keeps_no_cell_of_another(
    store: Store, scratch: Scratch
) -> None:
    old = await submit(store, new_folded_job(0.3, 0.7))
    [job] = await claim(store, old)
    new = await begin(store, sweep="second")
    await store.matrix.add_jobs(new, [new_folded_job(0.3, 0.9)], reuse=False)

    await store.queue.settle(success(job, old))
    await store.matrix.finish_expansion(new)

    assert cells_of(scratch) == {0.9: [0.3, 0.9]}
    assert await past_of(store, new) == {("one", 0.7): "succeeded"}


async def test_never_folding_has_each_threshold_measured_by_its_own_job(
    store: Store, scratch: Scratch
) -> None:
    run = await submit(store, new_folded_job(0.3, 0.7))
    await answer_all(store, run)

    run = await submit(
        store,
        new_job("one", 0.3, [0.3], folds=False),
        new_job("one", 0.7, [0.7], folds=False),
        sweep="second",
    )

    assert await answer_all(store, run) == [0.3]
    assert cells_of(scratch) == {0.3: [0.3], 0.7: [0.7]}


async def test_an_answer_of_another_run_is_reused_and_says_so(
    store: Store, scratch: Scratch
) -> None:
    first = await submit(store, new_job("one"), name="first")
    [job] = await claim(store, first)
    await store.queue.settle(success(job, first, answer=answer(0.1, 0.9, raw=b"the very bytes")))
    assert await store.reader.has_other_runs(await begin(store, "second"))

    second = await submit(store, new_job("one"), new_job("new"), name="second", reuse=True)
    third = await submit(store, new_job("one"), name="third", reuse=True)

    reused = [row async for row in store.reader.job_rows(second)]
    assert [(row.state, row.reused, row.passed, row.failed) for row in reused] == [
        ("succeeded", True, 1, 1),
        ("pending", False, None, None),
    ]
    assert await raw_answer(store, reused[0].id) == b"the very bytes"
    # The source is where the bytes are, not the run that reused them before.
    assert scratch.rows("SELECT DISTINCT reused_from FROM result WHERE job_id != ?", job.id) == [
        (job.id,)
    ]
    assert count_tests(await store.reader.totals(third.id)) == (1, 1)


async def test_reuse_can_be_refused(store: Store) -> None:
    first = await submit(store, new_job("one"), name="first")
    await answer_all(store, first)

    second = await submit(store, new_job("one"), name="second", reuse=False)

    assert len(await claim(store, second)) == 1


async def _with_answer(store: Store, name: str, *scores: float, empty: int = 0) -> RunRow:
    run = await submit(store, new_job("one"), name=name)
    [job] = await claim(store, run)
    given = answer(*scores, empty=empty) if empty else answer(*scores)
    await store.queue.settle(success(job, run, answer=given))
    return run


async def test_an_answer_without_gaps_is_reused_before_one_that_has_some(store: Store) -> None:
    await _with_answer(store, "whole", 0.6, 0.7, 0.8, 0.9, 0.9)
    await _with_answer(store, "with a gap", 0.6, 0.7, 0.8, 0.9, empty=1)

    third = await submit(store, new_job("one"), name="third", reuse=True)

    [row] = [row async for row in store.reader.job_rows(third)]
    assert (row.passed, dict(row.unanswered)) == (5, {})


async def test_an_answer_with_more_gaps_than_the_run_allows_is_not_reused(store: Store) -> None:
    await _with_answer(store, "with a gap", 0.6, 0.7, 0.8, 0.9, empty=1)
    strict = await begin(store, "strict")

    await store.matrix.add_jobs(
        strict,
        [new_job("one")],
        reuse=True,
        unanswered=UnansweredPolicy(rule=UnansweredRule.FAIL_JOB),
    )

    assert len(await claim(store, strict)) == 1


async def test_a_job_that_is_asked_again_keeps_its_answer_when_its_sweep_changes(
    store: Store,
) -> None:
    await _with_answer(store, "other", 0.9)
    run = await _with_answer(store, "run", 0.6, 0.7, 0.8, 0.9, empty=1)
    await store.queue.requeue(run.id, [State.SUCCEEDED])

    await submit(store, new_job("one"), new_job("added"), sweep="second", reuse=True)

    asked = [job.labels["name"] for job in await claim(store, run)]
    [row, _] = [row async for row in store.reader.job_rows(run)]
    assert (asked, row.passed, row.reused) == (["one", "added"], 4, False)


async def test_a_removed_cell_that_is_asked_again_keeps_its_answer(store: Store) -> None:
    run = await _with_answer(store, "run", 0.6, 0.7, 0.8, 0.9, empty=1)
    await store.queue.requeue(run.id, [State.SUCCEEDED])

    await submit(store, new_job("another"), sweep="second")

    found = [row async for row in store.reader.job_rows(run, past=True)]
    assert [(row.state, row.passed, row.is_asked) for row in found] == [
        ("pending", None, True),
        ("succeeded", 4, False),
    ]


async def test_an_answer_that_is_asked_again_stays_if_its_cell_is_removed_meanwhile(
    store: Store, scratch: Scratch
) -> None:
    run = await _with_answer(store, "run", 0.6, 0.7, 0.8, 0.9, empty=1)
    await store.queue.requeue(run.id, [State.SUCCEEDED])
    [again] = await claim(store, run)
    await submit(store, new_job("another"), sweep="second")

    await store.queue.settle(interruption(again, run))

    assert scratch.rows("SELECT state, error FROM job ORDER BY id LIMIT 1") == [("succeeded", None)]


async def test_a_threshold_is_past_while_it_is_removed_and_asked_for_when_it_is_back(
    store: Store, scratch: Scratch
) -> None:
    run = await submit(store, new_folded_job(0.3, 0.5, 0.7))
    await answer_all(store, run)

    run = await submit(store, new_folded_job(0.5), sweep="second")
    between = cells_of(scratch), await past_of(store, run)
    run = await submit(store, new_folded_job(0.3, 0.5, 0.7), sweep="first")

    assert between == ({0.7: [0.5]}, {("one", 0.3): "succeeded", ("one", 0.7): "succeeded"})
    assert (cells_of(scratch), await past_of(store, run)) == ({0.7: [0.3, 0.5, 0.7]}, {})
    assert await answer_all(store, run) == []


async def test_what_was_removed_before_it_had_an_answer_is_past_as_well(
    store: Store, scratch: Scratch
) -> None:
    await submit(
        store, new_folded_job(0.3, 0.7), new_folded_job(0.3, 0.7, name="other"), new_job("plain")
    )

    run = await submit(store, new_folded_job(0.3, 0.5), sweep="second")

    assert await past_of(store, run) == {
        ("one", 0.7): "cancelled",
        ("other", 0.3): "cancelled",
        ("other", 0.7): "cancelled",
        ("plain", None): "cancelled",
    }
    assert cells_of(scratch) == {0.5: [0.3, 0.5]}


async def test_whether_an_old_cell_is_asked_for_is_not_known_before_the_sweep_is_written_out(
    store: Store,
) -> None:
    await submit(store, new_job("one"), new_job("other"))

    half = await begin(store, sweep="second")
    await store.matrix.add_jobs(half, [new_job("one"), new_job("new")], reuse=False)

    known = {
        row.labels["name"]: row.is_asked for row in [r async for r in store.reader.job_rows(half)]
    }
    assert known == {"one": None, "other": None, "new": True}


async def test_a_run_of_another_evaluation_is_not_taken_over(store: Store) -> None:
    await begin(store)

    with pytest.raises(UsageError, match="has the evaluation scripted, the sweep has multi_turn"):
        await store.runs.begin(
            NewRun(
                name="run",
                service="scripted",
                evaluation="multi_turn",
                target="system_prompt",
                identity="here",
                sweep={},
                digest="other",
                facts=(),
            )
        )


async def test_documents_are_kept_once_by_their_digests(store: Store) -> None:
    await store.matrix.add_documents({"a": {"text": "long"}, "b": "short"})
    await store.matrix.add_documents({"a": {"text": "long"}})

    assert await store.reader.documents(["a", "b", "missing"]) == {
        "a": {"text": "long"},
        "b": "short",
    }


LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
families = st.sampled_from(["x", "y"])
sweeps = st.dictionaries(families, st.sets(st.sampled_from(LEVELS), min_size=1), min_size=1)
steps = st.lists(
    st.tuples(
        sweeps,
        st.booleans(),  # whether each threshold is measured by itself
        st.integers(0, 2),  # jobs claimed and answered before the expansion,
        st.integers(0, 2),  # half-way through it
        st.integers(0, 3),  # and after it
        st.booleans(),  # whether the expansion is cut short
        st.booleans(),  # whether everything is asked again
    ),
    min_size=1,
    max_size=5,
)


def jobs_for(sweep: dict[str, set[float]], separate: bool) -> list[NewJob]:
    if separate:
        return [
            new_job(name, level, [level], folds=False)
            for name, levels in sorted(sweep.items())
            for level in sorted(levels)
        ]
    return [new_folded_job(*levels, name=name) for name, levels in sorted(sweep.items())]


@pytest.mark.parametrize("database", DATABASES)
@settings(max_examples=16, deadline=None)
@given(steps)
def test_whatever_is_submitted_and_answered_each_cell_asked_for_is_there_exactly_once(
    database: str,
    script: list[tuple[dict[str, set[float]], bool, int, int, int, bool, bool]],
) -> None:
    async def play(folder: Path) -> None:
        clock = FakeClock(NOW)
        async with clock.jumping(), DATABASES[database](folder).open(clock) as store:
            run = await begin(store, sweep="nothing yet")
            once: set[tuple[str, float]] = set()
            for number, (sweep, separate, before, within, after, is_cut, is_fresh) in enumerate(
                script
            ):
                jobs = jobs_for(sweep, separate)
                await answer_some(store, run, before, now=clock.now())
                await clock.sleep(1.0)
                run = await begin(store, sweep=f"sweep {number}", is_fresh=is_fresh)
                half = len(jobs) // 2 + 1
                await store.matrix.add_jobs(run, jobs[:half], reuse=False)
                await answer_some(store, run, within, now=clock.now())
                if is_cut:
                    once |= {
                        (one.labels["name"], cell) for one in jobs[:half] for cell in one.cells
                    }
                    continue
                await store.matrix.add_jobs(run, jobs[half:], reuse=False)
                await store.matrix.finish_expansion(run)
                await answer_some(store, run, after, now=clock.now())

                jobs_now = [row async for row in store.reader.job_rows(run, past=True)]
                found = Counter(
                    (row.labels["name"], cell) for row in jobs_now for cell in row.cells
                )
                past = Counter(
                    (row.labels["name"], cell) for row in jobs_now for cell in row.past_cells
                )
                asked = {(name, level) for name, levels in sweep.items() for level in levels}
                once |= asked
                assert max((found + past).values()) == 1, (found, past)
                assert (set(found), set(past)) == (asked, once - asked)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder)))


async def test_what_is_answered_while_all_is_asked_again_is_not_asked_once_more(
    store: Store,
    clock: FakeClock,
) -> None:
    jobs = [new_folded_job(0.5, name=name) for name in ("answered", "open", "then")]
    run = await submit(store, *jobs)
    [before] = await claim(store, run, 1)
    await store.queue.settle(success(before, run))
    async with clock.jumping():
        await clock.sleep(60.0)

    fresh = await begin(store, is_fresh=True)
    # It is still in line as it was, ahead of the matrix.
    [meanwhile] = await claim(store, fresh, 1)
    await store.queue.settle(success(meanwhile, fresh, now=clock.now()))
    held = await store.reader.survey(fresh, jobs, reuse=False, unanswered=UnansweredPolicy())
    await store.matrix.add_jobs(fresh, jobs, reuse=False)
    await store.matrix.finish_expansion(fresh)

    assert meanwhile.labels["name"] == "open"
    assert [(one.kept.answered, one.to_ask) for one, _ in held] == [(0, 1), (1, 0), (0, 1)]
    again = [job.labels["name"] for job in await claim(store, fresh)]
    assert sorted(again) == ["answered", "then"]
    assert [job.attempt for job in await claim(store, fresh)] == []


async def answer_some(store: Store, run: RunRow, count: int, *, now: float) -> None:
    for job in await claim(store, run, count):
        await store.queue.settle(success(job, run, now=now))
