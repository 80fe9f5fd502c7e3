"""`nightsweep compare`: what it prints, refuses, and exits with."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import Sweep, job
from tests.engine.cli.conftest import Nightsweep

WriteSweep = Callable[..., str]


@pytest.fixture
def two(nightsweep: Nightsweep, sweep: WriteSweep) -> Nightsweep:
    """A store in which the run `after` fails one more case at 0.3 than the run `before`."""
    nightsweep("run", sweep("listed/a", name="before"))
    nightsweep("run", sweep("listed/worse", name="after"))
    return nightsweep


def test_two_runs_are_compared_with_coverage_on_top_and_flipped_cases_below(
    two: Nightsweep,
) -> None:
    ended = two("compare", "before", "after")

    lines = ended.stdout.splitlines()
    assert ended.returncode == 0, ended.stderr
    assert lines[:4] == [
        "before: before, 2 of 2 cells with numbers",
        "after:  after, 2 of 2 cells with numbers",
        "2 cells compared",
        "model: listed/a → listed/worse",
    ]
    assert "the two cannot be told apart at threshold 0.3: 33.3% → 66.7%" in ended.stdout
    assert "flipped cases: 1 became worse, 0 became better\n" in ended.stdout
    assert ended.stdout.endswith(
        "---- worse: case-1 (model listed/worse, threshold 0.3)\n"
        "  before (before): 0 of 1 first answer failed\n"
        "    score 0.4\n"
        "    user: Hello?\n"
        "    assistant: fair\n"
        "  after (after): 1 of 1 first answer failed\n"
        "    score 0.2\n"
        "    user: Hello?\n"
        "    assistant: fair\n"
        "\n"
    )


def test_missing_cells_are_counted_on_top(nightsweep: Nightsweep, sweep: WriteSweep) -> None:
    nightsweep("run", sweep("listed/a", "broken", name="before"))
    nightsweep("run", sweep("listed/a", "listed/b", name="after"))

    lines = nightsweep("compare", "before", "after").stdout.splitlines()

    assert lines[:3] == [
        "before: before, 2 of 4 cells with numbers (2 missing)",
        "after:  after, 4 of 4 cells with numbers",
        "2 cells compared, 2 new, 2 missing",
    ]


def test_the_comparison_is_data(two: Nightsweep) -> None:
    found = json.loads(two("compare", "before", "after", "--threshold", "0.3", "--json").stdout)

    assert [one["threshold"] for one in found["overall"]] == [0.3]
    assert [(one["case"], one["failed_after"]) for one in found["flipped"]] == [("case-1", 1)]
    assert found["changed"] == [{"axis": "model", "before": "listed/a", "after": "listed/worse"}]


def test_the_earlier_run_may_be_in_another_store(
    nightsweep: Nightsweep, sweep: WriteSweep, tmp_path: Path
) -> None:
    nightsweep("run", sweep("listed/a"), "--store", "old.db")
    nightsweep("run", sweep("listed/worse"))

    ended = nightsweep("compare", "night", "night", "--with-store", "old.db")

    assert ended.returncode == 0, ended.stderr
    assert "flipped cases: 1 became worse" in ended.stdout
    assert "assistant: fair" in ended.stdout


def test_only_so_many_conversations_are_shown_as_asked_for(two: Nightsweep) -> None:
    ended = two("compare", "before", "after", "--worst", "0")

    assert "flipped cases: 1 became worse, 0 became better; 1 not shown (--worst)" in ended.stdout
    assert "----" not in ended.stdout


def test_a_run_alone_has_no_earlier_answers_unless_its_sweep_was_edited(two: Nightsweep) -> None:
    ended = two("compare", "after")

    assert ended.returncode == 3
    assert "nothing can be compared: no cell has numbers on both sides" in ended.stdout


def test_runs_that_have_values_alone_are_compared_by_them(
    nightsweep: Nightsweep, tmp_path: Path
) -> None:
    @job(version="1")
    def measure(text: str, factor: int) -> dict[str, float]:
        return {"length": factor * len(text)}

    for name, factor in (("before", 1), ("after", 2)):
        cases = [{"text": "x" * size} for size in range(1, 9)]
        sweep = Sweep(name, measure, matrix={"factor": [factor]}, cases=cases)
        sweep.run(tmp_path / "values.db", progress=False)

    ended = nightsweep("compare", "before", "after", "--store", "values.db")
    data = nightsweep("compare", "before", "after", "--store", "values.db", "--json")

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-2:] == [
        "------  ------  -----  ------  ----------------  -----  ------",
        "length  4.5     9      +4.5    +2.452 to +6.548  0.008  higher",
    ]
    assert "unknown" not in ended.stdout
    [length] = json.loads(data.stdout)["values"]
    assert (length["name"], length["difference"], length["change"]) == ("length", 4.5, "higher")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["before", "afetr"], "has no run 'afetr'; did you mean \"after\"?"),
        (["before", "after", "--threshold", "0.4"], "no threshold 0.4; it has 0.3, 0.5"),
        (["after", "--with-store", "old.db"], "--with-store has the earlier run of two"),
    ],
)
def test_what_cannot_be_compared_is_wrong_usage(
    two: Nightsweep, arguments: list[str], message: str
) -> None:
    ended = two("compare", *arguments)

    assert ended.returncode == 2
    assert message in ended.stderr


def test_runs_of_different_judges_are_refused_with_the_way_out(
    nightsweep: Nightsweep, sweep: WriteSweep
) -> None:
    nightsweep("run", sweep("a", name="before"))
    nightsweep("run", sweep("a", name="after", service="kind: scripted, judge: strict"))

    refused = nightsweep("compare", "before", "after")
    compared = nightsweep("compare", "before", "after", "--across-judges")

    assert refused.returncode == 2
    assert "judge changed from mild to strict" in refused.stderr
    assert "--across-judges" in refused.stderr
    assert compared.returncode == 0
