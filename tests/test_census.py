"""The figures on names and prose that `python -m tests.census` prints."""

from pathlib import Path

from tests.census import PROSE, figures

CODE = '''
"""Nobody reads this."""

from engine import clock, kinds
from engine.clock import Clock
from engine.kinds import Service
from engine.serving.limits import ServerLimits


def open_file(*, mode: int) -> None:
    """Open it with that mode."""


def _opened() -> str:
    return "said who"


class File:
    """One two three four."""

    @property
    def closed(self) -> bool:
        return True

    def close(self) -> None:
        """Close it."""
'''
PAGE = """Somebody told me.

    nobody nobody

```
nobody
```
"""


def test_the_figures_are_those_of_the_files(tmp_path: Path) -> None:
    for place in PROSE:
        if place.endswith(".md"):
            (tmp_path / place).write_text(PAGE)
        else:
            (tmp_path / place).mkdir()
    for package in ("engine", "jobs"):
        (tmp_path / package / "module.py").write_text(CODE)
    (tmp_path / "docs/page.md").write_text(PAGE)

    found = figures(tmp_path)

    assert found["engine: functions"] == "3"
    assert found["engine: functions named by a participle"] == "1 (33.3%)"
    assert found["jobs: median words of a public docstring"] == "4"
    assert found["jobs: the same of functions with parameters"] == "5"
    # `from engine import ...` and `from engine.clock import ...`.
    assert found["jobs: imports past engine.kinds"] == "2"
    # Three of sixteen words of docstrings and of the text, and two of three.
    assert found["engine: words of the old style in 1,000"] == "187.5"
    assert found["docs: words of the old style in 1,000"] == "666.7"
    assert found["engine/: modules"] == "1"
