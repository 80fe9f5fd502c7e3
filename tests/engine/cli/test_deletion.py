"""`delete` asks before it deletes; `prune` gives the space back."""

import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tests.engine.cli.conftest import Nightsweep
from tests.engine.store.scenes import rows
from tests.patience import PATIENCE_S, until, wait_ended, with_stacks

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


IN_PARTS = """
from engine.store.queries import parts
parts.PART, parts.PAUSE_S = 1, {pause_s}
from engine.cli import main
main(["delete", "night", "--yes"])
"""
FAILING = """
CREATE TRIGGER failing BEFORE DELETE ON job WHEN (SELECT count(*) FROM job) = 2
BEGIN SELECT RAISE(ABORT, 'no more'); END
"""


def test_a_deletion_that_fails_after_its_first_part_says_what_is_gone(
    nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    ran = nightsweep("run", sweep("a", "b", "c"))
    assert ran.returncode == 0, ran.stderr
    with closing(sqlite3.connect(tmp_path / "nightsweep.db")) as store:
        store.execute(FAILING)

    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-c", IN_PARTS.format(pause_s=0.0)],
        cwd=tmp_path,
        env=with_stacks(environment),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert ended.returncode == 2
    assert ended.stderr.startswith("1 job of night deleted; delete the rest: nightsweep prune\n")
    assert "no more" in ended.stderr


def test_a_deletion_that_is_interrupted_says_what_is_gone_and_what_deletes_the_rest(
    nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    nightsweep("run", sweep("a", "b", "c"))
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", IN_PARTS.format(pause_s=3600.0)],
        cwd=tmp_path,
        env=with_stacks(environment),
        stderr=subprocess.PIPE,
        text=True,
    )
    until(
        lambda: rows(tmp_path / "nightsweep.db", "SELECT state FROM run") == [("deleting",)],
        "the first part was not deleted",
    )
    process.send_signal(signal.SIGINT)
    _, err = wait_ended(process)

    assert process.returncode == 130
    assert err == (
        "1 job of night deleted; delete the rest: nightsweep prune\nnightsweep: interrupted\n"
    )
    listed = json.loads(nightsweep("runs", "--json").stdout)
    assert [(one["name"], one["state"], sum(one["jobs"].values())) for one in listed] == [
        ("night", "deleting", 2)
    ]
    for command in ("status", "results", "resume", "cancel"):
        refused = nightsweep(command, "night")
        assert refused.returncode == 2
        assert "the run 'night' is being deleted, and a part of it is gone" in refused.stderr
    pruned = nightsweep("prune")
    assert "night is deleted: 2 jobs, 2 answers" in pruned.stderr
    assert json.loads(nightsweep("runs", "--json").stdout) == []


def test_nothing_is_deleted_without_a_terminal_to_ask_and_without_yes(
    nightsweep: Nightsweep, sweep: Sweep
) -> None:
    nightsweep("run", sweep("a"))

    ended = nightsweep("delete", "night")

    assert ended.returncode == 2
    assert ended.stderr == (
        "nightsweep: night was not deleted, since there is no terminal to ask on:"
        " `--yes` deletes it, with 1 answer of 1 job\n"
    )
    assert nightsweep("status", "night").returncode == 0


@pytest.mark.parametrize(("typed", "code"), [(b"y\n", 0), (b"n\n", 2), (b"\n", 2)])
def test_on_a_terminal_it_is_asked_for(
    nightsweep: Nightsweep, sweep: Sweep, terminal: tuple[int, int], typed: bytes, code: int
) -> None:
    nightsweep("run", sweep("a"))
    ours, theirs = terminal
    os.write(ours, typed)

    ended = nightsweep("delete", "night", streams={0: theirs, 2: theirs})

    asked = os.read(ours, 4096).decode()
    assert "Delete night with 1 answer of 1 job? This cannot be undone [y/N]" in asked
    assert ended.returncode == code
    assert nightsweep("status", "night").returncode == (2 if code == 0 else 0)


@pytest.mark.parametrize("flags", [(), ("--yes",)])
def test_an_unknown_run_is_reported_with_those_that_exist(
    nightsweep: Nightsweep, sweep: Sweep, flags: tuple[str, ...]
) -> None:
    nightsweep("run", sweep("a"))

    ended = nightsweep("delete", "nigth", *flags)

    assert ended.returncode == 2
    assert "has no run 'nigth'; did you mean \"night\"?" in ended.stderr


def test_delete_needs_the_name_of_a_run(nightsweep: Nightsweep, sweep: Sweep) -> None:
    nightsweep("run", sweep("a"))

    assert nightsweep("delete", "--yes").returncode == 2
    assert nightsweep("status", "night").returncode == 0
