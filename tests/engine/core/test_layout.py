"""Where jobs stand over the edits of a matrix, and which of them an edit concerns."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.axes import AxisValue, TextAxis
from engine.core.layout import Edit, Layout, assign_ranks, edit_of, layout_of
from engine.core.matrix import JobSpec, Matrix
from tests.engine.core.test_matrix import MODEL, PROMPT, THRESHOLD, Rules, axis

RULES = ["exact", True]


def matrix(
    models: Iterable[str] = "abc",
    prompts: Iterable[str] = "pqr",
    *,
    thresholds: Iterable[float] = (0.5,),
    **more: Any,
) -> Matrix:
    axes = axis(MODEL, *models), axis(PROMPT, *prompts), axis(THRESHOLD, *thresholds)
    return Matrix(axes=axes, folded_field="threshold", **more)


def first(of: Matrix) -> tuple[Matrix, Layout]:
    placed = assign_ranks(of, None, is_new=True)
    layout = layout_of(placed, RULES)
    assert layout is not None
    return placed, Layout.restore(layout.dump())


def after(of: Matrix, before: Layout, rules: Any = RULES) -> tuple[Matrix, Layout, Edit | None]:
    placed = assign_ranks(of, before, is_new=False)
    layout = layout_of(placed, rules)
    assert layout is not None
    return placed, layout, edit_of(placed, before, layout)


def jobs(of: Matrix, edit: Edit | None = None) -> list[JobSpec]:
    changed, repeats = (None, 0) if edit is None else (edit.changed, edit.repeats)
    return list(of.jobs(Rules(), fold="exact", identity="", changed=changed, repeats=repeats))


def is_left(job: JobSpec, edit: Edit) -> bool:
    return any(job.place >> bit & ((1 << bits) - 1) in ranks for bit, bits, ranks in edit.left) or (
        edit.repeats_left is not None and job.repeat > edit.repeats_left
    )


values = st.lists(st.sampled_from("abcdef"), min_size=1, unique=True)
blocks = st.lists(
    st.dictionaries(
        st.sampled_from(["model", "prompt"]),
        st.just(frozenset({0})) | st.just(frozenset({0, 1})),
        min_size=1,
    ),
    max_size=2,
)
matrices = st.builds(
    lambda models, prompts, thresholds, repeats, excluded: matrix(
        models,
        prompts,
        thresholds=thresholds,
        repeats=repeats,
        excluded=[
            {
                field: frozenset(
                    place
                    for place in places
                    if place < len(models if field == "model" else prompts)
                )
                for field, places in block.items()
            }
            for block in excluded
        ],
    ),
    values,
    values,
    st.sampled_from([(0.5,), (0.5, 0.7)]),
    st.integers(1, 2),
    blocks,
)


@given(st.lists(matrices, min_size=2, max_size=5))
def test_an_edit_names_all_jobs_that_are_new_otherwise_or_gone_and_every_other_stays_as_it_is(
    sweeps: list[Matrix],
) -> None:
    old, before = first(sweeps[0])
    for sweep in sweeps[1:]:
        new, now, edit = after(sweep, before)
        found = {job.key: job for job in jobs(new)}

        places = [(job.repeat, job.place) for job in jobs(new)]
        assert places == sorted(set(places))
        if edit is not None:
            asked = {job.key: job for job in jobs(new, edit)}
            assert len(asked) == len(jobs(new, edit))
            assert asked.items() <= found.items()
            there = {job.key: job for job in jobs(old)}
            assert {key: found[key] for key in found if found[key] != there.get(key)}.items() <= (
                asked.items()
            )
            gone = {key for key, job in there.items() if found.get(key) != job}
            assert gone == {key for key, job in there.items() if is_left(job, edit)} - {
                key for key in found if found[key] == there.get(key)
            }
            assert {key for key, job in there.items() if is_left(job, edit)} <= gone | asked.keys()
        old, before = new, now


@pytest.mark.parametrize("prompts", ["xpqr", "pxqr", "pqrx", "pr", "xyzpqr", "xr"])
def test_a_value_that_is_added_or_removed_anywhere_moves_no_other_job(prompts: str) -> None:
    old, before = first(matrix())

    new, _, edit = after(matrix(prompts=prompts), before)

    assert edit is not None
    here = {job.key: job for job in jobs(new)}
    assert all(here[job.key] == job for job in jobs(old) if job.key in here)
    added = 3 * len(set(prompts) - set("pqr"))
    assert len(jobs(new, edit)) == added
    assert sum(is_left(job, edit) for job in jobs(old)) == 3 * len(set("pqr") - set(prompts))


def test_what_stands_elsewhere_or_is_called_otherwise_is_changed_and_nothing_else() -> None:
    old, before = first(matrix())

    moved, _, by_moving = after(matrix("cab"), before)
    renamed = matrix()
    prompts = replace(
        renamed.axes[1], values=(AxisValue(label="new", content="p"), *renamed.axes[1].values[1:])
    )
    renamed = replace(renamed, axes=(renamed.axes[0], prompts, renamed.axes[2]))
    called, _, by_calling = after(renamed, before)

    assert by_moving is not None
    assert by_calling is not None
    assert {job.labels["model"] for job in jobs(moved, by_moving)} == {"c"}
    assert {job.labels["prompt"] for job in jobs(called, by_calling)} == {"new"}
    assert {job.labels["model"] for job in jobs(old) if is_left(job, by_moving)} == {"c"}
    assert {job.labels["prompt"] for job in jobs(old) if is_left(job, by_calling)} == {"p"}


def test_a_further_repeat_is_new_and_one_less_is_gone() -> None:
    two, before = first(matrix(repeats=2))

    three, _, more = after(matrix(repeats=3), before)
    one, _, less = after(matrix(repeats=1), before)

    assert more is not None
    assert less is not None
    assert {job.repeat for job in jobs(three, more)} == {3}
    assert jobs(one, less) == []
    assert {job.repeat for job in jobs(two) if is_left(job, less)} == {2}


@pytest.mark.parametrize(
    ("sweep", "rules"),
    [
        (matrix(thresholds=(0.5, 0.7)), RULES),
        (matrix(excluded=[{"model": frozenset({0})}]), RULES),
        (matrix(), ["never", True]),
        (Matrix(axes=(axis(MODEL, *"abc"), axis(PROMPT, *"pqr"))), RULES),
    ],
)
def test_where_thresholds_or_rules_are_others_any_job_may_be_changed(
    sweep: Matrix, rules: Any
) -> None:
    _, before = first(matrix())

    assert after(sweep, before, rules)[2] is None


def test_a_rule_for_what_is_new_concerns_no_other_value() -> None:
    _, before = first(matrix())

    new, _, edit = after(
        matrix("abcx", excluded=[{"model": frozenset({3}), "prompt": frozenset({0})}]), before
    )

    assert edit is not None
    assert [(job.labels["model"], job.labels["prompt"]) for job in jobs(new, edit)] == [
        ("x", "q"),
        ("x", "r"),
    ]


def test_where_there_is_no_room_between_two_values_all_stand_elsewhere_and_in_order() -> None:
    _, before = first(matrix())
    prompts = "pqr"
    concerned = []

    for number in range(1, 9):
        prompts = f"p{number}{prompts[1:]}"
        new, before, edit = after(matrix("a", prompts), before)
        concerned.append(len(jobs(new, edit)))
        assert [job.labels["prompt"] for job in jobs(new)] == list(prompts)

    assert concerned[:2] == [1, 1]
    assert max(concerned) > 3


def test_values_that_are_too_many_for_places_have_their_numbers_and_no_layout() -> None:
    kinds = [TextAxis(name=f"axis {number}", field=f"field {number}") for number in range(9)]
    of = Matrix(axes=tuple(axis(kind, *map(str, range(40))) for kind in kinds))

    assert assign_ranks(of, None, is_new=True) is of
    assert layout_of(of, RULES) is None
