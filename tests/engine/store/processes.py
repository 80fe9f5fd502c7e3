"""Real processes on a store: each runs a script of its own and says a line when it got somewhere."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.paths import ROOT
from tests.patience import next_line, wait_ended, with_stacks

_PREAMBLE = """
import sys
from pathlib import Path
import anyio
from engine.clock import SystemClock
from engine.store import open_store
from engine.testing import FakeClock
from tests.engine.store.scenes import *

PATH = Path(sys.argv[1])

def say(*words):
    print(*words, flush=True)
"""


class Child:
    """A process that was started on a store."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.pid = process.pid

    def line(self) -> str:
        """The next line that it says; empty once it has ended."""
        return next_line(self._process)

    def go_on(self, word: object = "") -> None:
        """Let it read a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL: it gets no chance to tidy up."""
        self._process.kill()
        self._process.wait()

    def end(self) -> int:
        """Let it come to its end; its exit code."""
        wait_ended(self._process)
        return self._process.returncode


@contextmanager
def child(path: Path, script: str, *args: str) -> Iterator[Child]:
    """A process that runs `script`, in which `PATH` is the store's and `main` is what is run."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", f"{_PREAMBLE}\n{script}\nanyio.run(main)", str(path), *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=with_stacks(),
    )
    try:
        yield Child(process)
    finally:
        process.kill()
        process.communicate()
