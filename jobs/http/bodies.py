"""An answer's body, unpacked under a cap: however it was packed, no more than the cap is ever held."""

import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import cast

import anyio
import httpx

from engine.kinds import Permanent, Transient, hold_bytes
from jobs.http.text import Redactor

ERROR_BODY_BYTES = 65_536
ERROR_BODY_S = 5.0
SMALL_BYTES = 65_536
"""No answer waits before it is larger than this."""
STEP_BYTES = 1_048_576
COPIES = 2
"""Of an answer in memory: the pieces that were read and the whole, later what is written of it."""


async def read_body(response: httpx.Response, cap: int, where: str, chunks: list[bytes]) -> None:
    """Append the unpacked body to `chunks`.

    Beyond SMALL_BYTES it is read as fast as there is room for it beside other answers, see `hold_bytes`: at once
    for as many bytes as its head tells, else step by step.
    Raises Permanent if it is larger than `cap` bytes, Transient if it cannot be unpacked, and what
    the transport raises.
    """
    unpack = _unpacker(response.headers.get("content-encoding", ""), where)
    left, room = cap, SMALL_BYTES
    length = response.headers.get("content-length", "") if unpack is None else ""
    told = min(int(length), cap) if length.isascii() and length.isdigit() else 0
    async with aclosing(cast(AsyncGenerator[bytes], aiter(stream_of(response)))) as packed:
        async for chunk in packed:
            # Never more than the cap is unpacked, however small the packed bytes are.
            content = chunk if unpack is None else _unpacked(unpack, chunk, left + 1, where)
            left -= len(content)
            if left < 0:
                raise Permanent(f"the answer is larger than {cap} bytes ({where})")
            chunks.append(content)
            if cap - left > room:
                more = max(told, cap - left, room + STEP_BYTES) - room
                room += more
                await hold_bytes(COPIES * more)
    if unpack is not None and not unpack.eof:
        raise Transient(f"the compressed answer ended too early ({where})")


async def read_beginning(response: httpx.Response, where: str, redact: Redactor) -> bytes:
    """As much of an error's body as comes soon, within its cap; never raises."""
    # An error's status counts, whatever is wrong with its body.
    chunks: list[bytes] = []
    is_whole = False
    with anyio.move_on_after(ERROR_BODY_S), suppress(Exception):
        await read_body(response, ERROR_BODY_BYTES, where, chunks)
        is_whole = True
    content = b"".join(chunks)
    return content if is_whole else redact.torn(content)


def stream_of(response: httpx.Response) -> httpx.AsyncByteStream:
    """The packed bytes as they arrive."""
    return cast(httpx.AsyncByteStream, response.stream)


def _unpacker(encoding: str, where: str) -> "zlib._Decompress | None":
    match encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip" | "deflate":
            # 32 above the window's bits: the content's head tells gzip and zlib apart.
            return zlib.decompressobj(32 + zlib.MAX_WBITS)
    raise Transient(f"the answer is compressed in a way that was not asked for ({where})")


def _unpacked(unpacker: "zlib._Decompress", chunk: bytes, limit: int, where: str) -> bytes:
    try:
        return unpacker.decompress(chunk, limit)
    except zlib.error as error:
        problem = str(error)
    raise Transient(f"the compressed answer cannot be read ({where})", detail=problem)
