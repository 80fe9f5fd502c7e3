"""stdout and stderr that are closed, full, gone, or in another encoding."""

import csv
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.report.formats import Format
from tests.engine.cli.conftest import MAIN, Nightsweep

Sweep = Callable[..., str]
Started = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def unread() -> int:
    """The end of a pipe that nobody reads any more."""
    theirs, ours = os.pipe()
    os.close(theirs)
    return ours


@pytest.fixture
def started(tmp_path: Path, environment: Mapping[str, str]) -> Started:
    """Run the command line with streams of the test's choice; those not named are pipes."""

    def call(*args: str, **streams: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603
            [*MAIN, *args],
            cwd=tmp_path,
            env=environment,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
            text=True,
            timeout=60,
        )

    return call


@pytest.mark.parametrize(
    "args",
    [
        *(("results", "--format", form) for form in Format),
        ("results", "--json"),
        ("status",),
    ],
)
def test_who_reads_the_data_may_go_away(
    args: tuple[str, ...], nightsweep: Nightsweep, started: Started, sweep: Sweep, unread: int
) -> None:
    nightsweep("run", sweep("a"))

    ended = started(*args, stdout=unread)

    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_run_goes_on_when_nobody_reads_its_log(
    nightsweep: Nightsweep, started: Started, sweep: Sweep, unread: int
) -> None:
    more = "exclude: [{models: nothing-*}]\n"  # a warning: said before anything is sent

    ended = started("run", sweep("a", "b", more=more), "--json", stderr=unread)

    assert ended.returncode == 0
    assert '"cells_done": 4' in ended.stdout
    assert nightsweep("status").stdout.startswith("night: finished")


def test_data_that_cannot_be_written_is_a_named_error(
    nightsweep: Nightsweep, started: Started, sweep: Sweep
) -> None:
    nightsweep("run", sweep("a"))

    with Path("/dev/full").open("w") as full:
        ended = started("results", "--json", stdout=full)

    assert ended.returncode == 2
    assert ended.stderr == "nightsweep: cannot write to stdout: No space left on device\n"


def test_a_process_without_stdout_and_stderr_works_all_the_same(
    nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    ended = subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", 'exec "$@" >&- 2>&-', "sh", *MAIN, "run", sweep("a"), "--json"],
        cwd=tmp_path,
        env=environment,
        timeout=60,
    )

    assert ended.returncode == 0
    assert nightsweep("status").stdout.startswith("night: finished")


def test_what_programs_read_is_utf_8_in_every_locale(
    nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    nightsweep("run", sweep("\u6a21\u578b", "\u00fc"))
    plainest = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    ended = subprocess.run(  # noqa: S603
        [*MAIN, "results", "--format", "csv"],
        cwd=tmp_path,
        env={**environment, **plainest},
        stdout=subprocess.PIPE,
        timeout=60,
    )
    table = nightsweep("results", **plainest)

    rows = list(csv.DictReader(ended.stdout.decode("utf-8").splitlines()))
    assert {row["model"] for row in rows} == {"\u6a21\u578b", "\u00fc"}
    assert table.returncode == 0
    assert table.stdout.isascii()
