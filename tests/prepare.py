"""Fetches all that the tests need from the network, before they start: `python -m tests.prepare`.

The built-in model, the vendors' packages, two generators of clients and Inspect's packages, about 500 MB,
into the user's cache, and Chromium from the system's packages if there is no browser. What is there already is
not fetched again, and several processes may do this at once. The tests themselves fetch nothing: one that misses
something fails, and names this command.
"""

import sys
import time
from collections.abc import Callable, Mapping
from functools import partial

from engine.kinds import UsageError
from jobs.chat import model_file
from tests import chromium, debian
from tests.jobs.serve.vendors import installed

COMMAND = "python -m tests.prepare"
_ATTEMPTS = 3
_PAUSE_S = 10.0

STEPS: Mapping[str, Callable[[], object]] = {
    "the built-in model": model_file.download,
    "Chromium": chromium.install,
    "systemd-analyze": partial(debian.install, "systemd-analyze", "systemd"),
    **{pinned.stem: partial(installed.install, pinned) for pinned in installed.PACKAGES},
}


def attempt(what: str, step: Callable[[], object], pause_s: float = _PAUSE_S) -> None:
    """Take a step, again if it fails; the last failure is raised."""
    for left in reversed(range(_ATTEMPTS)):
        try:
            step()
        except (UsageError, installed.InstallationError) as error:
            if not left:
                raise
            sys.stderr.write(f"{what}: {error}; trying again in {pause_s:g} s\n")
            time.sleep(pause_s)
        else:
            return


def main() -> None:
    """Take all steps; the process ends with exit code 1 if one fails."""
    for what, step in STEPS.items():
        sys.stdout.write(f"{what} ...\n")
        sys.stdout.flush()
        try:
            attempt(what, step)
        except (UsageError, installed.InstallationError) as error:
            sys.exit(f"{what}: {error}")
    sys.stdout.write("all that the tests need is there\n")


if __name__ == "__main__":
    main()
