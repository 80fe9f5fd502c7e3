"""A server that writes bytes instead of answers, and what servers, proxies and middle boxes have written."""

import asyncio
import json
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BODY = b'{"total_passed":3,"total_failed":0,"failed_results":[[]]}'
GOOD = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY

WIRE: Mapping[str, bytes] = {
    "nothing": b"",
    "half a status line": b"HTTP/1.",
    "half a header": HEAD[:-9],
    "no end of headers": HEAD,
    "no body": HEAD + b"Content-Length: 10\r\n\r\n",
    "half a body": HEAD + b"Content-Length: 999\r\n\r\n" + BODY,
    "half a chunk size": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1",
    "half a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\n" + BODY,
    "no last chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    "no chunk size": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a negative chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n",
    "an endless chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n{}",
    "a negative length": HEAD + b"Content-Length: -5\r\n\r\n{}",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}}",
    "length and chunks": HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an endless length": HEAD + b"Content-Length: 99999999999999999999999999\r\n\r\n" + BODY,
    "a header without colon": HEAD + b"nonsense\r\n\r\n" + BODY,
    "a NUL in a header": HEAD + b"X-A: a\0b\r\n\r\n" + BODY,
    "bytes in a header": HEAD + b"X-A: \xff\xfe\r\nContent-Length: 2\r\n\r\n{]",
    "a folded header": HEAD + b"X-A: a\r\n b\r\n c\r\nContent-Length: 2\r\n\r\n{]",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "no version": b"HTTP/9.9 200 OK\r\n\r\n{}",
    "no status": b"HTTP/1.1 abc OK\r\n\r\n{}",
    "a status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a status of six digits": b"HTTP/1.1 200200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "nothing but continues": b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
    "a switch of protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "an alert of TLS": b"\x15\x03\x01\x00\x02\x02\x28",
    "an unknown packing": HEAD + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}",
    "a packing twice": HEAD + b"Content-Encoding: gzip, gzip\r\nContent-Length: 2\r\n\r\n{}",
}
"""What is written to the wire before the connection is reset; none of it is a whole answer."""


@dataclass
class WireServer:
    """Writes to each POST what `answers` has for its model, and ends the connection: in a reset or not."""

    answers: Mapping[str, bytes]
    reset: bool
    url: str = ""
    posts: Counter[str] = field(default_factory=Counter)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            body = await reader.readexactly(int(length or 0))
            model = json.loads(body)["openrouter_model_name"] if body else ""
            self.posts[model] += bool(body)
            answer = self.answers.get(model, GOOD)
            writer.write(answer)
            await writer.drain()
            if self.reset and answer is not GOOD:
                connection = writer.get_extra_info("socket")
                # Linger of 0 s: the peer gets a reset instead of an orderly end.
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other side has gone
        finally:
            writer.close()


@asynccontextmanager
async def wire_server(answers: Mapping[str, bytes], *, reset: bool) -> AsyncIterator[WireServer]:
    server = WireServer(answers, reset)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield server
