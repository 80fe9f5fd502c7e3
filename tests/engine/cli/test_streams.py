"""stdout and stderr that are closed, full, gone, or in another encoding."""

import csv
import os
import subprocess
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
