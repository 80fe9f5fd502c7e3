"""A script that is killed half-way and simply started again: it finishes, and repeats nothing that was answered."""

import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pandas
import pandas.testing
import pytest

from engine import open_run
from tests.patience import until, wait_ended, with_stacks

CELLS, IN_FLIGHT, ANSWERED = 40, 4, 17
PROCESSES = 2
"""Each takes as long to start as the script."""
SCRIPT = f"""
import asyncio
import os
import threading

from engine import Sweep, job

HELD = os.environ.get("HELD")


def record(number: int) -> bool:
    \"\"\"Write that a call was made; whether it is one of those that the kill finds in flight.\"\"\"
    file = os.open("calls", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    line = f"{{os.getpid()}} {{number}}\\n"
    os.write(file, line.encode())
    os.close(file)
    with open("calls") as calls:
        # By its own place: others may have been written meanwhile.
        return HELD is not None and calls.readlines().index(line) >= {ANSWERED}


@job(max_in_flight={IN_FLIGHT})
async def in_the_loop(number: int) -> dict[str, float | str]:
    if record(number):
        await asyncio.Event().wait()
    return {{"half": number / 2, "text": "x" * number}}


@job(max_in_flight={IN_FLIGHT})
def in_threads(number: int) -> dict[str, float | str]:
    if record(number):
        threading.Event().wait()
    return {{"half": number / 2, "text": "x" * number}}


function = globals()[os.environ["FUNCTION"]]
matrix = {{"number": range({CELLS})}}
processes = int(os.environ["PROCESSES"]) or None
sweep = Sweep("script", function, matrix=matrix, processes=processes)
run = sweep.run("store.db", progress=False)
print(run.status().cells_done, "cells answered")
"""


class Script:
    """The script in a folder of its own, which it fills with its store and a line for each call."""

    def __init__(self, folder: Path, function: str, processes: int = 0) -> None:
        folder.mkdir()
        (folder / "script.py").write_text(SCRIPT)
        self._folder = folder
        self._environment = {"FUNCTION": function, "PROCESSES": str(processes)}
        self.in_flight = processes or IN_FLIGHT

    def start(self, *, held: bool = False) -> "subprocess.Popen[str]":
        """Start it; with `held`, calls after the first ones do not end."""
        return subprocess.Popen(
            [sys.executable, "script.py"],
            cwd=self._folder,
            env={**with_stacks(), **self._environment, **({"HELD": "1"} if held else {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self) -> str:
        """Start it, and return what it prints until it ends."""
        with self.start() as process:
            stdout, stderr = wait_ended(process)
        assert process.returncode == 0, stderr
        return stdout

    def kill_half_way(self) -> None:
        """Start it, and kill it with some calls answered and as many as may be in flight."""
        with self.start(held=True) as process:
            try:
                until(lambda: len(self.calls()) == ANSWERED + self.in_flight, "the calls")
            finally:
                process.kill()
                # The processes of a run end with their call, which is one that does not end.
                for pid, _ in self.calls():
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    def calls(self) -> list[tuple[int, int]]:
        """Each call that was made: the process, and the number that it was given."""
        path = self._folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(pid), int(number)) for pid, number in map(str.split, lines)]

    def frame(self) -> "pandas.DataFrame":
        """The data frame of the run, without what depends on the clock."""
        frame = open_run("script", self._folder / "store.db").to_pandas()
        return frame.drop(columns=["attempts", "seconds", "answered_at"])


@pytest.mark.parametrize(
    ("function", "processes"),
    [("in_the_loop", 0), ("in_threads", 0), ("in_threads", PROCESSES)],
    ids=["in the loop", "in threads", "in processes"],
)
def test_a_killed_script_that_is_started_again_repeats_only_what_was_in_flight(
    tmp_path: Path, function: str, processes: int
) -> None:
    # What is undisturbed has the same answers without processes.
    undisturbed = Script(tmp_path / "undisturbed", function)
    killed = Script(tmp_path / "killed", function, processes)
    undisturbed.finish()

    killed.kill_half_way()
    before = {number for _, number in killed.calls()}
    printed = killed.finish()

    counted = Counter(number for _, number in killed.calls())
    repeated = {number for number, times in counted.items() if times > 1}
    assert printed == f"{CELLS} cells answered\n"
    assert set(counted) == set(range(CELLS))
    # A slot is free only once its answer is on disk: the first calls are answered.
    assert repeated < before
    assert [counted[number] for number in repeated] == [2] * killed.in_flight
    pandas.testing.assert_frame_equal(killed.frame(), undisturbed.frame())
    assert len(killed.frame()) == CELLS


def test_a_finished_script_that_is_started_again_calls_nothing(tmp_path: Path) -> None:
    script = Script(tmp_path / "script", "in_the_loop")
    script.finish()

    printed = script.finish()

    assert printed == f"{CELLS} cells answered\n"
    assert len(script.calls()) == CELLS
