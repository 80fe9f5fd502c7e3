"""docs/examples/notebook.ipynb, executed by nbconvert in a kernel of this environment."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.engine.store.scenes import rows
from tests.paths import ROOT
from tests.patience import PATIENCE_S, until

NOTEBOOK = ROOT / "docs/examples" / "notebook.ipynb"


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """An environment in which Jupyter knows the kernels of this Python alone, and keeps its files here.

    No process that was started in it is left at the end of the test.
    """
    folder = tmp_path / "jupyter"
    yield {
        **os.environ,
        "JUPYTER_PATH": str(Path(sys.prefix) / "share/jupyter"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    for process in kernels(folder):
        process.kill()


def kernels(folder: Path) -> list[psutil.Process]:
    """The processes that were told of a file in this folder, as kernels are of their connection."""
    found = psutil.process_iter(["cmdline"])
    return [one for one in found if any(str(folder) in part for part in one.info["cmdline"] or [])]


def execute(folder: Path, environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """Execute the notebook in a folder, and return the outputs of its cells; fails if a cell does."""
    done = subprocess.run(  # noqa: S603
        [
            *(sys.executable, "-m", "jupyter", "nbconvert", "--to", "notebook", "--execute"),
            *("--ExecutePreprocessor.kernel_name=python3", "--output", "executed.ipynb"),
            f"--ExecutePreprocessor.timeout={PATIENCE_S:.0f}",
            *("--output-dir", str(folder), str(folder / NOTEBOOK.name)),
        ],
        cwd=folder,
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    executed = json.loads((folder / "executed.ipynb").read_text())
    return [output for cell in executed["cells"] for output in cell.get("outputs", ())]


def pages(outputs: list[dict[str, Any]]) -> list[str]:
    """What the notebook shows as HTML."""
    return ["".join(one["data"].get("text/html", "")) for one in outputs if "data" in one]


def text_of(outputs: list[dict[str, Any]]) -> str:
    """What the notebook prints."""
    return "".join("".join(one["text"]) for one in outputs if one.get("name") == "stdout")


def test_the_notebook_shows_the_plan_the_progress_and_the_frame_and_asks_nothing_twice(
    tmp_path: Path, environment: Mapping[str, str]
) -> None:
    (tmp_path / NOTEBOOK.name).write_text(NOTEBOOK.read_text())

    first = execute(tmp_path, environment)
    second = execute(tmp_path, environment)

    plan, progress, status, table = pages(first)
    assert "guesses: the plan" in plan
    assert "40 of 40 answered" in progress
    assert "40 of 40 answered" in status
    assert "<th>guesses</th>" in table
    assert text_of(first).split() == ["solver,count,min,max", "halves,20,7,10", "counts,20,1,951"]
    assert text_of(second) == text_of(first)
    assert rows(tmp_path / "guesses.db", "SELECT count(*) FROM attempt") == [(40,)]
    until(lambda: not kernels(tmp_path), "the end of the kernels")
