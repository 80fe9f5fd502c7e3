"""The suite itself: a hanging test ends, and a flaky test is distinguished from one that fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.long import PATHS
from tests.paths import ROOT

RUN_S = 300


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A folder with the settings of this suite."""
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/conftest.py").write_text((ROOT / "tests/watchdog.py").read_text())
    return tmp_path


def write(suite: Path, *tests: str) -> None:
    (suite / "tests/test_few.py").write_text(
        "import asyncio, pathlib, signal, threading\n\n" + "\n\n".join(tests)
    )


def run(suite: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", *arguments],
        cwd=suite,
        env={name: text for name, text in os.environ.items() if name != "PYTEST_ADDOPTS"},
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )


GOOD = "def test_good(): pass"
BAD = "def test_bad(): assert False"
FLAKY = """
def test_flaky():
    seen = pathlib.Path("seen")
    if not seen.exists():
        seen.touch()
        raise AssertionError
"""
HANGING = """
async def test_hanging():
    await asyncio.Event().wait()
"""
BLOCKED = """
def test_blocked():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    threading.Event().wait()
"""
LEAVING = """
def test_leaving():
    threading.Thread(target=threading.Event().wait).start()
"""
UNSTOPPABLE = """
async def test_unstoppable():
    async def shielded():
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass

    await asyncio.create_task(shielded())
"""


def test_the_long_files_that_are_started_first_are_there() -> None:
    assert [path for path in PATHS if not (ROOT / path).is_file()] == []


def test_a_test_that_hangs_fails_or_ends_with_its_stacks_and_the_others_are_run(
    suite: Path,
) -> None:
    write(suite, HANGING, BLOCKED, UNSTOPPABLE, GOOD)

    ended = run(suite, "pytest", "-n", "1", "-o", "timeout=3", "-o", "faulthandler_timeout=6")

    assert ended.returncode == 1
    assert " 1 passed" in ended.stdout
    assert "test_hanging - Failed: Timeout" in ended.stdout
    for name in ("test_blocked", "test_unstoppable"):
        assert f"crashed while running 'tests/test_few.py::{name}'" in ended.stdout
    assert ended.stderr.count("Timeout (0:00:06)!") == 2
    assert ended.stderr.count("pytest_runtest_protocol") >= 2


def test_a_thread_that_is_left_behind_does_not_keep_the_process(suite: Path) -> None:
    write(suite, LEAVING)

    ended = run(suite, "pytest", "-n", "0", "-o", "faulthandler_timeout=6")

    assert ended.returncode == 1
    assert "1 passed" in ended.stdout
    assert "Timeout (0:00:06)!" in ended.stderr


def retried(suite: Path) -> subprocess.CompletedProcess[str]:
    run(suite, "pytest", "-n", "0")
    (suite / "tests/retry.py").write_text((ROOT / "tests/retry.py").read_text())
    return run(suite, "tests.retry")


def test_what_passes_when_run_alone_is_flaky(suite: Path) -> None:
    write(suite, FLAKY, GOOD)

    ended = retried(suite)

    assert ended.returncode == 0
    assert ended.stdout.endswith("FLAKY tests/test_few.py::test_flaky\n")


def test_what_fails_twice_fails_the_run(suite: Path) -> None:
    write(suite, BAD, FLAKY)

    ended = retried(suite)

    assert ended.returncode == 1
    assert "FAILED TWICE tests/test_few.py::test_bad\n" in ended.stdout
    assert "FLAKY tests/test_few.py::test_flaky\n" in ended.stdout


def test_a_run_that_failed_without_a_failed_test_stays_failed(suite: Path) -> None:
    write(suite, GOOD)

    ended = retried(suite)

    assert ended.returncode == 1
    assert ended.stderr == "0 tests failed on record; from 1 to 10 are run once more\n"


def test_many_failures_are_not_put_down_to_the_machine(suite: Path) -> None:
    write(suite, *(f"def test_{number}(): assert False" for number in range(11)))

    ended = retried(suite)

    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr == "11 tests failed on record; from 1 to 10 are run once more\n"
