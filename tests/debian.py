"""Programs that the tests need and Debian packages have."""

import os
import shutil
import subprocess

from engine.kinds import UsageError


def require(program: str, package: str) -> str:
    """The path of a program; raises UsageError if it is not there."""
    if (found := shutil.which(program)) is None:
        raise UsageError(
            f"{program} is not installed: install it, on Debian with `apt-get install {package}`"
        )
    return found


def install(program: str, package: str) -> str:
    """Install a Debian package unless its program is there, which only root can do; returns the program's path.

    Raises UsageError if it cannot be installed.
    """
    apt = shutil.which("apt-get")
    if shutil.which(program) is not None or apt is None or os.geteuid() != 0:
        return require(program, package)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (
        ["update", "-qq"],
        ["install", "-y", "-qq", "--no-install-recommends", package],
    ):
        ended = subprocess.run(  # noqa: S603
            [apt, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        if ended.returncode:
            raise UsageError(f"{package} cannot be installed: {ended.stderr.strip()[-400:]}")
    return require(program, package)
