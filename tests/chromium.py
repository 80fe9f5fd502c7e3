"""The browser that opens reports in tests: Debian's Chromium, or one that is there already."""

import os
import shutil
import subprocess

from engine.kinds import UsageError

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PACKAGE = "chromium"
_ADVICE = f"install it, on Debian with `apt-get install {_PACKAGE}`"


def find() -> str | None:
    """The path of the browser; None if there is none."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


def require() -> str:
    """The path of the browser; raises UsageError if there is none."""
    if (found := find()) is None:
        raise UsageError(f"Chromium is not installed: {_ADVICE}")
    return found


def install() -> str:
    """Install Debian's Chromium if there is no browser yet, which only root can do; returns its path.

    Raises UsageError if it cannot be installed.
    """
    if (found := find()) is not None:
        return found
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return require()
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (
        ["update", "-qq"],
        ["install", "-y", "-qq", "--no-install-recommends", _PACKAGE],
    ):
        ended = subprocess.run(  # noqa: S603
            [apt, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        if ended.returncode:
            raise UsageError(
                f"Chromium cannot be installed: {ended.stderr.strip()[-400:]}; {_ADVICE}"
            )
    return require()
