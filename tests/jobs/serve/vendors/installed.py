"""The vendors' packages, and generators of clients, each in a folder of its own.

Their versions cannot share an environment.

Beside this file each has a list of all that is installed with it, in pinned versions; the head of a
list says how it is renewed. The folders are kept in the user's cache. `python -m tests.prepare`
installs them, and no test does: a test that misses one fails.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from filelock import FileLock

from jobs.chat.model_file import cache_folder
from tests.patience import next_line, with_stacks

PACKAGES = tuple(sorted(Path(__file__).parent.glob("*.txt")))
"""The list of each package."""

_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
_INSTALLING_S = 600
_CALLING_S = 300


class InstallationError(Exception):
    """pip could not install a package; holds its words."""


def folder_of(pinned: Path) -> Path:
    """Where what a list names is kept, whether or not it is there yet: elsewhere for each list and Python."""
    with pinned.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    return cache_folder().parent / "vendors" / f"{pinned.stem}-{_PYTHON}-{digest[:12]}"


def install(pinned: Path) -> Path:
    """Install what a list names, unless it is there; its folder, which is there whole or not at all."""
    folder = folder_of(pinned)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        if not folder.exists():
            scratch = Path(mkdtemp(dir=folder.parent, prefix=".installing-"))
            try:
                _run_pip(pinned, scratch / "packages")
                (scratch / "packages").rename(folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _run_pip(pinned: Path, target: Path) -> None:
    command = [
        *(sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"),
        *("--retries", "5", "--no-deps", "--only-binary", ":all:"),
        *("--target", str(target), "--requirement", str(pinned)),
    ]
    try:
        done = subprocess.run(  # noqa: S603
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_INSTALLING_S,
            # The constraints of the project's own packages are not those of the vendors'.
            env={name: text for name, text in os.environ.items() if "CONSTRAINT" not in name},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InstallationError(
            f"pip has not installed {pinned.name} in {error.timeout} s"
        ) from error
    if done.returncode:
        raise InstallationError(f"pip cannot install {pinned.name}: {done.stdout}")


def installed(pinned: Path) -> Path:
    """The folder with what a list names; without it tests fail, and none is skipped."""
    folder = folder_of(pinned)
    assert folder.exists(), f"{folder} is missing: run `python -m tests.prepare`"
    return folder


def run(package: str, script: str, *arguments: str, given: Any, beside: Path | None = None) -> Any:
    """What a script of this folder prints as JSON, with one of the packages on its path.

    What is in the folder `beside` can be imported, too.
    """
    path = str(Path(__file__).with_name(script))
    return json.loads(run_python(package, path, *arguments, given=json.dumps(given), beside=beside))


def run_python(package: str, *arguments: str, given: str = "", beside: Path | None = None) -> str:
    """What Python prints with one of the packages on its path; fails if it fails."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-P", *arguments],
        input=given,
        env=_environment(package, beside),
        capture_output=True,
        text=True,
        timeout=_CALLING_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def asking(package: str, script: str, *arguments: str) -> Iterator[Callable[[Any], Any]]:
    """A script of this folder that answers each line of JSON with a line, started once for many questions."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", str(Path(__file__).with_name(script)), *arguments],
        env=with_stacks(_environment(package)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask(question: Any) -> Any:
        assert process.stdin is not None
        process.stdin.write(f"{json.dumps(question)}\n")
        process.stdin.flush()
        answer = next_line(process)
        assert answer, f"{script} has ended with {process.wait()}"
        return json.loads(answer)

    with process:
        yield ask


def _environment(package: str, beside: Path | None = None) -> dict[str, str]:
    """An environment with one of the packages on the path, and with what is in the folder `beside`."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    packages = installed(Path(__file__).with_name(f"{package}.txt"))
    folders = [packages] if beside is None else [packages, beside]
    return {**environment, "PYTHONPATH": os.pathsep.join(map(str, folders))}
