"""The vendors' packages, each in a folder of its own: their versions cannot share an environment.

A folder is installed once and kept in the user's cache, so that a second run needs no network.
"""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from jobs.chat.model_file import cache_folder

_DATEUTIL = ("python-dateutil==2.9.0.post0", "six==1.17.0")
_PACKAGES = {
    # httpx and attrs are there anyway.
    "circuit-breaker-labs-1.0.8": ("circuit-breaker-labs==1.0.8", *_DATEUTIL, "--no-deps"),
    "circuit-breaker-labs-1.0.10": ("circuit-breaker-labs==1.0.10", *_DATEUTIL, "--no-deps"),
    "circuit-breaker-labs-1.0.11": ("circuit-breaker-labs==1.0.11", *_DATEUTIL, "--no-deps"),
    "enkryptai-sdk-1.0.47": ("enkryptai-sdk==1.0.47",),
}
_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
_INSTALLING_S = 600
_CALLING_S = 300


@cache
def installed(package: str) -> Path:
    """The folder with one of the packages; without it tests fail, and none is skipped."""
    folder = cache_folder().parent / "vendors" / f"{package}-{_PYTHON}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Made whole beside it and then renamed: an interrupted installation never counts.
    scratch = Path(mkdtemp(dir=folder.parent, prefix=".installing-"))
    try:
        done = subprocess.run(  # noqa: S603
            [
                *(sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"),
                f"--target={scratch / 'packages'}",
                *_PACKAGES[package],
            ],
            capture_output=True,
            text=True,
            timeout=_INSTALLING_S,
        )
        assert done.returncode == 0, f"{package} cannot be installed: {done.stderr}"
        try:
            (scratch / "packages").rename(folder)
        except OSError:
            # Another test session was quicker.
            assert folder.exists()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def run(package: str, script: str, *arguments: str, given: Any) -> Any:
    """What a script of this folder prints as JSON, with one of the packages on its path."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-P", str(Path(__file__).with_name(script)), *arguments],
        input=json.dumps(given),
        env={**environment, "PYTHONPATH": str(installed(package))},
        capture_output=True,
        text=True,
        timeout=_CALLING_S,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
