from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.contracts.process import ContractServerProcess
from tests.faults.processes import Launcher
from tests.faults.sweeps import Scene

MakeScene: TypeAlias = Callable[[Mapping[str, Any]], Scene]


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    with Launcher() as launcher:
        yield launcher


@pytest.fixture(scope="session")
def server_process() -> Iterator[ContractServerProcess]:
    with ContractServerProcess() as server:
        yield server


@pytest.fixture
def server(server_process: ContractServerProcess) -> Iterator[ContractServerProcess]:
    """The contract server as if it were new; no request may break the contract, in any test."""
    server_process.configure(
        latency_s=0.0,
        keys=None,
        allotted=10_000_000,
        used=0,
        unknown_models=[],
        unhealthy_models=[],
        fault_probability=0.0,
    )
    server_process.forget()
    yield server_process
    server_process.clear()
    assert server_process.state()["violations"] == []


@pytest.fixture
def make_scene(tmp_path: Path, launcher: Launcher) -> Iterator[MakeScene]:
    """Scenes, whose commands are killed at the end of the test if they still run."""
    scenes: list[Scene] = []

    def make(sweep: Mapping[str, Any]) -> Scene:
        scenes.append(Scene.make(tmp_path / f"scene-{len(scenes)}", launcher, sweep))
        return scenes[-1]

    yield make
    for scene in scenes:
        scene.end_all()
