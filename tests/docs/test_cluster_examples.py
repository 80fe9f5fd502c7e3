"""docs/examples/cluster: unit files, manifests and scripts, read by the tools that they are written for."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.documents.document import YAML
from tests import debian
from tests.paths import ROOT
from tests.patience import PATIENCE_S

FOLDER = ROOT / "docs/examples/cluster"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.sh"))
MANIFESTS = sorted(path.name for path in FOLDER.glob("*.yaml"))
BIN = Path(sys.executable).parent


def run(*command: str) -> str:
    """The output of a command, which must succeed."""
    ended = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_read_by_bash(name: str) -> None:
    bash = shutil.which("bash")
    assert bash is not None

    assert run(bash, "-n", str(FOLDER / name)) == ""


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_is_what_the_schemas_of_kubernetes_demand(name: str) -> None:
    said = run(str(BIN / "kubernetes-validate"), "--strict", str(FOLDER / name))

    documents = (FOLDER / name).read_text().split("\n---\n")
    assert said.count(" passed ") == len(documents)


def test_the_unit_is_read_by_systemd(tmp_path: Path) -> None:
    written = (FOLDER / "nightsweep-worker.service").read_text()
    # The only thing that differs from machine to machine: where the command is installed.
    unit = tmp_path / "nightsweep-worker.service"
    unit.write_text(written.replace("/opt/nightsweep/bin/nightsweep", str(BIN / "nightsweep")))

    assert str(unit.name) not in run(
        debian.require("systemd-analyze", "systemd"), "verify", str(unit)
    )


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("scheduler", ("--port", "--no-dashboard")),
        ("worker", ("--nthreads", "--no-dashboard", "--lifetime", "--lifetime-stagger")),
        ("ssh", ("--hostfile", "--nworkers", "--nthreads")),
    ],
)
def test_dask_has_the_options_that_the_examples_use(command: str, options: tuple[str, ...]) -> None:
    said = run(str(BIN / "dask"), command, "--help")

    assert [option for option in options if option not in said] == []


def test_the_examples_call_nightsweep_with_options_that_it_has() -> None:
    job = YAML.read((FOLDER / "kubernetes-workers.yaml").read_text())
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["nightsweep", "worker"]
    compile((FOLDER / "dask_slurm.py").read_text(), "dask_slurm.py", "exec")
    said = run(str(BIN / "nightsweep"), "worker", "--help")
    for variable in ("NIGHTSWEEP_STORE", "--stay"):
        assert variable in said
