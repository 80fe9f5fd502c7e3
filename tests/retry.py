"""Runs the tests that failed in the last run once more, each alone: `python -m tests.retry`.

A test that passes now depends on what ran beside it or on how busy the machine was. It is printed as
FLAKY: a fault to be mended, but not of the change under test. Exit code 0 if all are flaky, 1 if one
fails again, or if so many failed that the machine cannot be blamed.
"""

import json
import subprocess
import sys
from pathlib import Path

_LAST_FAILED = Path(".pytest_cache/v/cache/lastfailed")
_MOST = 10


def failed_tests() -> list[str]:
    """The tests that failed in the last run of pytest in this folder."""
    if not _LAST_FAILED.is_file():
        return []
    return sorted(json.loads(_LAST_FAILED.read_text(encoding="utf-8")))


def passes_alone(test: str) -> bool:
    """Run one test in a process of its own, with its output on the terminal."""
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", test]
    return subprocess.run(command, check=False).returncode == 0  # noqa: S603


def main() -> None:
    """Run them and print the verdicts."""
    tests = failed_tests()
    if not 0 < len(tests) <= _MOST:
        sys.exit(f"{len(tests)} tests failed on record; from 1 to {_MOST} are run once more")
    verdicts = {test: passes_alone(test) for test in tests}
    for test, passed in verdicts.items():
        sys.stdout.write(f"{'FLAKY' if passed else 'FAILED TWICE'} {test}\n")
    sys.exit(not all(verdicts.values()))


if __name__ == "__main__":
    main()
