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
from tests.paths import ROOT
from tests.patience import until, wait_ended, with_stacks

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
def script(folder: Path, grace_s: float) -> Iterator["subprocess.Popen[str]"]:
    """The script, with two of its four calls answered and two in flight."""
    file = folder / "script.py"
    file.write_text(dedent(SCRIPT))
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, str(file)],
        env=environment(grace_s),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: _is_half_way(folder), "two answers and two calls in flight")
        yield process
    finally:
        process.kill()
        process.communicate()


def _is_half_way(folder: Path) -> bool:
    calls = folder / "calls"
    return calls.exists() and len(calls.read_text().split()) == 4 and len(answered(folder)) == 2


def answered(folder: Path) -> list[Row]:
    """The rows with an answer."""
    rows = open_run("night", folder / "s.db").rows()
    return [row for row in rows if row.state == State.SUCCEEDED]


def start_again(folder: Path) -> str:
    """What the script prints when it is simply started again, with nothing in its way."""
    (folder / "open").touch()
    done = subprocess.run(  # noqa: S603
        [sys.executable, str(folder / "script.py")],
        env=environment(1),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_the_first_interrupt_gives_back_what_is_in_flight_and_says_how_to_go_on(
    tmp_path: Path,
) -> None:
    with script(tmp_path, grace_s=0.2) as process:
        process.send_signal(signal.SIGINT)
        _, err = wait_ended(process)

    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "stopping after the calls in flight; interrupt again to stop now" in err
    assert "night was interrupted, and its answers are kept: run it again, or use" in err
    assert f"nightsweep resume --store {tmp_path / 's.db'} night" in err
    assert len(answered(tmp_path)) == 2
    status = open_run("night", tmp_path / "s.db").status()
    assert status.jobs[State.RUNNING] == 0
    assert start_again(tmp_path) == "[0, 1, 2, 3]\n"
    assert (tmp_path / "calls").read_text().split() == ["0", "1", "2", "3", "2", "3"]


def test_the_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    with script(tmp_path, grace_s=300) as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = wait_ended(process)

    assert "stopping after the calls in flight" in first
    assert process.returncode == 130, err
    assert "stopping at once; nothing that was answered is lost" in err
    assert open_run("night", tmp_path / "s.db").status().jobs[State.RUNNING] == 0
    assert start_again(tmp_path) == "[0, 1, 2, 3]\n"


def test_a_script_that_was_killed_is_simply_started_again(tmp_path: Path) -> None:
    with script(tmp_path, grace_s=1) as process:
        process.kill()
        wait_ended(process)

    assert start_again(tmp_path) == "[0, 1, 2, 3]\n"
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
