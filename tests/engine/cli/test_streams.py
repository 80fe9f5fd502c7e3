"""stdout and stderr that are closed, full, gone, in another encoding, or a narrow terminal."""

import csv
import os
import pty
import subprocess
import termios
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from engine.report.formats import FORMATS
from tests.engine.cli.conftest import MAIN, Nightsweep
from tests.patience import PATIENCE_S

Sweep = Callable[..., str]


@pytest.fixture
def unread() -> Iterator[int]:
    """The writing end of a pipe whose reading end is closed."""
    theirs, ours = os.pipe()
    os.close(theirs)
    yield ours
    os.close(ours)


@pytest.mark.parametrize(
    "args",
    [
        *(("results", "--format", form) for form in FORMATS),
        ("results", "--json"),
        ("status",),
        ("runs",),
        ("jobs",),
        ("jobs", "--json"),
        ("show", "1"),
        ("show", "1", "--raw"),
        ("events", "--json"),
    ],
)
def test_who_reads_the_data_may_go_away(
    args: tuple[str, ...], nightsweep: Nightsweep, sweep: Sweep, unread: int
) -> None:
    nightsweep("run", sweep("a"))

    ended = nightsweep(*args, streams={1: unread})

    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_run_continues_when_its_log_is_not_read(
    nightsweep: Nightsweep, sweep: Sweep, unread: int
) -> None:
    more = "exclude: [{models: nothing-*}]\n"  # a warning, before anything is sent

    ended = nightsweep("run", sweep("a", "b", more=more), "--json", streams={2: unread})

    assert ended.returncode == 0
    assert '"cells_done": 4' in ended.stdout
    assert nightsweep("status").stdout.startswith("night: finished")


def test_data_that_cannot_be_written_is_a_named_error(nightsweep: Nightsweep, sweep: Sweep) -> None:
    nightsweep("run", sweep("a"))

    with Path("/dev/full").open("w") as full:
        ended = nightsweep("results", "--json", streams={1: full.fileno()})

    assert ended.returncode == 2
    assert ended.stderr == "nightsweep: cannot write to stdout: No space left on device\n"


def test_output_of_a_package_s_command_that_cannot_be_written_is_a_named_error(
    nightsweep: Nightsweep,
) -> None:
    with Path("/dev/full").open("w") as full:
        ended = nightsweep("groups", streams={1: full.fileno()})

    assert ended.returncode == 2
    assert ended.stderr == "nightsweep: cannot write to stdout: No space left on device\n"


def test_a_process_without_stdout_and_stderr_works_all_the_same(
    nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    ended = subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", 'exec "$@" >&- 2>&-', "sh", *MAIN, "run", sweep("a"), "--json"],
        cwd=tmp_path,
        env=environment,
        timeout=PATIENCE_S,
    )

    assert ended.returncode == 0
    assert nightsweep("status").stdout.startswith("night: finished")


def test_what_programs_read_is_utf_8_in_every_locale(
    nightsweep: Nightsweep, installed_nightsweep: Nightsweep, sweep: Sweep
) -> None:
    nightsweep("run", sweep("\u6a21\u578b", "\u00fc"))
    plainest = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    ended = installed_nightsweep("results", "--format", "csv", **plainest)
    table = installed_nightsweep("results", **plainest)

    rows = list(csv.DictReader(ended.stdout.splitlines()))
    assert {row["model"] for row in rows} == {"\u6a21\u578b", "\u00fc"}
    assert table.returncode == 0
    assert table.stdout.isascii()


@pytest.fixture
def narrow_terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal of 60 columns: what is shown can be read from the first."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 60))
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


MISTAKES = """\
name: night
service: {kind: scripted}
evaluation: single_turn  # of the first night, of all others
matrix: {models: [a]}
"""


@pytest.mark.parametrize(
    ("args", "piped", "shown"),
    [
        (
            ("status", "--store", "runs/of/the/month/of/november/night.db"),
            """\
nightsweep: there is no store at runs/of/the/month/of/november/night.db: name it with --store, or \
make one with `nightsweep run SWEEP`
""",
            """\
nightsweep: there is no store at
  runs/of/the/month/of/november/night.db: name it with
  --store, or make one with `nightsweep run SWEEP`
""",
        ),
        (
            ("results", "--where", "a condition without any sign"),
            """\
nightsweep: --where 'a condition without any sign': write AXIS=PATTERN, such as model=openai/*
""",
            """\
nightsweep: --where 'a condition without any sign': write
  AXIS=PATTERN, such as model=openai/*
""",
        ),
        (
            ("plan", "mistakes.yaml"),
            """\
nightsweep: mistakes.yaml:3:13: evaluation: this service has no single_turn; known: scripted
    evaluation: single_turn  # of the first night, of all others
                ^
""",
            """\
nightsweep: mistakes.yaml:3:13: evaluation: this service has
  no single_turn; known: scripted
    evaluation: single_turn  # of the first night, of all others
                ^
""",
        ),
    ],
)
def test_errors_are_wrapped_between_words_on_a_terminal_and_only_there(
    nightsweep: Nightsweep,
    tmp_path: Path,
    narrow_terminal: tuple[int, int],
    args: tuple[str, ...],
    piped: str,
    shown: str,
) -> None:
    (tmp_path / "mistakes.yaml").write_text(MISTAKES)
    ours, theirs = narrow_terminal

    in_a_pipe = nightsweep(*args, COLUMNS="60")
    on_a_terminal = nightsweep(*args, streams={2: theirs}, COLUMNS="")
    seen = os.read(ours, 65_536).decode()

    assert in_a_pipe.returncode == on_a_terminal.returncode == 2
    assert in_a_pipe.stderr == piped
    assert seen.replace("\r\n", "\n") == shown


def test_a_check_that_fails_is_wrapped_between_words_on_a_terminal(
    nightsweep: Nightsweep, tmp_path: Path, narrow_terminal: tuple[int, int]
) -> None:
    (tmp_path / "keyless.yaml").write_text(
        "name: night\n"
        "service: {kind: circuit-breaker-labs, api_key: env:A_VARIABLE_THAT_IS_NOT_SET}\n"
        "evaluation: single_turn\n"
        "matrix: {models: [a], prompts: [{name: x, text: y}], groups: [g], thresholds: [0.5]}\n"
    )
    ours, theirs = narrow_terminal

    ended = nightsweep("check", "keyless.yaml", streams={1: theirs}, COLUMNS="")
    seen = os.read(ours, 65_536).decode()

    assert ended.returncode == 1
    assert seen.splitlines() == [
        "BAD  service: the environment variable",
        "  A_VARIABLE_THAT_IS_NOT_SET is not set (needed for",
        "  env:A_VARIABLE_THAT_IS_NOT_SET)",
    ]
