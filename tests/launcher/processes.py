"""Commands as real processes, to be killed, stopped and waited for."""

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any, Self

from tests.faults.failpoints import Faults
from tests.paths import ROOT
from tests.patience import DYING_S, PATIENCE_S, PAUSE_S, in_vain, until

NOWHERE = (Path(os.devnull), Path(os.devnull))


class Launcher:
    """Starts commands from a process that has imported everything already: see `tests.launcher.fork_server`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        self._codes: dict[int, int] = {}
        self._unread = b""

    def __enter__(self) -> Self:
        self._requests, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.launcher.fork_server"],
                cwd=ROOT,
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,
            )
        try:
            assert self._answer(PATIENCE_S) == {"ready": True}
        except BaseException:
            self._process.kill()
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._process is not None
        assert self._requests is not None
        self._requests.close()
        try:
            self._process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise

    def start(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        output: tuple[Path, Path] = NOWHERE,
        streams: Mapping[int, int] | None = None,
        faults: Faults | None = None,
        is_python: bool = False,
    ) -> "Command":
        """Start a command, or `python` with the arguments; `environment` is the whole of its environment.

        Its stdin is empty; its stdout and stderr are written to the two files of `output`. `streams`
        are descriptors of this process that take the place of any of the three, by their number.
        """
        request = {
            "arguments": list(arguments),
            "is_python": is_python,
            "folder": str(folder),
            "environment": dict(environment),
            "faults": asdict(faults or Faults()),
        }
        with (
            Path(os.devnull).open() as stdin,
            output[0].open("w") as out,
            output[1].open("w") as err,
        ):
            usual = {0: stdin.fileno(), 1: out.fileno(), 2: err.fileno()}
            self._send(request, {**usual, **(streams or {})})
        while "pid" not in (answer := self._answer(PATIENCE_S)):
            self._codes[answer["ended"]] = answer["code"]
        # Linux gives numbers again: an earlier command may have had this one.
        self._codes.pop(answer["pid"], None)
        return Command(self, int(answer["pid"]), output)

    def run(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        streams: Mapping[int, int] | None = None,
        is_python: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """The same to its end, with what it has written to stdout and stderr."""
        with TemporaryDirectory() as scratch:
            output = (Path(scratch) / "stdout", Path(scratch) / "stderr")
            command = self.start(
                arguments,
                folder=folder,
                environment=environment,
                output=output,
                streams=streams,
                is_python=is_python,
            )
            try:
                code = command.wait()
            finally:
                command.kill()
            return subprocess.CompletedProcess(arguments, code, command.stdout, command.stderr)

    def _send(self, request: Mapping[str, Any], streams: Mapping[int, int]) -> None:
        assert self._requests is not None
        line = json.dumps(request).encode() + b"\n"
        sent = socket.send_fds(self._requests, [line], [streams[number] for number in range(3)])
        self._requests.sendall(line[sent:])

    def wait_code(self, pid: int, timeout_s: float) -> int | None:
        """The exit code of a process, None if it has not ended within the time."""
        end = monotonic() + timeout_s
        while pid not in self._codes:
            answer = self._answer(end - monotonic())
            if answer is None:
                return None
            self._codes[answer["ended"]] = answer["code"]
        return self._codes[pid]

    def _answer(self, timeout_s: float) -> Any:
        """The next line that the launcher says, None if there is none within the time."""
        assert self._process is not None
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        end = monotonic() + timeout_s
        with selectors.DefaultSelector() as ready:
            ready.register(descriptor, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not ready.select(max(0.0, end - monotonic())):
                    return None
                received = os.read(descriptor, 65536)
                assert received, "the launcher has died"
                self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)


class Command:
    """One command that was started."""

    def __init__(self, launcher: Launcher, pid: int, output: tuple[Path, Path]) -> None:
        self.pid = pid
        self._launcher = launcher
        self._output = output

    @property
    def stdout(self) -> str:
        return self._output[0].read_text()

    @property
    def stderr(self) -> str:
        return self._output[1].read_text()

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._launcher.wait_code(self.pid, 0.0)

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        code = self._launcher.wait_code(self.pid, PATIENCE_S)
        assert code is not None, in_vain("its end", self.abort())
        return code

    def until(self, happened: Callable[[], bool], what: str) -> None:
        """Return once it has happened; fails with `what` if the command ends before, or it never does."""

        def has_happened() -> bool:
            # Asked for first: what happens just before its end has happened.
            has_ended = self.poll() is not None
            if happened():
                return True
            assert not has_ended, f"it has ended before {what}: {self.stderr}"
            return False

        until(has_happened, what, pause=self.pause, last_words=self.abort)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and its end."""
        with contextlib.suppress(ProcessLookupError):
            self.send_signal(signal.SIGKILL)
        self.wait()

    def pause(self) -> None:
        """Let a moment pass, or less if it ends: for what no event tells of."""
        self._launcher.wait_code(self.pid, PAUSE_S)

    def wait_stopped(self) -> None:
        """Return once SIGSTOP has taken hold of it."""
        self.until(lambda: self._state() == "T", "SIGSTOP")

    def abort(self) -> str:
        """End a command that is no longer waited for; returns its output, with its stacks."""
        for number in (signal.SIGABRT, signal.SIGCONT):
            self.send_signal(number)
        self._launcher.wait_code(self.pid, DYING_S)
        return f"its output: {self.stderr}"

    def _state(self) -> str:
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except FileNotFoundError:
            return "X"
        return stat.rpartition(")")[2].split()[0]
