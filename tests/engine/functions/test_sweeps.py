"""Sweeps over functions: rules, repeats, lanes and limits."""

from pathlib import Path
from typing import Any

import pytest

from engine import Sweep, SweepError, UsageError, job
from engine.core.policy import LaneLimits


@job(version="1", lane="model", rate_per_min=600, max_in_flight=8)
async def ask(model: str, seed: int, hard: bool = False) -> int:
    """Return the seed."""
    return seed


def cells(sweep: Sweep) -> list[tuple[Any, ...]]:
    """The labels of a sweep's jobs, without the version."""
    return [tuple(spec.labels.values())[1:] for spec in sweep.jobs()]


def test_rules_add_and_take_out_cells_by_the_values_of_arguments() -> None:
    sweep = Sweep(
        "rules",
        ask,
        matrix={"model": ["a", "b"], "seed": [1, 2], "hard": [False, True]},
        exclude=[{"model": "a*", "hard": True}, {"seed": 2, "model": ["b"]}],
        include=[{"model": "c", "seed": [7], "hard": True}],
    )

    assert cells(sweep) == [
        ("a", 1, "false", 1),
        ("a", 2, "false", 1),
        ("b", 1, "false", 1),
        ("b", 1, "true", 1),
        ("c", 7, "true", 1),
    ]


def test_cases_are_included_and_excluded_by_their_labels() -> None:
    sweep = Sweep(
        "cases",
        ask,
        matrix={"model": ["a", "b"]},
        cases=[{"id": "first", "seed": 1}, {"id": "second", "seed": 2}],
        exclude=[{"cases": "second", "model": "a"}],
    )

    assert cells(sweep) == [("a", "first", 1), ("b", "first", 1), ("b", "second", 1)]


def test_repeats_come_after_the_first_of_every_cell() -> None:
    sweep = Sweep("repeats", ask, matrix={"model": ["a", "b"], "seed": [1]}, repeats=2)

    assert cells(sweep) == [("a", 1, 1), ("b", 1, 1), ("a", 1, 2), ("b", 1, 2)]


def test_the_values_of_the_lane_s_parameter_are_the_lanes() -> None:
    sweep = Sweep("lanes", ask, matrix={"model": ["a", "b"], "seed": range(3)})

    assert sweep.plan().lanes == {"a": 3, "b": 3}


def test_without_a_lane_all_calls_share_one_named_after_the_function() -> None:
    @job(version="1")
    async def plain(n: int) -> int:
        return n

    [lane] = Sweep("lanes", plain, matrix={"n": range(3)}).plan().lanes

    assert lane == plain.name


def test_limits_of_the_sweep_go_before_those_of_the_decorator() -> None:
    matrix = {"model": ["a"], "seed": [1]}

    decorated = Sweep("limits", ask, matrix=matrix).limits
    own = Sweep(
        "limits",
        ask,
        matrix=matrix,
        limits={"rate_per_min": 30, "models": {"a": {"max_in_flight": 2}}},
    ).limits

    assert (decorated.rate_per_min, decorated.max_in_flight) == (600, 8)
    assert (own.rate_per_min, own.max_in_flight) == (30, 8)
    assert own.for_lane("a") == LaneLimits(max_in_flight=2)


@pytest.mark.parametrize(
    ("values", "seeds"),
    [
        (range(1, 4), [1, 2, 3]),
        ((one for one in (3, 1)), [3, 1]),
        ({"from": 2, "to": 6, "step": 2}, [2, 4, 6]),
        ((5,), [5]),
    ],
    ids=["range", "generator", "from to step", "tuple"],
)
def test_values_are_given_in_any_way_that_lists_them(values: Any, seeds: list[int]) -> None:
    sweep = Sweep("values", ask, matrix={"model": ["a"], "seed": values})

    assert [seed for _, seed, _ in cells(sweep)] == seeds


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"limits": {"rate": 5}}, "limits.rate: unknown key"),
        ({"retry": {"attempts": 0}}, "retry.attempts: 0 is below 1"),
        ({"repeats": 0}, "matrix.repeats: 0 is below 1"),
        ({"exclude": [{"model": "z"}]}, "exclude[0].model: z is none of model"),
        ({"exclude": [{"sed": 1}]}, 'unknown axis; did you mean "seed"'),
        ({"include": [{"seed": ["x"]}]}, "include[0].seed[0]"),
    ],
)
def test_mistakes_beside_the_matrix_have_their_places(more: Any, message: str) -> None:
    with pytest.raises(SweepError) as raised:
        Sweep("mistakes", ask, matrix={"model": ["a"], "seed": [1]}, **more)

    assert message in str(raised.value)


def test_a_name_that_no_run_can_have_is_refused() -> None:
    with pytest.raises(SweepError, match="name"):
        Sweep("a/b", ask, matrix={"model": ["a"], "seed": [1]})


def test_a_python_file_without_the_sweep_is_refused_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "study.py"
    file.write_text("value = 1\n")

    for name, message in (
        ("study.py", "name the sweep in it, such as"),
        ("study.py:sweep", "has no sweep"),
        ("study.py:value", "is a int, not a Sweep"),
        ("gone.py:sweep", "there is no such file"),
    ):
        with pytest.raises(UsageError, match=message):
            Sweep.load(tmp_path / name)
