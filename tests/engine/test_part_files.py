"""Nothing is left of a file that was not written to its end, however the writing ended."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.part_files import part_of, private_folder, remove_parts
from engine.report.files import new_file
from tests.paths import ROOT
from tests.patience import next_line, wait_ended, with_stacks

HOUR_S = 3600


def test_an_error_leaves_nothing_of_a_file_that_was_being_written(tmp_path: Path) -> None:
    def write_half() -> None:
        with new_file(tmp_path / "rows.csv") as stream:
            stream.write(b"half")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        write_half()

    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next_that_writes_into_the_folder(
    tmp_path: Path,
) -> None:
    left = [tmp_path / f".old.db.x1.nightsweep.part{end}" for end in ("", "-journal")]
    fresh = tmp_path / ".fresh.db.x2.nightsweep.part"
    foreign = tmp_path / ".foreign.part"
    for path in (*left, fresh, foreign):
        path.touch()
    long_ago = fresh.stat().st_mtime - 2 * HOUR_S
    for path in (*left, foreign):
        os.utime(path, (long_ago, long_ago))

    with new_file(tmp_path / "rows.csv"):
        pass

    assert set(tmp_path.iterdir()) == {fresh, foreign, tmp_path / "rows.csv"}


def test_a_process_that_ends_at_once_can_remove_what_it_is_writing(tmp_path: Path) -> None:
    with part_of(tmp_path / "copy.db") as (descriptor, _):
        os.close(descriptor)
        remove_parts()

        assert list(tmp_path.iterdir()) == []


PATIENT = """
async def work():
    with new_file(Path(sys.argv[1])) as stream:
        stream.write(b"half")
        print("open", flush=True)
        await anyio.sleep_forever()
run_command(work)
"""
BUSY = """
async def work():
    with new_file(Path(sys.argv[1])) as stream:
        print("open", flush=True)
        threading.Event().wait()
run_command(work)
"""
OUTSIDE_OF_A_LOOP = """
end_as_interrupts()
with new_file(Path(sys.argv[1])) as stream:
    print("open", flush=True)
    threading.Event().wait()
"""
PREAMBLE = """
import sys, threading
from pathlib import Path
import anyio
from engine.cli.running import run_command
from engine.cli.signals import end_as_interrupts
from engine.report.files import new_file
"""


@pytest.mark.parametrize(
    ("script", "number"),
    [
        (PATIENT, signal.SIGTERM),
        (PATIENT, signal.SIGHUP),
        (BUSY, signal.SIGTERM),
        (OUTSIDE_OF_A_LOOP, signal.SIGHUP),
    ],
)
def test_a_signal_leaves_nothing_of_a_file_that_was_being_written(
    tmp_path: Path, script: str, number: signal.Signals
) -> None:
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", PREAMBLE + script, str(tmp_path / "rows.csv")],
        cwd=ROOT,
        env=with_stacks(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert next_line(process) == "open"
        process.send_signal(number)
        wait_ended(process)
    finally:
        process.kill()
        process.communicate()

    assert process.returncode != 0
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_ends_at_once_leaves_no_private_folder() -> None:
    with private_folder() as folder:
        (folder / "copy.db").touch()
        remove_parts()

        assert not folder.exists()
