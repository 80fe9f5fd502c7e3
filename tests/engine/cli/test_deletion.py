"""`delete` asks before it deletes; `prune` gives the space back."""

import json
import os
import pty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engine.cli.conftest import Nightsweep

Sweep = Callable[..., str]


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal: ours, and the one that a command is given."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def test_a_run_is_deleted_and_the_store_pruned(
    nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path
) -> None:
    nightsweep("run", sweep("a", "b"))
    nightsweep("run", sweep("a", name="other"))

    deleted = nightsweep("delete", "night", "--yes", "--json")
    pruned = nightsweep("prune", "--json")

    assert (deleted.returncode, pruned.returncode) == (0, 0), deleted.stderr + pruned.stderr
    found = json.loads(deleted.stdout)
    assert (found["run"], found["jobs"], found["answers"], found["answers_kept"]) == (
        "night",
        2,
        1,
        1,
    )
    assert "night is deleted: 2 jobs, 1 answer" in deleted.stderr
    assert "1 answer kept: other runs reuse them" in deleted.stderr
    assert "make the file smaller: nightsweep prune" in deleted.stderr
    assert json.loads(pruned.stdout)["compacted"] is True
    assert "bytes given back" in pruned.stderr
    assert [run["name"] for run in json.loads(nightsweep("runs", "--json").stdout)] == ["other"]
    assert json.loads(nightsweep("results", "other", "--json").stdout)[0]["source"] == "reused"


def test_nothing_is_deleted_without_a_terminal_to_ask_and_without_yes(
    nightsweep: Nightsweep, sweep: Sweep
) -> None:
    nightsweep("run", sweep("a"))

    ended = nightsweep("delete", "night")

    assert ended.returncode == 2
    assert ended.stderr == (
        "nightsweep: night was not deleted, since nobody can be asked here:"
        " `--yes` deletes it, with 1 answer of 1 job\n"
    )
    assert nightsweep("status", "night").returncode == 0


@pytest.mark.parametrize(("said", "code"), [(b"y\n", 0), (b"n\n", 2), (b"\n", 2)])
def test_on_a_terminal_it_is_asked_for(
    nightsweep: Nightsweep, sweep: Sweep, terminal: tuple[int, int], said: bytes, code: int
) -> None:
    nightsweep("run", sweep("a"))
    ours, theirs = terminal
    os.write(ours, said)

    ended = nightsweep("delete", "night", streams={0: theirs, 2: theirs})

    asked = os.read(ours, 4096).decode()
    assert "Delete night with 1 answer of 1 job? They cannot be had back [y/N]" in asked
    assert ended.returncode == code
    assert nightsweep("status", "night").returncode == (2 if code == 0 else 0)


@pytest.mark.parametrize("flags", [(), ("--yes",)])
def test_a_run_that_is_not_there_is_told_with_those_that_are(
    nightsweep: Nightsweep, sweep: Sweep, flags: tuple[str, ...]
) -> None:
    nightsweep("run", sweep("a"))

    ended = nightsweep("delete", "nigth", *flags)

    assert ended.returncode == 2
    assert "has no run 'nigth'; did you mean \"night\"?" in ended.stderr


def test_which_run_is_meant_has_to_be_said(nightsweep: Nightsweep, sweep: Sweep) -> None:
    nightsweep("run", sweep("a"))

    assert nightsweep("delete", "--yes").returncode == 2
    assert nightsweep("status", "night").returncode == 0
