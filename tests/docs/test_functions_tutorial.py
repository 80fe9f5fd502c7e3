"""docs/tutorial/functions.md: its examples, run one after the other, print what the page says."""

import os
import re
from pathlib import Path

from tests.engine.store.scenes import rows
from tests.launcher.processes import Launcher
from tests.paths import ROOT

PAGE = (ROOT / "docs/tutorial/functions.md").read_text()
STEP = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)


def start(launcher: Launcher, folder: Path) -> str:
    """Run the whole tutorial as one script, and return what it prints."""
    (folder / "tutorial.py").write_text("\n\n".join(code for code, _ in STEP.findall(PAGE)))
    done = launcher.run(["tutorial.py"], folder=folder, environment=os.environ, is_python=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_tutorial_prints_what_it_says_also_when_it_is_started_again(
    launcher: Launcher, tmp_path: Path
) -> None:
    said = "".join(text for _, text in STEP.findall(PAGE))

    first = start(launcher, tmp_path)
    [attempts] = rows(tmp_path / "pi.db", "SELECT count(*) FROM attempt")
    second = start(launcher, tmp_path)

    assert first == second == said
    assert rows(tmp_path / "pi.db", "SELECT count(*) FROM attempt") == [attempts]
