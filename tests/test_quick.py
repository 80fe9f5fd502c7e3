"""`pytest -m quick` runs what the page on development says, and reads nothing else."""

import re
import subprocess
import sys

from tests.paths import ROOT
from tests.quick import PATHS


def test_the_quick_tests_are_those_that_the_page_on_development_lists() -> None:
    page = (ROOT / "docs/development.md").read_text()
    [listed] = re.findall(r"^- `pytest -m quick` (.*?)(?=^- |^$)", page, re.DOTALL | re.MULTILINE)

    assert tuple(re.findall(r"`(tests/[^`]+)`", listed)) == PATHS
    assert [path for path in PATHS if not (ROOT / path).exists()] == []
    assert "`.venv/bin/pytest -m quick`" in (ROOT / "CONTRIBUTING.md").read_text()


def test_only_quick_files_are_read_where_the_quick_tests_are_asked_for() -> None:
    arguments = "-q -n0 --collect-only -m quick tests/engine/store"

    collected = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "pytest", *arguments.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert collected.returncode == 0, collected.stdout + collected.stderr
    assert "tests/engine/store/test_queue.py::" in collected.stdout
    assert "test_backup.py" not in collected.stdout
    assert "deselected" not in collected.stdout
