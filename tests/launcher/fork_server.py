"""Starts commands of nightsweep, and scripts, in processes of their own, without the seconds of each start.

This process imports all that a command needs, once, and forks. It reads a JSON object a line from
stdin, a Unix socket (`arguments`, `is_python`, `folder`, `environment`, `faults`, and the descriptors that
become stdin, stdout and stderr), and answers each on stdout with `{"pid": ...}`, and later with
`{"ended": pid, "code": ...}`. The next line is sent when the first answer to a line is there. When
stdin closes it kills what it has started, and ends.

A command finds itself as after a start by `nightsweep`, but for what an interpreter decides before it
runs any code: the encoding of its streams, the missing ones among them, and `sys.flags`.
"""

from tests.launcher import ending  # before all that registers something for the exit

# isort: split

import faulthandler
import gc
import json
import os
import selectors
import signal
import socket
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import alembic.command
import alembic.config
import alembic.script
import anyio
import anyio._backends._asyncio
import sqlalchemy.dialects.sqlite.aiosqlite

import engine.cli.commands
import engine.cli.control
import engine.cli.panel
import engine.cli.run
import engine.report.document
import engine.report.formats
import engine.session.engine
import jobs.circuit_breaker_labs
import jobs.enkrypt
import jobs.http.client
from engine.cli import main
from engine.testing import ScriptedService
from tests.compiled_statements import share_compiled_statements
from tests.engine.scenes import finished, good, opened, sweep
from tests.faults.failpoints import Faults, install
from tests.launcher.interpreter import interpret

_ = (alembic, anyio, sqlalchemy, engine, jobs)

_STREAMS = 3


async def _compile_statements() -> None:
    """Work on a store: the SQL of that is compiled then, and need not be in each process that is forked."""
    share_compiled_statements()
    service = ScriptedService(good)
    with TemporaryDirectory() as folder:
        async with opened(Path(folder) / "store.db", service) as opened_engine:
            run, _ = await finished(opened_engine, sweep(service))
            _ = [row async for row in run.rows()]


def _child(request: Mapping[str, Any]) -> None:
    """Be the command, from here to the end of the process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(request["folder"])
    for number, descriptor in enumerate(request["streams"]):
        os.dup2(descriptor, number)
        os.close(descriptor)
    # A test that waits for it in vain aborts it, to see what it was doing.
    faulthandler.enable()
    # As in an interpreter of its own, whether or not PYTHONUNBUFFERED is set for the tests.
    sys.stdout.reconfigure(line_buffering=sys.stdout.isatty(), write_through=False)  # type: ignore[union-attr]  # it is no other
    _enter(request["environment"])
    install(Faults.read(request["faults"]))
    with ending.quick():
        (interpret if request["is_python"] else main)(request["arguments"])


def _enter(environment: Mapping[str, str]) -> None:
    """Take over an environment, with what an interpreter reads of it when it starts."""
    os.environ.clear()
    os.environ.update(environment)
    if path := environment.get("PYTHONPATH"):
        sys.path[1:1] = path.split(os.pathsep)
    sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))
    if (action := environment.get("PYTHONWARNINGS")) is not None:
        assert action == "error", "no other action was needed so far"
        warnings.simplefilter("error")


class _Starter:
    def __init__(self) -> None:
        self._started: set[int] = set()
        self._requests = socket.socket(fileno=0)
        self._ended, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)

    def serve(self) -> Mapping[str, Any] | None:
        """Fork for each request; returns it in the child, and None in this process at the end."""
        with selectors.DefaultSelector() as ready:
            ready.register(self._requests, selectors.EVENT_READ)
            ready.register(self._ended, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    if key.fd == self._ended:
                        os.read(self._ended, 4096)
                        self._reap()
                        continue
                    request = self._receive()
                    if request is None:
                        self._kill_all()
                        return None
                    if self._fork() == 0:
                        return request
                    for descriptor in request["streams"]:
                        os.close(descriptor)

    def _receive(self) -> dict[str, Any] | None:
        """The next request, with its descriptors as `streams`; None once there are no more."""
        line, streams, *_ = socket.recv_fds(self._requests, 65536, _STREAMS)
        if not line:
            return None
        while not line.endswith(b"\n"):
            more = self._requests.recv(65536)
            if not more:
                return None
            line += more
        return {**json.loads(line), "streams": streams}

    def _fork(self) -> int:
        pid = os.fork()
        if pid:
            self._started.add(pid)
            _say({"pid": pid})
        else:
            signal.set_wakeup_fd(-1)
            os.close(self._wake)
            os.close(self._ended)
            self._requests.detach()
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


def _say(message: Mapping[str, Any]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    anyio.run(_compile_statements)
    gc.collect()
    gc.freeze()
    _say({"ready": True})
    asked = _Starter().serve()
    if asked is None:
        sys.exit()
    _child(asked)
