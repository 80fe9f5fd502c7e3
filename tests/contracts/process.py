"""The contract server in a process of its own, and the client that commands it."""

import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Self

import anyio.to_thread
import httpx

from tests.contracts.state import Controls
from tests.http_client import client
from tests.paths import ROOT
from tests.patience import PATIENCE_S, next_line, with_stacks


class ContractServerProcess(Controls):
    """`with ContractServerProcess("--latency-s", "0.05") as server: server.url, server.state()`.

    Arguments are those of `python -m tests.contracts.server`. It ends with the block, and by itself
    when this process dies. Also usable with `async with`.
    """

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self._process: subprocess.Popen[str] | None = None
        self._client: httpx.Client | None = None
        self.url = ""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.contracts.server", "--until-stdin-closes"]
        self._process = subprocess.Popen(  # noqa: S603
            [*command, *self._arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=with_stacks(),
        )
        port = next_line(self._process)
        if not port:
            self.__exit__()
            raise RuntimeError("the contract server ended before it was ready")
        self.url = f"http://127.0.0.1:{port}"
        self._client = client(self.url)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._client is not None:
            self._client.close()
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.close()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process.stdout.close()

    async def __aenter__(self) -> Self:
        return await anyio.to_thread.run_sync(self.__enter__)

    async def __aexit__(self, *exc_info: object) -> None:
        await anyio.to_thread.run_sync(self.__exit__)

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None
        return self._process.pid

    def state(self) -> dict[str, Any]:
        """Counts, violations and arrival times: see `ServerState.summary`."""
        state: dict[str, Any] = self._get("/_control/state").json()
        return state

    def requests(self) -> list[dict[str, Any]]:
        """The log: one object per evaluation received, in order of arrival."""
        requests: list[dict[str, Any]] = self._get("/_control/requests").json()
        return requests

    def wait_received(self, count: int) -> None:
        """Return once at least `count` evaluations have arrived."""
        try:
            self._get(f"/_control/wait?received={count}")
        except httpx.ReadTimeout:
            received = self.state()["received"]
            raise AssertionError(
                f"waited {PATIENCE_S:g} s in vain for {count} evaluations; there were {received}"
            ) from None

    async def wait_received_async(self, count: int) -> None:
        """The same without blocking the event loop."""
        await anyio.to_thread.run_sync(self.wait_received, count)

    def _get(self, path: str) -> httpx.Response:
        assert self._client is not None
        return self._client.get(path).raise_for_status()

    def _control(self, command: str, payload: Mapping[str, Any]) -> None:
        assert self._client is not None
        answer = self._client.post(f"/_control/{command}", json=dict(payload))
        if answer.is_error:
            raise ValueError(answer.text)
