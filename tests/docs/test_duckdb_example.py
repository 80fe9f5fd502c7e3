"""docs/examples/duckdb_results.py: DuckDB reads a run's rows, its Parquet file, and the store of a run."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import anyio
import duckdb
import pytest

from engine.kinds import Answer, Job, Permanent
from engine.testing import ScriptedService, scored
from tests.engine.scenes import finished, opened, sweep
from tests.paths import ROOT

EXAMPLE = ROOT / "docs/examples/duckdb_results.py"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder in which DuckDB has its extension for SQLite, from the package that brings it."""
    found = find_spec("duckdb_extension_sqlite_scanner")
    assert found is not None
    assert found.origin is not None
    [extension] = (Path(found.origin).parent / "extensions").glob(
        "*/sqlite_scanner.duckdb_extension"
    )
    home = tmp_path / "home"
    home.mkdir()
    with duckdb.connect(
        config={"extension_directory": str(home / ".duckdb/extensions")}
    ) as database:
        database.install_extension(str(extension))
    return home


def answer(job: Job) -> Answer | Exception:
    return Permanent("no") if job.labels["model"] == "bad" else scored(0.2, 0.9)


async def test_the_example_shows_rates_and_attempts_while_the_store_is_in_use(
    tmp_path: Path, home: Path
) -> None:
    service = ScriptedService(answer)
    store, file = tmp_path / "night.db", tmp_path / "rows.parquet"
    async with opened(store, service) as engine:
        await finished(engine, sweep(service, models=["good", "bad"], repeats=3))

        done = await anyio.run_process(
            [sys.executable, str(EXAMPLE), str(store), str(file)],
            env={**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT)},
            check=False,
            stderr=subprocess.PIPE,
        )

    shown = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()
    assert shown.count("good") == 2
    assert [line.split()[1:6:2] for line in shown.splitlines() if "good" in line] == [
        ["good", "3", "6"]
    ] * 2
    assert [line.split()[1:6:2] for line in shown.splitlines() if "scripted" in line] == [
        ["scripted", "failed", "3"],
        ["scripted", "succeeded", "3"],
    ]
