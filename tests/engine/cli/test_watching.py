import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import anyio
import pytest

from engine.cli.progress import Lines, watch
from engine.testing import ScriptedService
from tests.engine.cli.conftest import MAIN, Nightsweep, launched_run
from tests.engine.scenes import good, opened
from tests.engine.scenes import sweep as scripted_sweep
from tests.launcher.processes import Command, Launcher
from tests.patience import awaiting, wait_ended, with_stacks

Sweep = Callable[..., str]


@pytest.fixture
def run(
    launcher: Launcher, sweep: Sweep, tmp_path: Path, environment: Mapping[str, str]
) -> Iterator[Command]:
    """A run that another process works on."""
    with launched_run(launcher, sweep("a", "slow"), tmp_path, environment) as command:
        yield command


@contextmanager
def watching(
    tmp_path: Path, environment: Mapping[str, str], *args: str, stdout: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    """A `nightsweep status --watch`."""
    process = subprocess.Popen(  # noqa: S603
        [*MAIN, "status", "--watch", "--progress-every", "1", *args],
        cwd=tmp_path,
        env=with_stacks(environment),
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_on(terminal: int) -> None:
    """Read what a terminal shows until the process behind it has ended."""
    # EIO: the other end is closed.
    with suppress(OSError):
        while os.read(terminal, 4096):
            pass


def next_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    with awaiting("a line", process):
        return process.stdout.readline()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_a_watched_run_is_printed_line_by_line_until_it_ends_however_it_does(
    ending: signal.Signals,
    run: Command,
    nightsweep: Nightsweep,
    tmp_path: Path,
    environment: Mapping[str, str],
) -> None:
    with watching(tmp_path, environment) as watch:
        lines = [next_line(watch), next_line(watch)]
        run.send_signal(ending)
        out, err = wait_ended(watch)

    assert (watch.returncode, err) == (0, "")
    moment = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d "
    assert all(re.match(moment + ".*2/4 cells.* 1 running", line) for line in lines)
    assert out.endswith(nightsweep("status").stdout)


def test_the_questions_of_jobs_in_flight_in_another_process_are_counted(
    launcher: Launcher,
    sweep: Sweep,
    nightsweep: Nightsweep,
    tmp_path: Path,
    environment: Mapping[str, str],
) -> None:
    with (
        launched_run(launcher, sweep("a", "halfway"), tmp_path, environment),
        watching(tmp_path, environment, "--json") as watch,
    ):
        look = json.loads(next_line(watch))
        # They are stored within a second.
        while not look["questions_in_flight"]:
            look = json.loads(next_line(watch))
        shown = nightsweep("status").stdout

    assert (look["questions_answered_in_flight"], look["questions_in_flight"]) == (12, 24)
    assert look["questions_answered"] == 3 + 12
    assert "\nquestions in flight: 12 of 24 answered\n" in shown


def test_on_a_terminal_a_run_is_redrawn_in_place_and_ctrl_c_ends_the_looking_alone(
    run: Command, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    ours, theirs = pty.openpty()
    with watching(tmp_path, {**environment, "TERM": "xterm"}, stdout=theirs) as watch:
        os.close(theirs)
        seen = ""
        with awaiting("the second drawing", watch):
            while seen.count("2/4 cells") < 2:
                seen += os.read(ours, 4096).decode(errors="replace")
        watch.send_signal(signal.SIGINT)
        # What is drawn until it ends has to be read, or it waits for room in the terminal.
        drain = threading.Thread(target=read_on, args=(ours,))
        drain.start()
        _, err = wait_ended(watch)
        drain.join()
    os.close(ours)

    assert (watch.returncode, err) == (0, "")
    assert "\x1b[1A\x1b[2K" in seen
    assert run.poll() is None


def test_watching_writes_nothing_to_the_store_and_ends_when_its_output_is_closed(
    run: Command, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    with watching(tmp_path, environment, "--json") as watch:
        looks = [json.loads(next_line(watch)), json.loads(next_line(watch))]
        with closing(sqlite3.connect(tmp_path / "nightsweep.db")) as store:
            [workers] = store.execute("SELECT count(*) FROM worker").fetchone()
        assert watch.stdout is not None
        watch.stdout.close()
        watch.stdout = None
        _, err = wait_ended(watch)

    assert [look["jobs"]["running"] for look in looks] == [1, 1]
    assert workers == 1
    assert (watch.returncode, err) == (0, "")
    assert run.poll() is None


def test_of_a_run_that_has_ended_its_status_is_all_there_is_to_watch(
    nightsweep: Nightsweep, sweep: Sweep
) -> None:
    nightsweep("run", sweep("a"))

    [as_json] = nightsweep("status", "--watch", "--json").stdout.splitlines()

    assert nightsweep("status", "--watch").stdout == nightsweep("status").stdout
    assert json.loads(as_json)["state"] == "finished"


async def test_what_is_in_flight_as_a_run_is_paused_is_watched_to_its_end(tmp_path: Path) -> None:
    service = ScriptedService(good, takes_s=0.5)
    path = tmp_path / "store.db"

    async with (
        opened(path, service) as engine,
        opened(path, service) as other,
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(scripted_sweep(service))
        tasks.start_soon(run.execute)
        await service.recording.until_started(1)
        watched = await other.run()
        await watched.pause()
        status = await watch(watched, Lines(0.1))

    assert (status.jobs["running"], status.cells_done) == (0, 1)
