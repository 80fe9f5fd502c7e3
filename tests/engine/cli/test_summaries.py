"""`results --by`: one row for all cells with the same values on some axes."""

import csv
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest

from tests.engine.cli.conftest import Nightsweep

Sweep = Callable[..., str]

MISTAKES = [
    (["--by", "colour"], "there is no axis 'colour'; the axes are model"),
    (["--by", "model,"], "--by 'model,': write axes, such as models,groups"),
    (["--by", "model,model"], "--by 'model,model' names an axis twice"),
    (["--by", "model", "--cases"], "choose --findings, --cases or --by"),
    (["--by", "model", "--all"], "--by counts what the sweep asks for: leave out --all"),
]


@pytest.fixture
def stored(nightsweep: Nightsweep, sweep: Sweep) -> Nightsweep:
    """The command in a folder with the store of a run over two models and two thresholds."""
    assert nightsweep("run", sweep("a", "b")).returncode == 0
    return nightsweep


def test_a_table_has_the_rates_of_the_cells_with_the_same_values(stored: Nightsweep) -> None:
    table = stored("results", "--by", "models")

    assert table.returncode == 0
    assert table.stdout.splitlines() == [
        "run night",
        "",
        "model  threshold  answered  failure_rate  failure 95 % interval",
        "-----  ---------  --------  ------------  ---------------------",
        "a      0.3             1/1         33.3%             6.1%-79.2%",
        "a      0.5             1/1         66.7%            20.8%-93.9%",
        "b      0.3             1/1         33.3%             6.1%-79.2%",
        "b      0.5             1/1         66.7%            20.8%-93.9%",
    ]
    assert table.stderr.startswith("night: 4 of 4 cells answered\n")


def test_files_and_json_have_every_number_and_unknown_ones_are_null(
    stored: Nightsweep, tmp_path: Path
) -> None:
    found = json.loads(stored("results", "--by", "model", "--json").stdout)
    rows = list(
        csv.DictReader(StringIO(stored("results", "--by", "model", "--format", "csv").stdout))
    )

    assert [(one["model"], one["threshold"], one["failed"], one["total"]) for one in found] == [
        ("a", 0.3, 1, 3),
        ("a", 0.5, 2, 3),
        ("b", 0.3, 1, 3),
        ("b", 0.5, 2, 3),
    ]
    assert list(found[0]) == list(rows[0])
    assert (found[0]["cells"], found[0]["answered"], found[0]["missing"]) == (1, 1, 0)
    assert found[0]["first_rate"] is None
    assert rows[0]["first_rate"] == ""


def test_a_selection_is_summarized_alone(stored: Nightsweep) -> None:
    found = json.loads(
        stored(
            "results", "--by", "model", "--where", "threshold=0.5", "--where", "model=b", "--json"
        ).stdout
    )

    assert [(one["model"], one["threshold"]) for one in found] == [("b", 0.5)]


def test_a_mistake_is_named(stored: Nightsweep) -> None:
    for arguments, message in MISTAKES:
        done = stored("results", *arguments)

        assert done.returncode == 2
        assert message in done.stderr
