import json
import os
import pty
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.engine.cli.conftest import MAIN, Nightsweep
from tests.patience import awaiting, until, wait_ended, with_stacks

Sweep = Callable[..., str]


@contextmanager
def running(
    path: str, tmp_path: Path, environment: Mapping[str, str], **more: str
) -> Iterator[subprocess.Popen[str]]:
    """A `nightsweep run` whose requests are in flight."""
    process = subprocess.Popen(  # noqa: S603
        [*MAIN, "run", path, "--progress-every", "1", "--json"],
        cwd=tmp_path,
        env=with_stacks({**environment, **more}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_printed(process, "1 running")
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_printed(process: "subprocess.Popen[str]", text: str) -> None:
    """Return once this text is on a process's stderr; fails if the process ends first, or after a limit."""
    assert process.stderr is not None
    output = []
    with awaiting(repr(text), process):
        for line in process.stderr:
            if text in line:
                return
            output.append(line)
        pytest.fail(f"it ended before it printed {text!r}; it printed: {''.join(output)}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_stops_gracefully_and_the_run_can_be_resumed(
    number: signal.Signals,
    nightsweep: Nightsweep,
    sweep: Sweep,
    tmp_path: Path,
    environment: Mapping[str, str],
) -> None:
    with running(sweep("a", "slow"), tmp_path, environment) as process:
        process.send_signal(number)
        out, err = wait_ended(process)

    assert process.returncode == 130, err
    assert "stopping after the requests in flight" in err
    assert "resume:  nightsweep resume night" in err
    status = json.loads(out)
    assert (status["reason"], status["cells_done"], status["cells_failed"]) == ("interrupted", 2, 0)
    assert status["jobs"]["running"] == 0


def test_the_second_signal_stops_at_once(
    nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    with running(sweep("a", "slow"), tmp_path, environment, NIGHTSWEEP_GRACE_S="300") as process:
        process.send_signal(signal.SIGINT)
        wait_printed(process, "stopping")
        process.send_signal(signal.SIGINT)
        _, err = wait_ended(process)

    assert process.returncode == 130
    assert "stopping at once" in err
    status = json.loads(nightsweep("status", "--json").stdout)
    assert status["cells_done"] == 2


def test_a_closed_terminal_that_says_so_several_times_still_stops_gracefully(
    nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    with running(sweep("a", "slow"), tmp_path, environment) as process:
        process.send_signal(signal.SIGHUP)
        wait_printed(process, "stopping")
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGHUP)
        _, err = wait_ended(process)

    assert process.returncode == 130, err
    assert "stopping at once" not in err
    assert json.loads(nightsweep("status", "--json").stdout)["cells_done"] == 2


def test_a_run_under_nohup_outlives_its_terminal(
    sweep: Sweep, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    path = sweep("a", "slow")
    command = ["nohup", *MAIN, "run", path, "--progress-every", "1", "--json"]
    process = subprocess.Popen(  # noqa: S603
        command,
        cwd=tmp_path,
        env=with_stacks(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_printed(process, "1 running")
        process.send_signal(signal.SIGHUP)
        wait_printed(process, "1 running")
        process.send_signal(signal.SIGINT)
        _, err = wait_ended(process)
    finally:
        process.kill()
        process.communicate()

    assert err.count("stopping after") == 1


def test_ctrl_c_ends_a_command_that_waits_for_the_lock_of_another_process(
    nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    assert nightsweep("run", sweep("a")).returncode == 0
    store, workers = tmp_path / "nightsweep.db", tmp_path / "nightsweep.db.workers"
    with closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("UPDATE run SET state = 'active'")
        other.execute("BEGIN IMMEDIATE")
        process = subprocess.Popen(  # noqa: S603
            [*MAIN, "pause"],
            cwd=tmp_path,
            env=with_stacks(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # Its worker's lock: it has begun to open the store.
        until(lambda: bool(list(workers.glob("*-*.lock"))), "the opening of the store")
        process.send_signal(signal.SIGINT)
        _, err = wait_ended(process)
        state = other.execute("SELECT state FROM run").fetchone()

    assert (process.returncode, err) == (130, "nightsweep: interrupted\n")
    assert state == ("active",)


def is_stopped(process: "subprocess.Popen[str]") -> bool:
    """Wait until a process was stopped or has ended; whether it was stopped."""
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    return os.WIFSTOPPED(status)


def test_ctrl_z_lets_the_transaction_end_so_that_no_process_waits_for_a_stopped_one(
    sweep: Sweep, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    store = tmp_path / "nightsweep.db"
    process = subprocess.Popen(  # noqa: S603
        [*MAIN, "run", sweep("a", "b", more="  repeats: 10000\n"), "--progress-every", "1"],
        cwd=tmp_path,
        env=with_stacks(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A group of its own, as a shell starts it: the system does not stop orphaned groups.
        process_group=0,
    )
    locked = []
    try:
        wait_printed(process, " answered")
        with closing(sqlite3.connect(store, timeout=0, isolation_level=None)) as other:
            for _ in range(20):
                process.send_signal(signal.SIGTSTP)
                with awaiting("SIGTSTP", process):
                    assert is_stopped(process)
                try:
                    other.execute("BEGIN IMMEDIATE")
                    other.execute("ROLLBACK")
                except sqlite3.OperationalError as error:
                    locked.append(str(error))
                process.send_signal(signal.SIGCONT)
        [answered] = other_count(store)
    finally:
        process.kill()
        process.communicate()

    assert locked == []
    assert 0 < answered < 20_000


def other_count(store: Path) -> tuple[int]:
    """How many answers there are in a store."""
    with closing(sqlite3.connect(store)) as connection:
        count: tuple[int] = connection.execute("SELECT count(*) FROM result").fetchone()
        return count


def test_a_terminal_gets_one_live_display_and_a_pipe_gets_the_data(
    sweep: Sweep, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(  # noqa: S603
        [*MAIN, "run", sweep("a", "slow"), "--json"],
        cwd=tmp_path,
        env=with_stacks({**environment, "TERM": "xterm"}),
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    seen = ""
    try:
        with awaiting("the display", process):
            while "requests:" not in seen:
                seen += os.read(ours, 4096).decode(errors="replace")
        process.send_signal(signal.SIGINT)
        out, _ = wait_ended(process)
    finally:
        process.kill()
        process.communicate()
        os.close(ours)

    assert "cells" in seen
    assert json.loads(out)["run"] == "night"
