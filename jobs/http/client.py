"""One exchange at a time over httpx on the aiohttp transport: an answer, or a JobError.

httpx's own pool probes every idle connection on each call; this transport does not, which is worth
a factor of five at 64 requests in flight. Requests go to the transport directly: what httpx.AsyncClient
adds (cookies, redirects, netrc) is what must not happen here, and proxies are chosen in one place.
"""

import errno
import logging
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from itertools import chain
from math import inf
from typing import Any, Self, cast
from urllib.parse import urlencode

import aiohttp
import anyio
import httpx
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver
from aiohttp.connector import Connection
from httpx_aiohttp import AiohttpTransport

from engine.kinds import (
    Clock,
    Disconnected,
    JobError,
    KeyRenewed,
    Permanent,
    TimedOut,
    Transient,
    Unauthorized,
    Unreachable,
    UsageError,
    connections_allowed,
    machine_fault,
    start_request,
)
from jobs.http.bodies import read_beginning, read_body, stream_of
from jobs.http.keys import Key, Sent, is_sendable, keys_of, value_of
from jobs.http.meanings import Rule
from jobs.http.network import (
    Network,
    Proxy,
    proxy_failure,
    proxy_for,
    refused_by_proxy,
    tls_context,
)
from jobs.http.refusals import refused
from jobs.http.text import Redactor, plain, read_json
from jobs.http.unanswered import Unanswered
from jobs.http.urls import parse_base_url

logger = logging.getLogger(__name__)

# Raised before a byte of the request was written: such a request was surely not carried out.
_NOT_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
# The answer was broken off, or never began; what cannot be read is another matter.
_CUT_OFF = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError)
_CLIENTS = 3
"""How many clients a run has at most that are busy at the same time: of a target, a judge, an attacker."""
_CONNECTIONS_MAX = 5
"""How many connections one request may wait on that the server closes before its turn."""
_NO_URL = (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """The limits of each exchange.

    `deadline_s` bounds an exchange whole, `connect_s` and `read_s` (None: none of its own) each wait
    inside it; connecting takes half of the deadline at most. `max_body_bytes` counts what an answer
    unpacks to. `max_connections` of None leaves the bound to whoever calls. Connections idle for
    `keep_alive_s` are closed: less than the 5 s after which common servers hang up, since a request that
    meets a closing connection is lost.
    """

    deadline_s: float = 900.0
    connect_s: float = 10.0
    read_s: float | None = None
    max_body_bytes: int = 32 * 1024 * 1024
    max_connections: int | None = None
    keep_alive_s: float = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A 2xx answer: its unpacked body without keys, and what was asked, for messages.

    `redacted` names the keys of ours that the body held.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(repr=False)
    where: str
    redacted: frozenset[str] = frozenset()

    def json(self) -> Any:
        """The body's JSON value; raises Transient if it cannot be read."""
        return read_json(self.body, self.where)


class HttpClient:
    """A client of one base URL; `async with` opens and closes its connections.

    `headers` and `query` go with every request. Every Key among them, and the `secrets`, by names that
    may be shown, in headers and bodies, are in no error, repr or log. A Key that is refused is read
    again, and the request sent once more if it is another one now; without `resends` that is told of a
    POST by KeyRenewed. Netrc and cookies are not used, and
    proxies only as `network` says. A `resolver` decides which addresses the host's name leads to, where
    no proxy does; `rules` say what errors mean to this service alone. Raises UsageError for a header or
    secret that cannot be sent.
    """

    def __init__(
        self,
        base_url: str,
        *,
        clock: Clock,
        headers: Mapping[str, Sent] | None = None,
        secrets: Mapping[str, Sent] | None = None,
        query: Mapping[str, Sent] | None = None,
        limits: HttpLimits | None = None,
        rules: tuple[Rule, ...] = (),
        resolver: AbstractResolver | None = None,
        network: Network | None = None,
        resends: bool = True,
    ) -> None:
        self.base_url = parse_base_url(base_url)
        port = self.base_url.port
        self._place = self.base_url.host + (f":{port}" if port is not None else "")
        self.limits = limits or HttpLimits()
        self._clock = clock
        self._rules = rules
        self._resolver = resolver
        self._resends = resends
        self._network = network or Network()
        self._proxy: Proxy | None = None
        self._connections = anyio.CapacityLimiter(inf)
        self._headers: dict[str, Sent] = {
            "accept": "application/json",
            "accept-encoding": "gzip, deflate",
            "user-agent": "nightsweep",
            **(headers or {}),
        }
        self._query = dict(query or {})
        self._keys = keys_of(self._headers, self._query)
        self._renewing = anyio.Lock()
        _refuse_unsendable(headers or {}, secrets or {})
        self._redact = Redactor(
            {name: value_of(secret) for name, secret in (secrets or {}).items()}
        )
        for key in self._keys:
            self._redact.add(key.name, key.secret)
        self._urls: dict[str, httpx.URL] = {}
        self._sent: dict[tuple[tuple[tuple[str, str], ...], bool], httpx.Headers] = {}
        self._transport: AiohttpTransport | None = None

    def __repr__(self) -> str:
        return f"HttpClient({str(self.base_url)!r})"

    @property
    def redact(self) -> Redactor:
        """Takes this client's secrets out of a text."""
        return self._redact

    async def __aenter__(self) -> Self:
        self._proxy = proxy = proxy_for(self.base_url) if self._network.use_proxy else None
        if proxy is not None and proxy.url.password:
            self._redact.add(proxy.variable, proxy.url.password)
        self._connections = anyio.CapacityLimiter(self._connections_at_most())
        uses_tls = self.base_url.scheme == "https" or (proxy and proxy.url.scheme == "https")
        context = (
            tls_context(self._network) if uses_tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        )

        def session() -> aiohttp.ClientSession:
            return aiohttp.ClientSession(
                connector=self._connector(context),
                cookie_jar=aiohttp.DummyCookieJar(),
                request_class=_Request,
                response_class=_Answer,
                trust_env=False,
            )

        self._transport = AiohttpTransport(
            verify=context,
            trust_env=False,
            client=session,
            proxy=None if proxy is None or proxy.is_socks else self._over_http(proxy),
        )
        return self

    def _connections_at_most(self) -> float:
        """As many as this machine lets the process open, shared with a judge's and an attacker's clients."""
        allowed = connections_allowed()
        own = inf if allowed is None else max(1, allowed // _CLIENTS)
        return min(own, self.limits.max_connections or inf)

    def _over_http(self, proxy: Proxy) -> httpx.Proxy:
        bare = proxy.url.copy_with(username=None, password=None)
        login = proxy.authorization
        if login is None:
            return httpx.Proxy(bare)
        if self.base_url.scheme == "https":
            return httpx.Proxy(bare, headers={"proxy-authorization": login})
        # Without a tunnel the request itself is what the proxy reads.
        self._headers["proxy-authorization"] = login
        return httpx.Proxy(bare)

    def _connector(self, context: ssl.SSLContext) -> aiohttp.TCPConnector:
        limits = self.limits
        options: dict[str, Any] = {
            "limit": limits.max_connections or 0,
            "keepalive_timeout": limits.keep_alive_s,
            "ssl": context,
        }
        if self._proxy is not None and self._proxy.is_socks:
            from jobs.http.socks import socks_connector  # an extra

            return socks_connector(self._proxy.url, options)
        return aiohttp.TCPConnector(**options, resolver=self._resolver)

    async def __aexit__(self, *exc_info: object) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    async def get(
        self,
        path: str,
        *,
        headers: Mapping[str, Sent] | None = None,
        deadline_s: float | None = None,
        counts: bool = True,
    ) -> Reply:
        """The answer to GET `path` (relative to the base URL); raises JobError, nothing else.

        Unless it `counts`, no rate does: such as of a question that goes without a key.
        """
        return await self._exchange("GET", path, None, headers or {}, deadline_s, counts=counts)

    async def post(
        self,
        path: str,
        body: bytes,
        *,
        headers: Mapping[str, Sent] | None = None,
        deadline_s: float | None = None,
    ) -> Reply:
        """The answer to POST `path` with a JSON body; raises JobError, nothing else.

        `headers` go with this request alone; a secret among them must be one of `secrets`.
        """
        return await self._exchange("POST", path, body, headers or {}, deadline_s)

    async def _exchange(
        self,
        verb: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, Sent],
        deadline_s: float | None,
        *,
        counts: bool = True,
    ) -> Reply:
        assert self._transport is not None, "the client is used inside `async with`"
        where = f"{verb} {path} at {self._place}"
        within_s = self.limits.deadline_s if deadline_s is None else deadline_s
        # Waiting for a connection is no part of the exchange.
        async with self._connections:
            return await self._within(within_s, verb, path, body, headers, where, counts)

    async def _within(
        self,
        within_s: float,
        verb: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, Sent],
        where: str,
        counts: bool,
    ) -> Reply:
        began = anyio.current_time()
        with anyio.move_on_after(within_s) as scope:
            token = _gate.set(partial(_start_within, scope) if counts else None)
            try:
                return await self._connected(verb, path, body, headers, where)
            except JobError as error:
                _log_failure(error, began)
                raise
            except Exception as error:
                # Whatever a server can provoke in the libraries below ends here. The chain is cut:
                # what it holds of requests and headers must reach no log.
                failure = self._failure(where, error)
            finally:
                _gate.reset(token)
            _log_failure(failure, began)
            raise failure
        late = TimedOut(
            f"no whole answer within {within_s:g} s ({where})", reason=Unanswered.TIMED_OUT
        )
        _log_failure(late, began)
        raise late

    async def _connected(
        self, verb: str, path: str, body: bytes | None, headers: Mapping[str, Sent], where: str
    ) -> Reply:
        for _ in range(_CONNECTIONS_MAX):
            try:
                return await self._exchanged(verb, path, body, headers, where)
            except _ConnectionGone:
                # Nothing was written: the next connection takes its place.
                continue
        raise Transient(
            f"the server closed {_CONNECTIONS_MAX} connections before it was asked ({where})",
            sent=False,
        )

    async def _exchanged(
        self, verb: str, path: str, body: bytes | None, headers: Mapping[str, Sent], where: str
    ) -> Reply:
        sent = [(key, key.secret) for key in (*self._keys, *keys_of(headers))]
        try:
            return await self._answered(verb, path, body, headers, where)
        except Unauthorized as error:
            # What a proxy refuses has not reached the service, whose keys are no part of it.
            if not error.sent or not await self._renew(sent):
                raise
            if not self._resends and verb == "POST":
                raise KeyRenewed(error.message, detail=error.detail, status=error.status) from None
        return await self._answered(verb, path, body, headers, where)

    async def _renew(self, sent: list[tuple[Key, str]]) -> bool:
        """Read the keys that were sent again; whether one is another now.

        Of many requests that are refused at once, the first that comes here reads for all.
        """
        async with self._renewing:
            for key, secret in sent:
                if key.secret == secret:
                    await anyio.to_thread.run_sync(key.read_again)
                    self._redact.add(key.name, key.secret)
            self._urls.clear()
            self._sent.clear()
        return any(key.secret != secret for key, secret in sent)

    async def _answered(
        self, verb: str, path: str, body: bytes | None, headers: Mapping[str, Sent], where: str
    ) -> Reply:
        request = self._request(verb, path, body, headers)
        logger.debug("%s: sending", where)
        began = anyio.current_time()
        response = await cast(AiohttpTransport, self._transport).handle_async_request(request)
        try:
            status = response.status_code
            logger.debug("%s: %d after %.3f s", where, status, anyio.current_time() - began)
            if 200 <= status < 300:
                chunks: list[bytes] = []
                await read_body(response, self.limits.max_body_bytes, where, chunks)
                # A service that echoes a key must not get it into the store.
                body, redacted = self._redact.body(b"".join(chunks))
                return Reply(
                    status=status,
                    body=body,
                    headers=response.headers,
                    where=where,
                    redacted=redacted,
                )
            content = await read_beginning(response, where, self._redact)
        finally:
            await stream_of(response).aclose()
        if self._proxy is not None and status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            raise refused_by_proxy(where, self._proxy, status)
        raise refused(
            where,
            status,
            response.headers,
            content,
            now=self._clock.now(),
            redact=self._redact,
            rules=self._rules,
        )

    def _request(
        self, verb: str, path: str, body: bytes | None, headers: Mapping[str, Sent]
    ) -> httpx.Request:
        url = self._urls.get(path)
        if url is None:
            base = self.base_url
            url = base.copy_with(path=f"{base.path.rstrip('/')}/{path}")
            if self._query:
                query = {name: value_of(value) for name, value in self._query.items()}
                url = url.copy_with(query=urlencode(query).encode("ascii"))
            self._urls[path] = url
        limits = self.limits
        # Ends before the deadline does, so that what was not sent is told from what was not answered.
        connect_s = min(limits.connect_s, limits.deadline_s / 2)
        timeout = {"connect": connect_s, "read": limits.read_s, "pool": None}
        # As a stream, so that httpx derives no headers from it, and read at once, so that the
        # transport is handed bytes: a tenth of the time.
        request = httpx.Request(
            verb,
            url,
            headers=self._headers_with(_written(headers), has_body=body is not None),
            stream=httpx.ByteStream(body or b""),
            extensions={"timeout": timeout},
        )
        request.read()
        return request

    def _headers_with(self, more: tuple[tuple[str, str], ...], *, has_body: bool) -> httpx.Headers:
        found = self._sent.get((more, has_body))
        if found is None:
            kind = [("content-type", "application/json")] if has_body else []
            found = httpx.Headers([*_written(self._headers), *more, *kind])
            self._sent[more, has_body] = found
        return found

    def _failure(self, where: str, error: Exception) -> JobError:
        # The transport calls every lost connection a ConnectTimeout: only its cause tells them apart.
        cause = cast(Exception, error.__cause__ or error)
        if (fault := machine_fault(cause, where)) is not None:
            return fault
        detail = plain(f"{type(cause).__name__}: {cause}", self._redact)
        if self._proxy is not None:
            failure = proxy_failure(where, self._proxy, cause, detail)
            if failure is not None:
                return failure
        if isinstance(cause, _NOT_CONNECTED) or _is_untrusted(cause):
            why = _why_not_connected(cause)
            return Unreachable(f"{why} ({where})", detail=_said_of_connecting(cause, self._redact))
        if isinstance(cause, _NO_URL):
            return Permanent(f"the address is no URL ({where})", detail=detail, sent=False)
        if isinstance(error, httpx.TimeoutException) and isinstance(cause, TimeoutError):
            return TimedOut(f"the server was silent for too long ({where})", detail=detail)
        kind = Disconnected if isinstance(cause, _CUT_OFF) else Transient
        return kind(f"the connection failed ({where})", detail=detail)


def _log_failure(error: JobError, began: float) -> None:
    # Without the service's own words, which may quote what it was asked.
    logger.debug("failed after %.3f s: %s", anyio.current_time() - began, error.message)


async def _start_within(scope: anyio.CancelScope) -> None:
    """Wait for the request's start, which is no part of the exchange."""
    left_s = scope.deadline - anyio.current_time()
    scope.deadline = inf
    try:
        await start_request()
    finally:
        scope.deadline = anyio.current_time() + left_s


def _why_not_connected(cause: Exception) -> str:
    if _is_untrusted(cause):
        return (
            "the server's certificate is not trusted; if its authority is your own, name that"
            " authority's file in ca_file or SSL_CERT_FILE"
        )
    if isinstance(cause, aiohttp.ClientConnectorDNSError):
        number = getattr(cause.os_error, "errno", None)
        if number == socket.EAI_AGAIN:
            return "no name server says where that is; is this machine online?"
        if number != errno.EACCES:
            return "there is no server of that name"
        # A resolver of ours that knows the name and refuses where it leads; its words are the detail.
    if isinstance(cause, TimeoutError):
        return "connecting took too long"
    return _NO_CONNECTION.get(_number_of(cause), "no connection could be made")


_NO_CONNECTION: dict[int | None, str] = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.ENETUNREACH: "the network is unreachable",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ETIMEDOUT: "connecting took too long",
}


def _number_of(cause: Exception) -> int | None:
    """The system's number of a failure to connect; of several addresses, that of the first."""
    error = getattr(cause, "os_error", cause)
    number = getattr(error, "errno", None)
    if number is None and (said := re.search(r"\[Errno (\d+)\]", str(error))):
        return int(said[1])
    return number


def _said_of_connecting(cause: Exception, redact: Redactor) -> str:
    """What was said of a connection that was not made, where the message does not say it all."""
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        error = cause.certificate_error
        return plain(getattr(error, "verify_message", "") or str(error), redact)
    if _number_of(cause) in _NO_CONNECTION:
        return ""
    return plain(f"{type(cause).__name__}: {cause}", redact)


class _ConnectionGone(Exception):
    """The server closed a connection before its request was written."""


_gate: ContextVar[Callable[[], Awaitable[None]] | None] = ContextVar("gate", default=None)
"""What the request of an exchange waits for once its connection is open."""


class _Request(aiohttp.ClientRequest):
    """A request that is counted when it is written, and not when it begins to connect."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        # A proxy's tunnel is no request to the service.
        if self.method != hdrs.METH_CONNECT and (gate := _gate.get()) is not None:
            await gate()
            if conn.protocol is None or not conn.protocol.is_connected():
                raise _ConnectionGone
        return await super().send(conn)


class _Answer(aiohttp.ClientResponse):
    """An answer without the words beside its status."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        started = await super().start(connection)
        # The transport encodes them as UTF-8: over bytes that are none it lost the answer, which may
        # have been paid for, and left the connection open.
        self.reason = None
        return started


def _is_untrusted(cause: BaseException) -> bool:
    """Whether the certificate ended the connection; through a proxy that is told one error deeper."""
    return isinstance(cause, aiohttp.ClientConnectorCertificateError) or isinstance(
        cause.__cause__ or cause.__context__, ssl.SSLCertVerificationError
    )


def _written(headers: Mapping[str, Sent]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value_of(value)) for name, value in headers.items())


def _refuse_unsendable(*parts: Mapping[str, Sent]) -> None:
    for name, value in chain.from_iterable(part.items() for part in parts):
        if not is_sendable(value_of(value)):
            # The value is not shown: it is a key.
            raise UsageError(
                f"the value of {name} has characters that no header can hold: look at the key for"
                " line breaks and letters outside ASCII"
            )
