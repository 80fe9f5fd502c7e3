"""docs/howto/data-frames.md: its examples run on a store, and its table has the types that frames have."""

import os
import re
from pathlib import Path
from typing import Any

import anyio
import polars
import pytest

from engine import open_engine
from engine.registry import Registry
from engine.testing import ScriptedService
from tests.docs.pages import blocks
from tests.engine.scenes import finished, good, opened, sweep
from tests.launcher.processes import Launcher
from tests.paths import ROOT

PAGE = "docs/howto/data-frames.md"


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path, service = tmp_path / "store.db", ScriptedService(good)
    async with opened(path, service) as engine:
        await finished(engine, sweep(service, models=["a", "b"], matrix={"thresholds": [0.1, 0.5]}))
    return path


def test_the_examples_read_the_rows_and_the_files_of_a_run(store: Path, launcher: Launcher) -> None:
    page: dict[str, Any] = {}
    for _, block in blocks("python", PAGE):
        exec(block, page)  # noqa: S102
    commands = re.findall(r"^    nightsweep (results .*)$", (ROOT / PAGE).read_text(), re.MULTILINE)

    rates = anyio.run(page["read_rates"], str(store))
    for command in commands:
        done = launcher.run(
            [*command.split(), "--store", str(store)], folder=store.parent, environment=os.environ
        )
        assert done.returncode == 0, done.stderr
    by_pandas, by_polars = page["read_files"]()

    assert rates.to_dict("index") == {
        (model, threshold): {"failed": failed, "total": 2}
        for model in "ab"
        for threshold, failed in ((0.1, 0), (0.5, 1))
    }
    assert len(by_pandas) == len(by_polars) == 4


async def test_the_table_has_the_types_of_the_columns(store: Path) -> None:
    lines = re.findall(
        r"^\| (.*?) \| (.*?) \| `(.*?)` \| `(.*?)` \|$", (ROOT / PAGE).read_text(), re.M
    )
    async with open_engine(store, registry=Registry(), read_only=True) as engine:
        run = await engine.run()
        arrow, pandas, other = await run.to_arrow(), await run.to_pandas(), await run.to_polars()

    examples = ("model", "error", "total", "seconds", "asked", "answered_at")
    for column, (_, in_arrow, in_pandas, in_polars) in zip(examples, lines, strict=True):
        kind = str(arrow.schema.field(column).type).replace("tz=", "")
        named = {"dictionary of strings": "dictionary<values=string, indices=int32, ordered=0>"}
        assert kind == named.get(in_arrow, in_arrow)
        assert str(pandas.dtypes[column]) == in_pandas
        assert other.schema[column] == eval(f"polars.{in_polars}", {"polars": polars})  # noqa: S307
