from collections.abc import Iterator
from pathlib import Path

import pytest

# Rewritten, so that their failed assertions show values like those of the tests themselves.
for checks in ("barrages", "scenarios", "sweeps"):
    pytest.register_assert_rewrite(f"tests.faults.{checks}")

from tests.contracts.process import ContractServerProcess  # noqa: E402
from tests.engine.store.counts import find_wrong_counts  # noqa: E402
from tests.faults.sweeps import Scenes  # noqa: E402
from tests.launcher.processes import Launcher  # noqa: E402
from tests.patience import until  # noqa: E402


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
    # The answers that are owed to processes that were killed count for this test, not for the next.
    until(
        lambda: not server_process.state()["in_flight"], "the answers that are owed to the killed"
    )
    assert server_process.state()["violations"] == []


@pytest.fixture(autouse=True)
def _counts_stay_exact(tmp_path: Path) -> Iterator[None]:
    """At the end of each test the kept counts of its stores equal a recount, whatever has happened to them."""
    yield
    for path in tmp_path.rglob("*.db"):
        assert find_wrong_counts(path) == []


@pytest.fixture
def scenes(tmp_path: Path, launcher: Launcher) -> Iterator[Scenes]:
    scenes = Scenes(tmp_path, launcher)
    yield scenes
    scenes.end_all()
