"""Large answers in flight are read concurrently within the memory limit, and one after the other beyond it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from engine.clock import SystemClock
from engine.in_flight import ByteBudget
from jobs.http import HttpClient
from jobs.http.bodies import COPIES, SMALL_BYTES, STEP_BYTES
from tests.patience import PATIENCE_S

SIZE = 500_000
CHUNK = 50_000


@asynccontextmanager
async def answering(size: int, *, tells_length: bool) -> AsyncIterator[str]:
    """A server whose answers have so many bytes; its URL."""

    async def serve(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            length = f"content-length: {size}" if tells_length else "transfer-encoding: chunked"
            await stream.send(f"HTTP/1.1 200 OK\r\nconnection: close\r\n{length}\r\n\r\n".encode())
            for start in range(0, size, CHUNK):
                content = bytes(min(CHUNK, size - start))
                if not tells_length:
                    content = f"{len(content):x}\r\n".encode() + content + b"\r\n"
                await stream.send(content)
            if not tells_length:
                await stream.send(b"0\r\n\r\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610
        yield f"http://127.0.0.1:{port}"
        tasks.cancel_scope.cancel()


async def read(client: HttpClient, budget: ByteBudget, sizes: list[int]) -> None:
    with budget.job():
        reply = await client.get("answer")
        sizes.append(len(reply.body))


@pytest.mark.parametrize("tells_length", [True, False])
async def test_answers_in_flight_take_their_share_of_memory_plus_one_answer_and_all_are_read(
    tells_length: bool,
) -> None:
    limit = 2_000_000
    budget, sizes = ByteBudget(limit), list[int]()

    async with (
        answering(SIZE, tells_length=tells_length) as url,
        HttpClient(url, clock=SystemClock()) as client,
    ):
        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                for _ in range(12):
                    tasks.start_soon(read, client, budget, sizes)

    of_one = COPIES * (SIZE if tells_length else SMALL_BYTES + STEP_BYTES)
    assert sizes == [SIZE] * 12
    assert 0 < budget.most_held <= limit + of_one


async def test_small_answers_are_not_counted() -> None:
    budget, sizes = ByteBudget(1), list[int]()

    async with (
        answering(SMALL_BYTES, tells_length=True) as url,
        HttpClient(url, clock=SystemClock()) as client,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(3):
            tasks.start_soon(read, client, budget, sizes)

    assert (sizes, budget.most_held) == ([SMALL_BYTES] * 3, 0)
