"""A chat endpoint on loopback that answers by a function and records its requests."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    line: str
    headers: dict[str, str]
    body: Any


@dataclass
class ChatServer:
    """`answer` gets the request and returns status and body."""

    answer: Callable[[Asked], tuple[int, Any]]
    asked: list[Asked] = field(default_factory=list)
    base_url: str = ""

    @property
    def questions(self) -> list[Asked]:
        """The requests with a body, without those for the list of models."""
        return [asked for asked in self.asked if asked.body is not None]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        asked = Asked(head[0], headers, json.loads(body) if body else None)
        self.asked.append(asked)
        status, document = self.answer(asked)
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        writer.write(
            f"HTTP/1.1 {status} X\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n".encode()
            + content
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def chat_server(
    answer: Callable[[Asked], tuple[int, Any]], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[ChatServer]:
    server = ChatServer(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        server.base_url = f"{'http' if tls is None else 'https'}://127.0.0.1:{port}/v1"
        yield server


def completion(text: str | None, finish: str = "stop", **extra: Any) -> dict[str, Any]:
    """A chat completion with this text."""
    message = {"role": "assistant", "content": text, **extra}
    choice = {"index": 0, "finish_reason": finish, "message": message}
    return {"object": "chat.completion", "model": "some-model", "choices": [choice]}
