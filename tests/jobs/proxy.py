"""Proxies on loopback: every host that is asked for leads to one server on this machine."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Proxy:
    """`asked` holds the first line of each request over HTTP, or host:port over SOCKS.

    With `status` it refuses. `login` (user:password) is what it requires.
    """

    leads_to: int
    status: int = 200
    login: str | None = None
    port: int = 0
    asked: list[str] = field(default_factory=list)

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """CONNECT, and requests whose address is written out."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line = head.partition("\r\n")[0]
        self.asked.append(line)
        if (status := self._verdict(head)) != 200:
            writer.write(f"HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n".encode())
            await writer.drain()
            return
        onward, back = await asyncio.open_connection("127.0.0.1", self.leads_to)
        if line.startswith("CONNECT "):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            verb, address, version = line.split(" ")
            path = "/" + address.partition("://")[2].partition("/")[2]
            back.write(head.replace(line, f"{verb} {path} {version}", 1).encode())
        await _join(reader, writer, onward, back)

    async def socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """SOCKS 5 without a login, RFC 1928."""
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        *_, kind = await reader.readexactly(4)
        if kind == 3:
            [size] = await reader.readexactly(1)
            host = (await reader.readexactly(size)).decode()
        else:
            host = ".".join(map(str, await reader.readexactly(4)))
        self.asked.append(f"{host}:{int.from_bytes(await reader.readexactly(2), 'big')}")
        granted = self.status == 200
        writer.write(b"\x05" + (b"\x00" if granted else b"\x02") + b"\x00\x01" + bytes(6))
        if granted:
            await _join(reader, writer, *await asyncio.open_connection("127.0.0.1", self.leads_to))

    def _verdict(self, head: str) -> int:
        if self.login is not None:
            expected = base64.b64encode(self.login.encode()).decode()
            if f"proxy-authorization: basic {expected}".lower() not in head.lower():
                return 407
        return self.status


@asynccontextmanager
async def proxy(
    leads_to: int, *, socks: bool = False, tls: ssl.SSLContext | None = None, **how: object
) -> AsyncIterator[Proxy]:
    """A proxy in front of the server on a port of this machine."""
    made = Proxy(leads_to, **how)  # type: ignore[arg-type]  # whatever Proxy takes
    handler = made.socks if socks else made.http

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the other side has gone
        finally:
            writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    async with listening:
        made.port = listening.sockets[0].getsockname()[1]
        yield made


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    onward: asyncio.StreamReader,
    back: asyncio.StreamWriter,
) -> None:
    """Pass bytes on both ways, until one side ends."""
    both = [
        asyncio.ensure_future(_pass(reader, back)),
        asyncio.ensure_future(_pass(onward, writer)),
    ]
    await asyncio.wait(both)


async def _pass(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while chunk := await source.read(65_536):
            sink.write(chunk)
            await sink.drain()
    except ConnectionError:
        pass
    finally:
        sink.close()
