"""Real processes on a store: each runs a script of its own and says a line when it got somewhere."""

import os
import select
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from tests.launcher.processes import Command, Launcher
from tests.paths import ROOT
from tests.patience import PATIENCE_S, in_vain

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

    def __init__(self, command: Command, stdin: BinaryIO, stdout: int) -> None:
        self._command = command
        self._stdin = stdin
        self._stdout = stdout
        self._unread = b""
        self.pid = command.pid

    def line(self) -> str:
        """The next line that it says; empty once it has ended."""
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self._stdout], [], [], PATIENCE_S)
            assert ready, in_vain("a line", self._command.abort())
            received = os.read(self._stdout, 65536)
            if not received:
                break
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode().strip()

    def go_on(self, word: object = "") -> None:
        """Let it read a line."""
        self._stdin.write(f"{word}\n".encode())

    def kill(self) -> None:
        """SIGKILL: it gets no chance to tidy up."""
        self._command.kill()

    def end(self) -> int:
        """Let it come to its end, with nothing more to read; its exit code."""
        self._stdin.close()
        return self._command.wait()


@contextmanager
def child(launcher: Launcher, path: Path, script: str, *args: str) -> Iterator[Child]:
    """A process that runs `script`, in which `PATH` is the store's and `main` is what is run."""
    with TemporaryDirectory() as scratch, ExitStack() as open_ends:
        its_stdin, stdin = os.pipe()
        stdout, its_stdout = os.pipe()
        given = open_ends.enter_context(os.fdopen(stdin, "wb", buffering=0))
        open_ends.callback(os.close, stdout)
        try:
            command = launcher.start(
                ["-c", f"{_PREAMBLE}\n{script}\nanyio.run(main)", str(path), *args],
                folder=ROOT,
                environment=os.environ,
                output=(Path(os.devnull), Path(scratch) / "stderr"),
                streams={0: its_stdin, 1: its_stdout},
                is_python=True,
            )
        finally:
            os.close(its_stdin)
            os.close(its_stdout)
        try:
            yield Child(command, given, stdout)
        finally:
            command.kill()
