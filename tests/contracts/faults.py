"""What a server can do wrong, on command."""

import asyncio
import gzip
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from tests.contracts.answers import error_body
from tests.contracts.echoes import ECHOES, echo


@dataclass(slots=True, kw_only=True)
class Fault:
    """One misbehaviour: played `times` times (None: until cleared) on requests that match.

    `kind` is a key of BODIES or PLAYS, one of ECHOES (answers `status`), `status` (answers `status`
    with `retry_after`, `detail` and `error`), `body` (answers `status` with the bytes of `body` in
    latin-1, and `headers`), or `lost_answer` (the request is carried out and charged, its answer never
    sent).
    """

    kind: str
    status: int = 500
    retry_after: str | None = None
    detail: str | None = None
    error: str | None = None
    location: str = "http://127.0.0.1:9/elsewhere"
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int | None = 1
    path: str = ""
    model: str = ""

    def __post_init__(self) -> None:
        known = {"status", "body", "lost_answer", *BODIES, *PLAYS, *ECHOES}
        if self.kind not in known:
            raise ValueError(f"no fault {self.kind!r}; there are {sorted(known)}")

    def matches(self, path: str, model: str) -> bool:
        """Whether a request is one that this fault strikes."""
        return self.path in path and self.model in ("", model)


def _gzip_bomb() -> tuple[bytes, Mapping[str, str]]:
    packed = gzip.compress(bytes(64 * 1024 * 1024), 9)
    return packed, {"Content-Encoding": "gzip", "Content-Type": "application/json"}


def _body(
    body: bytes, content_type: str = "application/json", **headers: str
) -> Callable[[], tuple[bytes, Mapping[str, str]]]:
    return lambda: (body, {"Content-Type": content_type, **headers})


def _many_headers() -> tuple[bytes, Mapping[str, str]]:
    return b"{}", {f"X-Header-{number}": "x" * 40 for number in range(1000)}


BODIES: Mapping[str, Callable[[], tuple[bytes, Mapping[str, str]]]] = {
    "garbage": _body(b"\x00\x01\x02 this is not JSON \xfe"),
    "empty": _body(b""),
    "html": _body(b"<html><body><h1>It works!</h1></body></html>", "text/html"),
    "nan": _body(b'{"total_passed":1,"total_failed":NaN,"failed_results":[]}'),
    "infinity": _body(b'{"total_passed":1,"total_failed":1e999,"failed_results":[]}'),
    "deep_nesting": _body(b"[" * 100_000 + b"]" * 100_000),
    "huge_integer": _body(b'{"total_passed":' + b"9" * 5000 + b"}"),
    "invalid_utf8": _body(b'{"total_passed":1,"note":"\xff\xfe"}'),
    "lone_surrogate": _body(b'{"total_passed":1,"note":"\\ud800"}'),
    "cut_json": _body(b'{"total_passed":1,"total_fa'),
    "wrong_schema": _body(b'{"answer":42}'),
    "not_an_object": _body(b"[1,2,3]"),
    "error_in_200": _body(b'{"detail":{"error":"internal_server_error","message":"sorry"}}'),
    "bad_gzip": _body(b"this is not gzip", **{"Content-Encoding": "gzip"}),
    "gzip_bomb": _gzip_bomb,
    "huge_body": _body(bytes(64 * 1024 * 1024)),
    "many_headers": _many_headers,
    "giant_header": _body(b"{}", **{"X-Giant": "x" * 1_000_000}),
}
"""Answers with status 200 that are not what the contract promises."""


async def _reset(
    request: web.BaseRequest, fault: Fault, released: asyncio.Event
) -> web.StreamResponse:
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            # Linger of 0 s: the peer gets a reset instead of an orderly end.
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    return web.Response()


async def _hang(
    request: web.BaseRequest, fault: Fault, released: asyncio.Event
) -> web.StreamResponse:
    await released.wait()
    return await _reset(request, fault, released)


async def _started(
    request: web.BaseRequest, chunks: bytes, length: int | None
) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": "application/json"})
    if length is not None:
        answer.content_length = length
    await answer.prepare(request)
    await answer.write(chunks)
    return answer


async def _slow_drip(
    request: web.BaseRequest, fault: Fault, released: asyncio.Event
) -> web.StreamResponse:
    answer = await _started(request, b"{", None)
    while not released.is_set():
        try:
            await asyncio.wait_for(released.wait(), 0.02)
        except TimeoutError:
            try:
                await answer.write(b" ")
            except ConnectionError:
                return answer
    return await _reset(request, fault, released)


async def _reset_in_body(
    request: web.BaseRequest, fault: Fault, released: asyncio.Event
) -> web.StreamResponse:
    await _started(request, b'{"total_passed":', None)
    return await _reset(request, fault, released)


async def _truncated_chunks(
    request: web.BaseRequest, fault: Fault, released: asyncio.Event
) -> web.StreamResponse:
    answer = await _started(request, b'{"total_passed":', None)
    if request.transport is not None:
        request.transport.close()
    return answer


async def _wrong_length(
    request: web.BaseRequest, fault: Fault, released: asyncio.Event
) -> web.StreamResponse:
    answer = await _started(request, b'{"total_passed":', 10_000)
    if request.transport is not None:
        request.transport.close()
    return answer


async def _not_http(
    request: web.BaseRequest, fault: Fault, released: asyncio.Event
) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.write(b"220 mail.example ESMTP ready\r\n\r\n")
        request.transport.close()
    return web.Response()


async def _redirect(
    request: web.BaseRequest, fault: Fault, released: asyncio.Event
) -> web.StreamResponse:
    return web.Response(status=307, headers={"Location": fault.location})


PLAYS = {
    "reset": _reset,
    "hang": _hang,
    "slow_drip": _slow_drip,
    "reset_in_body": _reset_in_body,
    "truncated_chunks": _truncated_chunks,
    "wrong_length": _wrong_length,
    "not_http": _not_http,
    "redirect": _redirect,
}
"""Misbehaviour of the connection itself."""


async def play(
    fault: Fault, request: web.BaseRequest, released: asyncio.Event
) -> web.StreamResponse:
    """Answer `request` with a fault; hangs and drips end once `released` is set."""
    if fault.kind in PLAYS:
        try:
            return await PLAYS[fault.kind](request, fault, released)
        except ConnectionError:
            return web.Response()  # The client was killed, so no other client is affected.
    if fault.kind in ECHOES:
        return await echo(fault.kind, fault.status, request)
    if fault.kind == "body":
        sent_headers = {"Content-Type": "application/json", **fault.headers}
        return web.Response(
            status=fault.status, body=fault.body.encode("latin-1"), headers=sent_headers
        )
    if fault.kind in BODIES:
        body, headers = BODIES[fault.kind]()
        return web.Response(body=body, headers=headers)
    headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
    detail = fault.detail or f"told to answer {fault.status}"
    return web.Response(
        status=fault.status,
        body=error_body(fault.status, detail, fault.error),
        headers=headers,
        content_type="application/json",
    )
