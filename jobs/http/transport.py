"""The aiohttp transport under HttpClient: its connections, and requests that wait for their start.

httpx's own pool probes every idle connection on each call; this transport does not, which is five times
as fast at 64 requests in flight. Requests go to it directly, without httpx.AsyncClient, which would add
cookies, redirects and netrc.
"""

import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import Any

import aiohttp
import anyio
import httpx
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver
from aiohttp.connector import Connection
from httpx_aiohttp import AiohttpTransport

from engine.kinds import start_request
from jobs.http.network import Proxy


class ConnectionGone(Exception):
    """The server closed a connection before the request was written to it."""


_gate: ContextVar[Callable[[], Awaitable[None]] | None] = ContextVar("gate", default=None)
"""What a request waits for once its connection is open."""


@contextmanager
def gate_requests(deadline: anyio.CancelScope, *, counts: bool) -> Iterator[None]:
    """Have requests in the block wait for their start, during which the deadline is suspended.

    A request waits once its connection is open, so that a rate counts when it is written; one that does not
    count is written at once. It raises ConnectionGone if the server has closed the connection meanwhile.
    """

    async def wait_for_start() -> None:
        left_s = deadline.deadline - anyio.current_time()
        deadline.deadline = inf
        try:
            await start_request()
        finally:
            deadline.deadline = anyio.current_time() + left_s

    token = _gate.set(wait_for_start if counts else None)
    try:
        yield
    finally:
        _gate.reset(token)


def open_transport(
    context: ssl.SSLContext,
    *,
    proxy: Proxy | None,
    http_proxy: httpx.Proxy | None,
    resolver: AbstractResolver | None,
    max_connections: int | None,
    keep_alive_s: float,
) -> AiohttpTransport:
    """A transport that ignores the environment.

    `http_proxy` is the proxy for httpx unless `proxy` speaks SOCKS, which the connections then go through.
    """

    def open_session() -> aiohttp.ClientSession:
        options: dict[str, Any] = {
            "limit": max_connections or 0,
            "keepalive_timeout": keep_alive_s,
            "ssl": context,
        }
        if proxy is not None and proxy.is_socks:
            from jobs.http.socks import socks_connector  # an extra

            connector = socks_connector(proxy.url, options)
        else:
            connector = aiohttp.TCPConnector(**options, resolver=resolver)
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=_GatedRequest,
            response_class=_Response,
            trust_env=False,
        )

    return AiohttpTransport(verify=context, trust_env=False, client=open_session, proxy=http_proxy)


class _GatedRequest(aiohttp.ClientRequest):
    """A request that waits for its start after connecting, so that a rate counts when it is written."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        # Opening a tunnel through a proxy is not a request to the service.
        if self.method != hdrs.METH_CONNECT and (gate := _gate.get()) is not None:
            await gate()
            if conn.protocol is None or not conn.protocol.is_connected():
                raise ConnectionGone
        return await super().send(conn)


class _Response(aiohttp.ClientResponse):
    """A response without a reason phrase."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        started = await super().start(connection)
        # The transport encodes the phrase as UTF-8. On other bytes it would lose an answer that may have
        # been paid for, and leave the connection open.
        self.reason = None
        return started
