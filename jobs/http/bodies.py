"""Reads and unpacks answers, never holding more than a limit, however they were compressed."""

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
"""An answer up to this size is read without waiting for memory."""
STEP_BYTES = 1_048_576
COPIES = 2
"""Copies of an answer in memory: its parts and the joined body, later what is written of it."""


async def read_body(response: httpx.Response, cap: int, where: str, chunks: list[bytes]) -> None:
    """Append the unpacked body to `chunks`.

    Beyond SMALL_BYTES it waits for its share of the memory for answers (`hold_bytes`): once for the whole
    content-length, or else step by step. Raises Permanent if the body is larger than `cap` bytes, Transient
    if it cannot be unpacked, and what the transport raises.
    """
    unpack = _unpacker(response.headers.get("content-encoding", ""), where)
    left, room = cap, SMALL_BYTES
    length = response.headers.get("content-length", "") if unpack is None else ""
    announced = min(int(length), cap) if length.isascii() and length.isdigit() else 0
    async with aclosing(cast(AsyncGenerator[bytes], aiter(stream_of(response)))) as packed:
        async for chunk in packed:
            # At most the cap is unpacked, however small the compressed chunk is.
            content = chunk if unpack is None else _unpack(unpack, chunk, left + 1, where)
            left -= len(content)
            if left < 0:
                raise Permanent(f"the answer is larger than {cap} bytes ({where})")
            chunks.append(content)
            if cap - left > room:
                more = max(announced, cap - left, room + STEP_BYTES) - room
                room += more
                await hold_bytes(COPIES * more)
    if unpack is not None and not unpack.eof:
        raise Transient(f"the compressed answer ended too early ({where})")


async def read_beginning(response: httpx.Response, where: str, redact: Redactor) -> bytes:
    """The part of an error's body that arrives within ERROR_BODY_S and ERROR_BODY_BYTES, unpacked; never raises.

    A part that ends within a secret is cut before it, because half a key would not be recognised.
    """
    # The status alone is an error already, so a broken body changes nothing.
    chunks: list[bytes] = []
    is_whole = False
    with anyio.move_on_after(ERROR_BODY_S), suppress(Exception):
        await read_body(response, ERROR_BODY_BYTES, where, chunks)
        is_whole = True
    content = b"".join(chunks)
    return content if is_whole else redact.cut_partial_secret(content)


def stream_of(response: httpx.Response) -> httpx.AsyncByteStream:
    """The bytes of the body as they arrive, still compressed; they can be read once."""
    return cast(httpx.AsyncByteStream, response.stream)


def _unpacker(encoding: str, where: str) -> "zlib._Decompress | None":
    match encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip" | "deflate":
            # 32 more than the window's bits: detect gzip or zlib by the header of the content.
            return zlib.decompressobj(32 + zlib.MAX_WBITS)
    raise Transient(f"the answer has an encoding that was not requested ({where})")


def _unpack(unpacker: "zlib._Decompress", chunk: bytes, limit: int, where: str) -> bytes:
    try:
        return unpacker.decompress(chunk, limit)
    except zlib.error as error:
        problem = str(error)
    raise Transient(f"the compressed answer cannot be read ({where})", detail=problem)
