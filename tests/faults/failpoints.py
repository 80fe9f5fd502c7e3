"""Places at which a process can be killed or stopped, numbered as it passes them.

Installed in child processes of the tests alone, from outside: the product has no hook. The steps are

    statement    an SQL statement is about to be executed, of a migration as well
    migrated     the one that says that the store is migrated
    commit       a write transaction is complete and its COMMIT is about to be executed
    committed    COMMIT has returned; no caller has been notified yet
    request      a request is about to be handed to the network
    head         the head of an answer has come in
    answer       an answer is there, whole; it is not in the store yet
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from threading import Lock
from time import monotonic
from typing import Any

import httpx
from aiosqlite import Connection as AsyncSqliteConnection
from httpx_aiohttp import AiohttpTransport
from sqlalchemy.engine.default import DefaultDialect

from engine.store.sqlite import liveness
from jobs.http import HttpClient
from tests.statements import watch_statements

STEPS = ("statement", "migrated", "commit", "committed", "request", "head", "answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What befalls a process: `signal` reaches it at step `at`, counted among the steps `of`.

    `trace` is a file that gets a line for each of these steps, with its time. `poison` is a text: a process about to
    send it dies. `lease_s` replaces the engine's lease. `clock_s` is how far its wall clock is ahead of the machine's.
    """

    at: int | None = None
    of: tuple[str, ...] = STEPS
    signal: int = signal.SIGKILL
    trace: str | None = None
    poison: str | None = None
    lease_s: float | None = None
    clock_s: float = 0.0

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> "Faults":
        return cls(**{**written, "of": tuple(written.get("of", STEPS))})


def install(faults: Faults) -> None:
    """Let this process meet its faults."""
    if faults.clock_s:
        _set_wall_clock(faults.clock_s)
    if faults.lease_s is not None:
        liveness.LEASE_S = faults.lease_s
    if faults.at is not None or faults.trace is not None or faults.poison is not None:
        passed = _Counter(faults)
        _watch_database(passed)
        _watch_network(passed, faults.poison)


def _set_wall_clock(ahead_s: float) -> None:
    clock: Any = time
    true_time = time.time
    clock.time = lambda: true_time() + ahead_s


def steps_in(trace: Path) -> Counter[str]:
    """How often each step was passed."""
    return Counter(step for step, _ in trace_of(trace))


def trace_of(trace: Path) -> list[tuple[str, float]]:
    """The steps that were passed and when, by the machine's monotonic clock; in order, by process."""
    lines = map(str.split, trace.read_text().splitlines())
    return [(step, float(at)) for step, at in lines]


class _Counter:
    """Counts steps, in whatever thread they are passed."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._passed = 0
        self._lock = Lock()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._trace = None if faults.trace is None else os.open(faults.trace, flags, 0o600)

    def __call__(self, step: str) -> None:
        if step not in self._faults.of:
            return
        # Held while the signal is sent: no other thread gets any further.
        with self._lock:
            self._passed += 1
            if self._trace is not None:
                os.write(self._trace, f"{step} {monotonic()}\n".encode())
            if self._passed == self._faults.at:
                os.kill(os.getpid(), self._faults.signal)


def _watch_database(passed: _Counter) -> None:
    def statement(text: str, _values: object) -> None:
        passed("migrated" if text.startswith("INSERT INTO alembic_version") else "statement")

    watch_statements(statement)
    # Typed loosely: what is replaced below is not ours to redefine.
    dialects: Any = DefaultDialect
    commit = dialects.do_commit

    def do_commit(dialect: DefaultDialect, connection: Any) -> None:
        if isinstance(getattr(connection, "driver_connection", None), AsyncSqliteConnection):
            commit(dialect, connection)  # the end of a read
            return
        passed("commit")
        commit(dialect, connection)
        passed("committed")

    dialects.do_commit = do_commit


def _watch_network(passed: _Counter, poison: str | None) -> None:
    transports: Any = AiohttpTransport
    clients: Any = HttpClient
    send = transports.handle_async_request
    exchange = clients._send_with_valid_key

    async def handle(transport: AiohttpTransport, request: httpx.Request) -> httpx.Response:
        if poison is not None and poison.encode() in request.content:
            os.kill(os.getpid(), signal.SIGKILL)
        passed("request")
        response: httpx.Response = await send(transport, request)
        passed("head")
        return response

    async def exchanged(client: HttpClient, *arguments: Any) -> Any:
        reply = await exchange(client, *arguments)
        passed("answer")
        return reply

    transports.handle_async_request = handle
    clients._send_with_valid_key = exchanged


def sampled(count: int, most: int, chance: Random) -> Iterable[int]:
    """The steps 1 to `count`, or where those are too many, a sample with the first and the last."""
    if count <= most:
        return range(1, count + 1)
    return sorted({1, count, *chance.sample(range(2, count), most - 2)})
