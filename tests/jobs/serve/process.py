"""`nightsweep serve` in a separate process."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx

from tests.http_client import client, connected
from tests.jobs.chat.server import Asked
from tests.jobs.serve.running import by_rule
from tests.patience import PATIENCE_S, next_line, wait_ended, with_stacks


@dataclass
class Process:
    """A service started from the command line."""

    process: subprocess.Popen[str]
    base_url: str

    def end(self) -> tuple[int, list[dict[str, Any]]]:
        """Wait for its end; returns the exit code and the log."""
        _, log = wait_ended(self.process)
        return self.process.returncode, [json.loads(line) for line in log.splitlines()]


@contextmanager
def started(config_file: Path) -> Iterator[Process]:
    """Run the command until the end of the block, which kills it."""
    with subprocess.Popen(  # noqa: S603
        [str(Path(sys.executable).with_name("nightsweep")), "serve", "--config", str(config_file)],
        env=with_stacks(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Process(process, next_line(process))
        finally:
            process.kill()


class Held:
    """Models that answer by rule, but from question number `after` (from 1) on only once `let_go` is set."""

    def __init__(self, after: int, answer: Callable[[Asked], tuple[int, Any]] = by_rule) -> None:
        self._after = after
        self._answer = answer
        self.count = 0
        self.reached = Event()
        self.let_go = Event()

    def __call__(self, asked: Asked) -> tuple[int, Any]:
        self.count += 1
        if self.count >= self._after:
            self.reached.set()
            self.let_go.wait(PATIENCE_S)
        return self._answer(asked)


@contextmanager
def disconnecting(base_url: str, key: str, path: str, body: dict[str, Any]) -> Iterator[None]:
    """Send a request, and disconnect at the end of the block without reading the answer."""
    url = httpx.URL(base_url)
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {url.host}\r\ncbl-api-key: {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    with connected(base_url, head.encode() + content):
        yield


@contextmanager
def asking(base_url: str, key: str, path: str, body: dict[str, Any]) -> Iterator[list[Any]]:
    """Send a request in a thread; after the block, the list has its answer or its error."""
    got: list[Any] = []

    def ask() -> None:
        try:
            headers = {"cbl-api-key": key, "apikey": key}
            with client(base_url, headers) as opened:
                got.append(opened.post(path, json=body))
        except httpx.HTTPError as error:
            got.append(error)

    thread = Thread(target=ask)
    thread.start()
    try:
        yield got
    finally:
        thread.join(PATIENCE_S)
