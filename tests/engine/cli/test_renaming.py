"""`rename` says what it means for the sweep file."""

import json
from collections.abc import Callable

import pytest

from tests.engine.cli.conftest import Nightsweep

Sweep = Callable[..., str]


@pytest.mark.parametrize(
    ("name", "written"), [("evening", "evening"), ("7", '"7"'), ("no: 1", '"no: 1"')]
)
def test_a_renamed_run_is_found_under_its_name_and_the_file_is_to_follow(
    nightsweep: Nightsweep, sweep: Sweep, name: str, written: str
) -> None:
    nightsweep("run", sweep("a", "b"))

    ended = nightsweep("rename", "night", name, "--json")

    assert ended.returncode == 0, ended.stderr
    assert (json.loads(ended.stdout)["run"], json.loads(ended.stdout)["cells_done"]) == (name, 4)
    assert ended.stderr == (
        f"night was renamed to {name}\n"
        f"write `name: {written}` in its sweep file, too: a file that has the old name starts another"
        " run\n"
    )
    assert nightsweep("results", name).returncode == 0
    assert nightsweep("run", sweep("a", "b", "c", name=written)).returncode == 0
    assert [run["name"] for run in json.loads(nightsweep("runs", "--json").stdout)] == [name]


def test_renaming_an_unfinished_run_prints_how_to_continue_it(
    nightsweep: Nightsweep, sweep: Sweep
) -> None:
    nightsweep("run", sweep("exhausted"))

    assert "resume:  nightsweep resume evening" in nightsweep("rename", "night", "evening").stderr


def test_a_taken_name_is_wrong_usage(nightsweep: Nightsweep, sweep: Sweep) -> None:
    nightsweep("run", sweep("a"))
    nightsweep("run", sweep("a", name="evening"))

    ended = nightsweep("rename", "night", "evening")

    assert (ended.returncode, ended.stdout) == (2, "")
    assert "a run 'evening' exists already: choose another name" in ended.stderr
