"""`include`, `exclude`, ranges and folding, by the cells that come out."""

from typing import Any

from engine.sweep import Sweep
from tests.engine.sweep.sweeps import matrix, parse

FOLDS = ("exact", "always", "never")


def cells(sweep: Sweep, *fields: str) -> list[tuple[Any, ...]]:
    """Each cell that the jobs answer, by these fields; the threshold last."""
    return [
        (*(job.labels[field] for field in fields), threshold)
        for job in sweep.jobs()
        for threshold in job.cells
    ]


def small(**changes: Any) -> Sweep:
    return parse(
        **{
            "matrix": matrix(models=["a", "b"], prompts=[{"name": "p", "text": "P"}], groups=["g"]),
            **changes,
        }
    )


def test_a_range_is_exact_in_decimal() -> None:
    sweep = small(
        matrix=matrix(
            models=["a"],
            prompts=[{"name": "p", "text": "P"}],
            groups=["g"],
            thresholds={"from": 0.1, "to": 0.9, "step": 0.1},
        )
    )

    [job] = sweep.jobs()

    assert job.cells == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def test_a_range_stops_before_an_end_that_no_step_hits() -> None:
    sweep = small(
        matrix=matrix(
            thresholds={"from": 0, "to": 1, "step": 0.4}, variations={"from": 1, "to": 4, "step": 2}
        )
    )

    assert {job.cells for job in sweep.jobs()} == {(0.0, 0.4, 0.8)}
    assert {job.labels["variations"] for job in sweep.jobs()} == {1, 3}


def test_excluded_cells_are_those_that_fit_every_axis_of_a_rule() -> None:
    sweep = small(exclude=[{"models": "a", "thresholds": [0.3, 0.7]}, {"thresholds": 0.5}])

    assert cells(sweep, "model") == [("b", 0.3), ("b", 0.7)]


def test_a_name_with_brackets_is_matched_as_it_is_written() -> None:
    sweep = small(
        matrix=matrix(models=["m[1]", "m1"], prompts=[{"name": "p", "text": "P"}], groups=["g"]),
        exclude=[{"models": "m[1]"}],
    )

    assert {job.lane for job in sweep.jobs()} == {"m1"}


def test_included_cells_come_after_and_only_once() -> None:
    sweep = small(include=[{"models": ["b", "c"], "thresholds": [0.5, 0.9]}, {"models": "c"}])

    assert cells(sweep, "model") == [
        ("a", 0.3),
        ("a", 0.5),
        ("a", 0.7),
        ("b", 0.3),
        ("b", 0.5),
        ("b", 0.7),
        ("b", 0.9),
        ("c", 0.3),
        ("c", 0.5),
        ("c", 0.7),
        ("c", 0.9),
    ]
    assert sweep.plan().cells == 11


def test_an_included_cell_may_be_one_that_was_excluded() -> None:
    sweep = small(exclude=[{"models": "a"}], include=[{"models": "a", "thresholds": 0.5}])

    assert cells(sweep, "model") == [("a", 0.5), ("b", 0.3), ("b", 0.5), ("b", 0.7)]


def test_a_prompt_is_included_by_name_or_inline() -> None:
    sweep = small(
        include=[
            {"models": "c", "prompts": ["p", {"name": "q", "text": "Q"}], "thresholds": 0.5},
            {"models": "d", "prompts": {"name": "q", "text": "Q"}, "thresholds": 0.5},
        ]
    )

    assert cells(sweep, "model", "prompt")[6:] == [
        ("c", "p", 0.5),
        ("c", "q", 0.5),
        ("d", "q", 0.5),
    ]
    assert set(sweep.documents().values()) == {"P", "Q"}


def test_groups_are_included_beside_all_that_are_offered() -> None:
    sweep = small(
        matrix=matrix(models=["a"], prompts=[{"name": "p", "text": "P"}], groups="all"),
        include=[{"groups": ["g", "private"], "thresholds": 0.9}],
    ).with_groups(["g", "h"])

    assert cells(sweep, "group")[3:] == [
        ("g", 0.9),
        ("h", 0.3),
        ("h", 0.5),
        ("h", 0.7),
        ("private", 0.9),
    ]


def test_thresholds_fold_only_where_that_is_exact() -> None:
    file = matrix(models=["a"], prompts=[{"name": "p", "text": "P"}], groups=["g"], layers=[0, 1])

    folded = {fold: [job.cells for job in parse(matrix=file, fold=fold).jobs()] for fold in FOLDS}

    assert folded == {
        "exact": [(0.3, 0.5, 0.7), (0.3,), (0.5,), (0.7,)],
        "always": [(0.3, 0.5, 0.7), (0.3, 0.5, 0.7)],
        "never": [(0.3,), (0.5,), (0.7,), (0.3,), (0.5,), (0.7,)],
    }


def test_a_folded_job_is_the_job_at_its_highest_threshold() -> None:
    folded = {job.key for job in small(fold="always").jobs()}

    unfolded = {job.key: job for job in small(fold="never").jobs()}

    assert {unfolded[key].cells for key in folded} == {(0.7,)}


def test_jobs_of_one_family_differ_in_their_threshold_alone() -> None:
    jobs = list(small(fold="never").jobs())

    assert len({job.key for job in jobs}) == 6
    assert len({job.family for job in jobs}) == 2
    assert len({(job.family, job.labels["model"]) for job in jobs}) == 2


def test_the_plan_counts_what_the_jobs_are() -> None:
    sweep = parse(
        matrix=matrix(layers=[0, 1], repeats=3),
        exclude=[{"models": "acme/*", "thresholds": 0.7}],
        include=[{"models": "acme/four", "layers": 0}],
    )

    plan = sweep.plan()

    jobs = list(sweep.jobs())
    assert plan.jobs == len(jobs)
    assert plan.cells == plan.jobs_unfolded == sum(len(job.cells) for job in jobs)
    assert plan.requests == sum(1 + int(job.labels["layers"]) for job in jobs)
    assert sum(plan.lanes.values()) == len(jobs)
    assert plan.expected_tests is None
    assert plan.unknown


def test_the_plan_of_a_kind_without_thresholds_counts_its_jobs_as_cells() -> None:
    sweep = parse(
        evaluation="pinging",
        matrix={"models": [{"model": "a"}, {"model": "b"}], "sizes": [1, 2, 3], "repeats": 2},
        exclude=[{"models": "b", "sizes": 2}],
    )

    plan = sweep.plan()

    assert plan.cells == plan.jobs == len(list(sweep.jobs())) == 10
