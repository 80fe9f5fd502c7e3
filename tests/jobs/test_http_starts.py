"""The client writes a request once its connection is open and its rate lets it start."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from engine.clock import SystemClock
from engine.kinds import NotNow, starting_with
from jobs.http import HttpClient, HttpLimits


class Server:
    """Answers each request with `{}`; knows what was opened and what was written."""

    def __init__(self) -> None:
        self.connections: list[SocketStream] = []
        self.connected = anyio.Event()
        self.requests: list[bytes] = []
        self.url = ""

    async def handle(self, stream: SocketStream) -> None:
        self.connections.append(stream)
        connected, self.connected = self.connected, anyio.Event()
        connected.set()
        async with stream:
            try:
                while True:
                    received = await stream.receive()
                    self.requests.append(received)
                    await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                return


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)  # noqa: S610 (not of Django)
    server.url = f"http://127.0.0.1:{port}"
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, server.handle)
        yield server
        tasks.cancel_scope.cancel()


def client(server: Server, **limits: float) -> HttpClient:
    return HttpClient(server.url, clock=SystemClock(), limits=HttpLimits(**limits))  # type: ignore[arg-type]


async def test_a_request_connects_first_and_is_written_when_it_may_start() -> None:
    async with serving() as server, client(server) as http:
        seen: list[tuple[int, int]] = []

        async def start() -> None:
            if not server.connections:
                await server.connected.wait()
            seen.append((len(server.connections), len(server.requests)))

        with starting_with(start):
            await http.post("first", b"{}")
            await http.post("second", b"{}")

    assert seen == [(1, 0), (1, 1)]


async def test_waiting_for_its_start_does_not_count_towards_a_request_s_deadline() -> None:
    async def start() -> None:
        await anyio.sleep(0.4)

    async with serving() as server, client(server, deadline_s=0.3) as http:
        with starting_with(start):
            reply = await http.get("late")

    assert reply.status == 200


async def test_a_connection_that_the_server_closed_meanwhile_is_replaced() -> None:
    async with serving() as server, client(server) as http:

        async def start() -> None:
            if len(server.connections) < 2 and not server.requests:
                await server.connections[-1].aclose() if server.connections else None
                await anyio.sleep(0.05)

        with starting_with(start):
            reply = await http.post("once", b"{}")

    assert reply.status == 200
    assert len(server.requests) == 1


async def test_a_request_that_may_not_start_is_not_written() -> None:
    async def start() -> None:
        raise NotNow("the window is closed")

    async with serving() as server, client(server) as http:
        with starting_with(start), pytest.raises(NotNow, match="window") as raised:
            await http.post("never", b"{}")

    assert not raised.value.sent
    assert server.requests == []


async def test_a_question_without_a_key_is_not_counted() -> None:
    counted: list[int] = []

    async def start() -> None:
        counted.append(1)

    async with serving() as server, client(server) as http:
        with starting_with(start):
            await http.get("version", counts=False)
            await http.get("quota")

    assert len(counted) == 1
    assert len(server.requests) == 2
