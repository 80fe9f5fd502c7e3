import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.launcher.processes import Command, Launcher
from tests.paths import ROOT
from tests.patience import PATIENCE_S

MAIN = (sys.executable, "-c", "from engine.cli import main; main()")

Nightsweep: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    """An environment in which the scripted service and an added command are installed."""
    packages = tmp_path / "packages"
    info = packages / "scripted-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scripted\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[nightsweep.services]\n"
        "scripted = tests.engine.cli.scripted:ScriptedService\n"
        "[nightsweep.commands]\n"
        "greetings = tests.engine.cli.scripted:added\n"
        "gone = tests.engine.cli.scripted:nothing\n"
    )
    return {
        **{name: text for name, text in os.environ.items() if not name.startswith("NIGHTSWEEP_")},
        "PYTHONPATH": os.pathsep.join([str(packages), str(ROOT)]),
        "PYTHONWARNINGS": "error",
        "NIGHTSWEEP_GRACE_S": "0.2",
        "COLUMNS": "80",
    }


@pytest.fixture
def nightsweep(launcher: Launcher, tmp_path: Path, environment: Mapping[str, str]) -> Nightsweep:
    """Run the command line in a process of its own, in tmp_path."""

    def call(
        *args: str, streams: Mapping[int, int] | None = None, **more: str
    ) -> subprocess.CompletedProcess[str]:
        return launcher.run(
            args, folder=tmp_path, environment={**environment, **more}, streams=streams
        )

    return call


@contextmanager
def launched_run(
    launcher: Launcher, path: str, folder: Path, environment: Mapping[str, str]
) -> Iterator[Command]:
    """A `nightsweep run` whose requests are in flight, for tests of what is done meanwhile."""
    run = launcher.start(
        ["run", path, "--progress-every", "1"],
        folder=folder,
        environment=environment,
        output=(folder / "run.stdout", folder / "run.stderr"),
    )
    try:
        run.until(lambda: "1 running" in run.stderr, "a request was in flight")
        yield run
    finally:
        run.kill()


@pytest.fixture
def installed_nightsweep(tmp_path: Path, environment: Mapping[str, str]) -> Nightsweep:
    """The same in an interpreter of its own: for what is decided while that starts."""

    def call(*args: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603
            [*MAIN, *args],
            cwd=tmp_path,
            env={**environment, **more},
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE_S,
            check=False,
        )

    return call


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., str]:
    """Write a sweep over scripted models and return its path."""

    def write(
        *models: str, name: str = "night", service: str = "kind: scripted", more: str = ""
    ) -> str:
        path = tmp_path / "sweep.yaml"
        path.write_text(
            f"name: {name}\n"
            f"service: {{{service}}}\n"
            "evaluation: scripted\n"
            "matrix:\n"
            f"  models: [{', '.join(models)}]\n"
            "  thresholds: [0.3, 0.5]\n"
            f"{more}"
        )
        return str(path)

    return write
