"""What a shell is offered when a user presses the Tab key."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tests.engine.cli.conftest import Nightsweep
from tests.patience import PATIENCE_S

Complete = Callable[..., list[str]]


@pytest.fixture
def complete(nightsweep: Nightsweep) -> Complete:
    """The words that bash is offered for the last of these."""

    def ask(*words: str, **environment: str) -> list[str]:
        completed = nightsweep(
            **{
                "_NIGHTSWEEP_COMPLETE": "complete_bash",
                "COMP_WORDS": "\n".join(["nightsweep", *words]),
                "COMP_CWORD": str(len(words)),
                **environment,
            }
        )
        assert (completed.returncode, completed.stderr) == (0, "")
        return completed.stdout.split()

    return ask


def store_with(path: Path, *names: str) -> None:
    """A store as far as completion reads it, in the journal mode that stores have."""
    with closing(sqlite3.connect(path)) as made:
        made.execute("PRAGMA journal_mode=WAL")
        made.execute("CREATE TABLE run (name TEXT, updated_at REAL)")
        made.executemany(
            "INSERT INTO run VALUES (?, ?)", [(name, at) for at, name in enumerate(names)]
        )
        made.commit()


def test_commands_are_completed_those_of_other_packages_too(complete: Complete) -> None:
    assert {"plan", "run", "results", "greetings", "gone", "model"} <= set(complete(""))
    assert complete("greet") == ["greetings"]
    assert complete("greetings", "") == ["greet", "crash", "log", "refuse"]


def test_a_command_that_cannot_be_loaded_completes_nothing(complete: Complete) -> None:
    assert complete("gone", "") == []


@pytest.mark.parametrize("command", ["status", "results", "resume", "delete", "retry"])
def test_runs_of_the_store_are_completed(
    complete: Complete, nightsweep: Nightsweep, sweep: Callable[..., str], command: str
) -> None:
    nightsweep("run", sweep("a"))
    nightsweep("run", sweep("a", name="noon"))

    assert complete(command, "n") == ["noon", "night"]
    assert complete(command, "ni") == ["night"]


def test_the_store_is_the_one_that_is_named(complete: Complete, tmp_path: Path) -> None:
    store_with(tmp_path / "other.db", "evening")

    assert complete("status", "") == []
    assert complete("status", "--store", "other.db", "") == ["evening"]
    assert complete("status", "", NIGHTSWEEP_STORE="other.db") == ["evening"]
    assert complete("status", "--store", "sqlite:///other.db", "") == ["evening"]
    assert complete("status", "--store", "postgresql://other.db", "") == []


def test_reading_names_leaves_nothing_behind_and_waits_for_no_process(
    complete: Complete, tmp_path: Path
) -> None:
    path = tmp_path / "nightsweep.db"
    store_with(path, "night")
    before = sorted(tmp_path.iterdir())

    assert complete("status", "") == ["night"]
    assert sorted(tmp_path.iterdir()) == before
    with closing(sqlite3.connect(path)) as busy:
        busy.execute("BEGIN IMMEDIATE")
        assert complete("status", "") == ["night"]


def test_a_log_that_no_process_has_open_is_left_unchanged(
    complete: Complete, tmp_path: Path
) -> None:
    store_with(tmp_path / "other.db", "night")
    with closing(sqlite3.connect(tmp_path / "other.db")) as busy:
        busy.execute("UPDATE run SET updated_at = 1")
        busy.commit()
        for suffix in ("", "-wal"):
            shutil.copy(tmp_path / f"other.db{suffix}", tmp_path / f"nightsweep.db{suffix}")
    before = sorted(tmp_path.iterdir())

    assert complete("status", "") == ["night"]
    assert sorted(tmp_path.iterdir()) == before


def test_no_name_is_offered_that_a_shell_would_read_as_something_else(
    complete: Complete, tmp_path: Path
) -> None:
    odd = ["$(reboot)", "`reboot`", "a b", "a;b", "--yes", "it's", "x\ny", "*", "Ü-1"]
    store_with(tmp_path / "nightsweep.db", *odd)

    assert complete("status", "") == ["Ü-1"]


def test_services_are_completed(complete: Complete) -> None:
    assert complete("schema", "c") == ["chat", "circuit-breaker-labs"]
    assert {"local", "enkrypt", "scripted"} <= set(complete("schema", ""))


@pytest.mark.parametrize("content", [b"", b"name: night\n", b"SQLite format 3\0 and no more"])
def test_what_is_no_store_completes_nothing(
    complete: Complete, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "nightsweep.db").write_bytes(content)

    assert complete("status", "") == []


def test_completion_is_installed_where_the_shell_reads_it(
    tmp_path: Path, environment: Mapping[str, str]
) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    home = {**environment, "HOME": str(tmp_path)}
    main = f"{sys.executable} -c 'from engine.cli import main; main()'"

    installed = subprocess.run(  # noqa: S603
        # Two commands: bash does not make way for the last one, and is found as the shell.
        [bash, "-c", f"{main} --install-completion; exit $?"],
        cwd=tmp_path,
        env=home,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert installed.returncode == 0, installed.stderr
    assert "_nightsweep_completion" in (tmp_path / ".bash_completions/nightsweep.sh").read_text()
    assert ".bash_completions/nightsweep.sh" in (tmp_path / ".bashrc").read_text()
