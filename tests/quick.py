"""The quick tests: `pytest -m quick` runs what the core promises in under a minute."""

from functools import cache
from pathlib import Path

from tests.paths import ROOT

PATHS = (
    "tests/engine/core",
    "tests/engine/documents",
    "tests/engine/report",
    "tests/engine/results",
    "tests/engine/store/test_dialect.py",
    "tests/engine/store/test_queue.py",
    "tests/engine/store/test_quotas.py",
    "tests/engine/store/test_rates.py",
    "tests/engine/store/sqlite/test_schema.py",
    "tests/engine/store/test_submission.py",
    "tests/engine/sweep",
    "tests/engine/test_limits.py",
)
"""Folders and files whose tests are quick. Other files are not even imported by `-m quick`."""

_QUICK = tuple(ROOT / path for path in PATHS)


@cache
def is_quick(file: Path) -> bool:
    """Whether a file's tests are quick."""
    return any(file.is_relative_to(path) for path in _QUICK)
