"""Ctrl-C in a script: once in order, twice at once; the script is simply started again."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

from engine import Row, open_run
from engine.core.states import State
from tests.launcher.processes import Command, Launcher
from tests.paths import ROOT
from tests.patience import wait_ended, with_stacks

SCRIPT = """
from pathlib import Path
import anyio
from engine import Sweep, job

here = Path(__file__).parent

@job
async def answer(n: int) -> int:
    with (here / "calls").open("a") as calls:
        calls.write(f"{n}\\n")
    while n >= 2 and not (here / "open").exists():
        await anyio.sleep(0.01)
    return n

run = Sweep("night", answer, matrix={"n": range(4)}).run(here / "s.db", progress=False)
print([row.values["value"] for row in run.rows()])
"""


def environment(grace_s: float) -> Mapping[str, str]:
    """With so many seconds for calls in flight after the first Ctrl-C."""
    return with_stacks({**os.environ, "PYTHONPATH": str(ROOT), "NIGHTSWEEP_GRACE_S": str(grace_s)})


@contextmanager
def script(launcher: Launcher, folder: Path, grace_s: float) -> Iterator[Command]:
    """The script, with two of its four calls answered and two in flight."""
    file = folder / "script.py"
    file.write_text(dedent(SCRIPT))
    command = launcher.start(
        [str(file)],
        folder=folder,
        environment=environment(grace_s),
        output=(folder / "stdout", folder / "stderr"),
        is_python=True,
    )
    try:
        command.until(lambda: _is_half_way(folder), "two answers and two calls in flight")
        yield command
    finally:
        command.kill()


def _is_half_way(folder: Path) -> bool:
    calls = folder / "calls"
    return calls.exists() and len(calls.read_text().split()) == 4 and len(answered(folder)) == 2


def answered(folder: Path) -> list[Row]:
    """The rows with an answer."""
    rows = open_run("night", folder / "s.db").rows()
    return [row for row in rows if row.state == State.SUCCEEDED]


def start_again(launcher: Launcher, folder: Path) -> str:
    """What the script prints when it is simply started again, with nothing in its way."""
    (folder / "open").touch()
    done = launcher.run(
        [str(folder / "script.py")], folder=folder, environment=environment(1), is_python=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_first_interrupt_gives_back_what_is_in_flight_and_says_how_to_go_on(
    launcher: Launcher, tmp_path: Path
) -> None:
    with script(launcher, tmp_path, grace_s=0.2) as command:
        command.send_signal(signal.SIGINT)
        code, err = command.wait(), command.stderr

    assert code == 130, err
    assert "Traceback" not in err
    assert "stopping after the calls in flight; interrupt again to stop now" in err
    assert "night was interrupted, and its answers are kept: run it again, or use" in err
    assert f"nightsweep resume --store {tmp_path / 's.db'} night" in err
    assert len(answered(tmp_path)) == 2
    status = open_run("night", tmp_path / "s.db").status()
    assert status.jobs[State.RUNNING] == 0
    assert start_again(launcher, tmp_path) == "[0, 1, 2, 3]\n"
    assert (tmp_path / "calls").read_text().split() == ["0", "1", "2", "3", "2", "3"]


def test_the_second_interrupt_stops_at_once(launcher: Launcher, tmp_path: Path) -> None:
    with script(launcher, tmp_path, grace_s=300) as command:
        command.send_signal(signal.SIGINT)
        command.until(lambda: command.stderr.endswith("\n"), "its answer to the interrupt")
        first = command.stderr
        command.send_signal(signal.SIGINT)
        code, err = command.wait(), command.stderr

    assert "stopping after the calls in flight" in first
    assert code == 130, err
    assert "stopping at once; nothing that was answered is lost" in err
    assert open_run("night", tmp_path / "s.db").status().jobs[State.RUNNING] == 0
    assert start_again(launcher, tmp_path) == "[0, 1, 2, 3]\n"


def test_a_script_that_was_killed_is_simply_started_again(
    launcher: Launcher, tmp_path: Path
) -> None:
    with script(launcher, tmp_path, grace_s=1) as command:
        command.kill()

    assert start_again(launcher, tmp_path) == "[0, 1, 2, 3]\n"
    assert (tmp_path / "calls").read_text().split() == ["0", "1", "2", "3", "2", "3"]


def test_a_script_ends_though_it_left_its_rows_half_way(tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(
        dedent(SCRIPT).replace("n >= 2", "False")
        + "found = run.rows()\nnext(found)\nraise ValueError('enough')\n"
    )
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, str(file)], env=environment(1), stderr=subprocess.PIPE, text=True
    )

    _, err = wait_ended(process)

    assert process.returncode == 1
    assert err.endswith("ValueError: enough\n")
