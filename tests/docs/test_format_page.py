"""docs/howto/add-a-format.md: following it adds a format and touches one module of the source."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from engine import Sweep, open_engine
from tests.docs.pages import blocks
from tests.paths import ROOT
from tests.patience import PATIENCE_S

PAGE = "docs/howto/add-a-format.md"
COPIED = ("engine", "alembic", "tests/engine/report", "tests/engine/results")
FILES = ("pyproject.toml", "tests/__init__.py", "tests/engine/__init__.py")


async def test_a_format_is_added_as_the_page_says(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for folder in COPIED:
        # With what is compiled of it, which holds for the copy too.
        shutil.copytree(ROOT / folder, tree / folder)
    for file in FILES:
        shutil.copy(ROOT / file, tree / file)
    places = re.findall(r"^`((?:engine|tests)/\S+\.py)`:$", (ROOT / PAGE).read_text(), re.MULTILINE)
    for place, (_, text) in zip(places, blocks("python", PAGE), strict=True):
        assert not (tree / place).exists()
        (tree / place).write_text(text)
    assert [place.split("/")[0] for place in places] == ["engine", "tests"]
    async with open_engine(tree / "store.db") as engine:
        await engine.submit(Sweep.load(ROOT / "docs/examples/quickstart.yaml"))

    def call(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603
            [sys.executable, *args],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tree), str(ROOT)])},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    tested = call("-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", *_tests(places))
    command = "from engine.cli import main; main()"
    written = call("-c", command, "results", "--store", "store.db", "--output", "rows.md")

    assert tested.returncode == 0, tested.stdout
    assert written.returncode == 0, written.stderr
    assert (tree / "rows.md").read_text().startswith("| model | prompt | group | threshold |")


def _tests(places: list[str]) -> list[str]:
    return [
        *[one for one in places if one.startswith("tests/")],
        "tests/engine/report/test_formats.py",
    ]
