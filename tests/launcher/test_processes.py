"""A command of the launcher finds itself as after a start by hand."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.launcher.processes import Launcher

PROBE = """
import atexit, json, os, sys, threading, warnings
import typer

app = typer.Typer()

@app.command()
def tell():
    print(json.dumps({
        "folder": os.getcwd(), "environment": dict(os.environ), "given": sys.stdin.read(),
        "descriptors": len(os.listdir("/dev/fd")),
    }))

@app.command()
def warn():
    warnings.warn("do not do that", ResourceWarning)

@app.command()
def die():
    print("a line")
    os.kill(os.getpid(), 9)

@app.command()
def leave():
    ended = threading.Event()
    atexit.register(lambda: print("at the exit", ended.is_set()))
    threading.Thread(target=lambda: (threading.main_thread().join(), ended.set())).start()
    cycle = [open(os.devnull)]
    cycle.append(cycle)
    raise typer.Exit(7)
"""


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    """An environment in which a command is installed that tells how it was started."""
    info = tmp_path / "packages" / "probe-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: probe\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[nightsweep.commands]\nprobe = probe:app\n")
    (info.parent / "probe.py").write_text(PROBE)
    return {"PYTHONPATH": str(info.parent), "PATH": os.defpath}


def test_a_command_has_its_folder_and_environment_and_nothing_of_the_launcher(
    launcher: Launcher, environment: Mapping[str, str], tmp_path: Path
) -> None:
    ended = launcher.run(["probe", "tell"], folder=tmp_path, environment=environment)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout) == {
        "folder": str(tmp_path),
        "environment": environment,
        "given": "",
        # Its three streams, and the one that it counts them with.
        "descriptors": 4,
    }


def test_a_long_environment_arrives_whole(
    launcher: Launcher, environment: Mapping[str, str], tmp_path: Path
) -> None:
    long = {**environment, **{f"LONG_{number}": "x" * 100_000 for number in range(20)}}

    ended = launcher.run(["probe", "tell"], folder=tmp_path, environment=long)

    assert json.loads(ended.stdout)["environment"] == long


def test_warnings_are_errors_where_the_environment_says_so(
    launcher: Launcher, environment: Mapping[str, str], tmp_path: Path
) -> None:
    strict = {**environment, "PYTHONWARNINGS": "error"}

    lenient = launcher.run(["probe", "warn"], folder=tmp_path, environment=environment)
    ended = launcher.run(["probe", "warn"], folder=tmp_path, environment=strict)

    assert lenient.returncode == 0
    assert ended.returncode == 70
    assert "ResourceWarning: do not do that" in ended.stderr


def test_a_command_waits_for_its_threads_and_does_what_it_has_registered_before_it_ends(
    launcher: Launcher, environment: Mapping[str, str], tmp_path: Path
) -> None:
    strict = {**environment, "PYTHONWARNINGS": "error"}

    ended = launcher.run(["probe", "leave"], folder=tmp_path, environment=strict)

    assert (ended.returncode, ended.stdout) == (7, "at the exit True\n")
    assert "ResourceWarning: unclosed file" in ended.stderr


def test_a_terminal_is_shown_each_line_at_once(
    launcher: Launcher, environment: Mapping[str, str], tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    try:
        died = launcher.run(
            ["probe", "die"], folder=tmp_path, environment=environment, streams={1: theirs}
        )
    finally:
        os.close(theirs)
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        shown = terminal.read(4096)

    assert died.returncode == -signal.SIGKILL
    assert shown == b"a line\r\n"


SCRIPT = """
import json, sys

print(json.dumps({
    "is main": vars(sys.modules["__main__"]) is globals(),
    "names": [__name__, globals().get("__file__"), __package__, getattr(__spec__, "name", None)],
    "arguments": sys.argv, "folder": sys.path[0], "writes": not sys.dont_write_bytecode,
}))
if "fail" in sys.argv:
    raise KeyError("a failure")
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["told.py", "a", "fail"],
        ["deep/told.py"],
        ["-m", "deep.told", "a", "fail"],
        ["-m", "told"],
        ["-c", SCRIPT, "a", "fail"],
    ],
    ids=["file", "file in a folder", "module of a package", "module", "code"],
)
def test_a_script_finds_itself_as_after_a_start_by_hand(
    arguments: list[str], launcher: Launcher, tmp_path: Path
) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("told.py", "deep/told.py"):
        (tmp_path / name).write_text(SCRIPT)
    environment = {"PYTHONDONTWRITEBYTECODE": "1"}

    ended = launcher.run(arguments, folder=tmp_path, environment=environment, is_python=True)
    by_hand = subprocess.run(  # noqa: S603
        [sys.executable, *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (by_hand.returncode, by_hand.stdout)
    assert json.loads(ended.stdout)["is main"]
    last_line = "KeyError: 'a failure'\n" if "fail" in arguments else ""
    assert ended.stderr.endswith(last_line)
    assert by_hand.stderr.endswith(last_line)
    assert bool(ended.stderr) is bool(by_hand.stderr)
