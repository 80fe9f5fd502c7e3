"""Starts commands of nightsweep in processes of their own, without the half second of each start.

This process imports all that a command needs, once, and forks. It reads a JSON object a line from
stdin (`arguments`, `folder`, `environment`, `stdout`, `stderr`, `faults`) and answers each on stdout
with `{"pid": ...}`, and later with `{"ended": pid, "code": ...}`. When stdin closes it kills what it
has started, and ends.
"""

import faulthandler
import gc
import json
import os
import selectors
import signal
import sys
from collections.abc import Mapping
from typing import Any

import alembic.command
import alembic.config
import alembic.script
import anyio._backends._asyncio
import sqlalchemy.dialects.sqlite.aiosqlite

import engine.cli.commands
import engine.cli.control
import engine.cli.progress
import engine.cli.run
import engine.report.document
import engine.report.formats
import engine.session
import jobs.circuit_breaker_labs
import jobs.enkrypt
from engine.cli import main
from tests.faults.failpoints import Faults, install

_ = (alembic, anyio, sqlalchemy, engine, jobs)


def _child(request: Mapping[str, Any]) -> None:
    """Be the command, from here to the end of the process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for descriptor, path in ((0, os.devnull), (1, request["stdout"]), (2, request["stderr"])):
        opened = os.open(path, flags if descriptor else os.O_RDONLY, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    # A test that waits for it in vain aborts it, to be told what it was doing.
    faulthandler.enable()
    install(Faults.read(request["faults"]))
    main(request["arguments"])


class _Starter:
    def __init__(self) -> None:
        self._started: set[int] = set()
        self._ended, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def serve(self) -> Mapping[str, Any] | None:
        """Fork for each request; returns it in the child, and None in this process at the end."""
        with selectors.DefaultSelector() as ready:
            ready.register(0, selectors.EVENT_READ)
            ready.register(self._ended, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    if key.fd == self._ended:
                        os.read(self._ended, 4096)
                        self._reap()
                        continue
                    line = _read_line()
                    if not line:
                        self._kill_all()
                        return None
                    request: dict[str, Any] = json.loads(line)
                    if self._fork() == 0:
                        return request

    def _fork(self) -> int:
        pid = os.fork()
        if pid:
            self._started.add(pid)
            _say({"pid": pid})
        else:
            signal.set_wakeup_fd(-1)
        return pid

    def _reap(self) -> None:
        while self._started:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            self._started.discard(pid)
            _say({"ended": pid, "code": os.waitstatus_to_exitcode(status)})

    def _kill_all(self) -> None:
        for pid in self._started:
            os.kill(pid, signal.SIGKILL)


def _read_line() -> bytes:
    """One line of stdin, without a buffer that would be shared with children."""
    line = b""
    while not line.endswith(b"\n"):
        character = os.read(0, 1)
        if not character:
            return b""
        line += character
    return line


def _say(message: Mapping[str, Any]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    gc.collect()
    gc.freeze()
    _say({"ready": True})
    asked = _Starter().serve()
    if asked is None:
        sys.exit()
    _child(asked)
