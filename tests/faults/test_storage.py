"""What the store's file meets: a disk that fills up in the middle of a run, permissions."""

import json
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.process import ContractServerProcess
from tests.faults.scenarios import start_held
from tests.faults.sweeps import Scenes, crisis
from tests.paths import ROOT
from tests.patience import PATIENCE_S, wait_ended

NOBODY = 65534

# All is imported while a user is still allowed to; what is lazy is imported with a store of its own.
OPEN = """
import os, sys, anyio
from pathlib import Path
from engine import NightsweepError, open_engine

async def use(path):
    async with open_engine(path) as engine:
        await engine.runs()

anyio.run(use, Path(sys.argv[1]))
if os.geteuid() == 0:
    os.setgroups([])
    os.setuid(int(sys.argv[3]))
try:
    anyio.run(use, Path(sys.argv[2]))
except NightsweepError as error:
    print(error)
"""


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that other users may look into, which those of pytest are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def refusal(store: Path, scratch: Path) -> str:
    """The error that a user without special rights gets when opening a store."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", OPEN, str(scratch / "scratch.db"), str(store), str(NOBODY)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_store_that_may_not_be_written_is_named_with_what_to_do(
    open_to_all: Path, tmp_path: Path
) -> None:
    store = open_to_all / "store.db"
    store.touch()
    store.chmod(0o444)
    open_to_all.chmod(0o777)

    message = refusal(store, tmp_path)

    assert message == f"{store}: cannot be written by this user; fix its permissions\n"
    assert store.read_bytes() == b""


def test_a_folder_that_may_not_be_written_is_named_with_what_to_do(
    open_to_all: Path, tmp_path: Path
) -> None:
    open_to_all.chmod(0o555)

    message = refusal(open_to_all / "store.db", tmp_path)

    assert f"the folder {open_to_all} is not writable; choose another with --store" in message
    assert list(open_to_all.iterdir()) == []


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits other processes")
def test_a_disk_that_fills_up_in_the_middle_of_a_run_costs_no_answer_and_no_request(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    scene = scenes.make(crisis(server.url))
    running = start_held(scene, server, rounds=1)

    # No file of the process grows any more, from where the store's log is now.
    log = Path(f"{scene.store}-wal")
    free = resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (log.stat().st_size, -1))
    server.answer()
    running.until(
        lambda: not server.state()["in_flight"] and "cannot commit, trying again" in running.stderr,
        "trouble with the disk",
    )
    resource.prlimit(running.pid, resource.RLIMIT_FSIZE, free)
    server.configure(latency_s=0.0)
    code = running.wait()

    assert code == 0, running.stderr
    # What was in flight as the disk was full is neither lost nor paid for twice.
    assert server.state()["received"] == 200
    assert scene.count("SELECT count(*) FROM result") == 200
    assert scene.succeeded_twice() == 0
    assert scene.is_sound()
    assert "check the disk, then resume" in running.stderr
    assert not list(Path(f"{scene.store}.workers").glob("*.spill"))


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits other processes")
def test_a_full_disk_is_reported_for_as_long_as_it_lasts_and_an_interrupt_then_ends_in_order(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    scene = scenes.make(crisis(server.url))
    hasty = {"NIGHTSWEEP_PROGRESS_EVERY": "1", "NIGHTSWEEP_GRACE_S": "0.1"}
    running = start_held(scene, server, hasty)
    log = Path(f"{scene.store}-wal")
    resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (log.stat().st_size, -1))
    server.answer()

    running.until(
        lambda: running.stderr.count("nothing can be saved since") >= 2, "lines on the full disk"
    )
    looked = scene.run("status")
    running.send_signal(signal.SIGINT)
    code = running.wait()
    server.configure(latency_s=0.0)
    resumed = scene.run("resume")

    assert looked.code == 0, looked.stderr
    assert code == 130, running.stderr
    assert "a bug in the job kind" not in running.stderr
    assert "Traceback" not in running.stderr
    assert "resume:  nightsweep resume crisis" in running.stderr
    assert resumed.code == 0, resumed.stderr
    assert scene.count("SELECT count(*) FROM result") == 200
    assert scene.succeeded_twice() == 0
    assert scene.is_sound()


def test_a_backup_taken_beside_a_working_process_is_sound_and_resumes_to_the_same_rows(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    scene = scenes.make(crisis(server.url))
    running = start_held(scene, server, rounds=1)
    held = scenes.make(crisis(server.url))
    held.store.unlink(missing_ok=True)

    made = scene.run("backup", str(held.store), "--json")
    server.configure(latency_s=0.0)
    server.answer()
    assert running.wait() == 0, running.stderr
    before = server.state()["received"]
    answered = held.count("SELECT count(*) FROM result")
    resumed = held.run("resume")

    assert made.code == 0, made.stderr
    assert 0 < json.loads(made.stdout)["answers"] == answered < 200
    assert resumed.code == 0, resumed.stderr
    assert server.state()["received"] - before == 200 - answered
    assert held.rows() == scene.rows()
    assert held.is_sound()


def test_a_backup_onto_a_full_disk_says_so_and_leaves_nothing_there(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    scene = scenes.make(crisis(server.url))
    assert scene.sweep().code == 0
    target = scene.folder / "elsewhere"
    target.mkdir()

    with scene.popen("backup", str(target / "copy.db")) as process:
        # The store is larger than that.
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (100_000, -1))
        _, message = wait_ended(process)

    assert process.returncode == 2
    assert "copy.db: " in message
    assert "Traceback" not in message
    assert list(target.iterdir()) == []
    assert scene.is_sound()
