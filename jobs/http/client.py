"""A client of one base URL, each of whose requests ends in a reply or in a JobError."""

import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import chain
from math import inf
from typing import Self, cast
from urllib.parse import urlencode

import anyio
import httpx
from aiohttp.abc import AbstractResolver
from httpx_aiohttp import AiohttpTransport

from engine.kinds import (
    Clock,
    JobError,
    KeyRenewed,
    TimedOut,
    Transient,
    Unauthorized,
    UsageError,
    connections_allowed,
)
from jobs.http.bodies import read_beginning, read_body, stream_of
from jobs.http.connection_errors import error_from_exception
from jobs.http.exchange import HttpLimits, Reply
from jobs.http.keys import Key, Sent, is_sendable, keys_of, value_of
from jobs.http.meanings import Rule
from jobs.http.network import Network, Proxy, proxy_error, proxy_for, tls_context
from jobs.http.response_errors import error_from_response
from jobs.http.text import Redactor
from jobs.http.transport import ConnectionGone, gate_requests, open_transport
from jobs.http.unanswered import Unanswered
from jobs.http.urls import parse_base_url

logger = logging.getLogger(__name__)

_CLIENTS = 3
"""The most clients of a run that are busy at the same time: of a target, a judge and an attacker."""
_CONNECTIONS_MAX = 5
"""How many connections a request may lose to the server before it is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A request as the caller wants it; `where` names it in messages."""

    method: str
    path: str
    body: bytes | None
    headers: Mapping[str, Sent] = field(repr=False)
    where: str


class HttpClient:
    """A client of one base URL; `async with` opens and closes its connections.

    `headers` and `query` are sent with every request. No error, repr or log contains a Key of theirs, or one
    of the `secrets`, which are named by what may be shown. A rejected Key is read again, and if it has
    changed, the request is sent again; without `resends`, a POST raises KeyRenewed instead. Cookies, netrc
    and redirects are not used, proxies only as `network` says. A `resolver` resolves the host's name unless
    a proxy does; `rules` say what errors mean for this service only.

    Raises UsageError for a header or a secret that no header can hold.
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
        _require_sendable(headers or {}, secrets or {})
        self._redact = Redactor(
            {name: value_of(secret) for name, secret in (secrets or {}).items()}
        )
        for key in self._keys:
            self._redact.add(key.name, key.secret)
        self._urls: dict[str, httpx.URL] = {}
        self._header_sets: dict[tuple[tuple[tuple[str, str], ...], bool], httpx.Headers] = {}
        self._transport: AiohttpTransport | None = None

    def __repr__(self) -> str:
        return f"HttpClient({str(self.base_url)!r})"

    @property
    def redact(self) -> Redactor:
        """Removes this client's secrets from texts."""
        return self._redact

    async def __aenter__(self) -> Self:
        self._proxy = proxy = proxy_for(self.base_url) if self._network.use_proxy else None
        if proxy is not None and proxy.url.password:
            self._redact.add(proxy.variable, proxy.url.password)
        self._connections = anyio.CapacityLimiter(self._max_connections())
        uses_tls = self.base_url.scheme == "https" or (proxy and proxy.url.scheme == "https")
        self._transport = open_transport(
            tls_context(self._network) if uses_tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            proxy=proxy,
            http_proxy=None if proxy is None or proxy.is_socks else self._http_proxy(proxy),
            resolver=self._resolver,
            max_connections=self.limits.max_connections,
            keep_alive_s=self.limits.keep_alive_s,
        )
        return self

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
        """Send GET `path`, relative to the base URL. Raises JobError, and nothing else.

        A request that does not count, such as one without a key, does not wait for a rate. `deadline_s`
        replaces that of the limits.
        """
        call = self._call("GET", path, None, headers)
        return await self._exchange(call, deadline_s, counts=counts)

    async def post(
        self,
        path: str,
        body: bytes,
        *,
        headers: Mapping[str, Sent] | None = None,
        deadline_s: float | None = None,
    ) -> Reply:
        """Send POST `path` with a JSON body. Raises JobError, and nothing else.

        `headers` are sent with this request only; a secret among them must be one of `secrets`.
        `deadline_s` replaces that of the limits.
        """
        return await self._exchange(self._call("POST", path, body, headers), deadline_s)

    def _call(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, Sent] | None
    ) -> _Call:
        where = f"{method} {path} at {self._place}"
        return _Call(method=method, path=path, body=body, headers=headers or {}, where=where)

    async def _exchange(
        self, call: _Call, deadline_s: float | None, *, counts: bool = True
    ) -> Reply:
        assert self._transport is not None, "the client is used inside `async with`"
        # The deadline starts once there is a free connection.
        async with self._connections:
            within_s = self.limits.deadline_s if deadline_s is None else deadline_s
            return await self._exchange_within(within_s, call, counts=counts)

    async def _exchange_within(self, within_s: float, call: _Call, *, counts: bool) -> Reply:
        began = anyio.current_time()
        with anyio.move_on_after(within_s) as scope:
            try:
                with gate_requests(scope, counts=counts):
                    return await self._send_until_written(call)
            except JobError as error:
                _log_failure(error, began)
                raise
            except Exception as error:
                # A server can provoke any exception in the libraries below. It is not chained, because it
                # may hold requests and headers, which must not reach a log.
                failure = error_from_exception(
                    call.where, error, proxy=self._proxy, redact=self._redact
                )
            _log_failure(failure, began)
            raise failure
        late = TimedOut(
            f"no whole answer within {within_s:g} s ({call.where})", reason=Unanswered.TIMED_OUT
        )
        _log_failure(late, began)
        raise late

    async def _send_until_written(self, call: _Call) -> Reply:
        for _ in range(_CONNECTIONS_MAX):
            try:
                return await self._send_with_valid_key(call)
            except ConnectionGone:
                # Nothing was written, so the request can be sent on another connection.
                continue
        raise Transient(
            f"the server closed {_CONNECTIONS_MAX} connections before the request was written"
            f" ({call.where})",
            sent=False,
        )

    async def _send_with_valid_key(self, call: _Call) -> Reply:
        sent = [(key, key.secret) for key in (*self._keys, *keys_of(call.headers))]
        try:
            return await self._send(call)
        except Unauthorized as error:
            # A proxy's refusal, which has not reached the service, says nothing about the service's keys.
            if not error.sent or not await self._renew_keys(sent):
                raise
            if not self._resends and call.method == "POST":
                raise KeyRenewed(error.message, detail=error.detail, status=error.status) from None
        return await self._send(call)

    async def _renew_keys(self, sent: list[tuple[Key, str]]) -> bool:
        """Read the keys that were sent again, and say whether one has changed.

        Of several requests that are rejected at once, the first reads for all.
        """
        async with self._renewing:
            for key, secret in sent:
                if key.secret == secret:
                    await anyio.to_thread.run_sync(key.reload)
                    self._redact.add(key.name, key.secret)
            self._urls.clear()
            self._header_sets.clear()
        return any(key.secret != secret for key, secret in sent)

    async def _send(self, call: _Call) -> Reply:
        request = self._request(call)
        logger.debug("%s: sending", call.where)
        began = anyio.current_time()
        response = await cast(AiohttpTransport, self._transport).handle_async_request(request)
        try:
            status = response.status_code
            logger.debug("%s: %d after %.3f s", call.where, status, anyio.current_time() - began)
            if 200 <= status < 300:
                return await self._read(response, call.where)
            content = await read_beginning(response, call.where, self._redact)
        finally:
            await stream_of(response).aclose()
        if self._proxy is not None and status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            raise proxy_error(call.where, self._proxy, status)
        raise error_from_response(
            call.where,
            status,
            response.headers,
            content,
            now=self._clock.now(),
            redact=self._redact,
            rules=self._rules,
        )

    async def _read(self, response: httpx.Response, where: str) -> Reply:
        chunks: list[bytes] = []
        await read_body(response, self.limits.max_body_bytes, where, chunks)
        # A key that the service echoes must not get into the store.
        body, redacted = self._redact.redact_body(b"".join(chunks))
        return Reply(
            status=response.status_code,
            body=body,
            headers=response.headers,
            where=where,
            redacted=redacted,
        )

    def _request(self, call: _Call) -> httpx.Request:
        limits = self.limits
        # Shorter than the deadline, so that a request that was not sent is known as such.
        connect_s = min(limits.connect_s, limits.deadline_s / 2)
        # A stream, so that httpx derives no headers from the body; read at once, so that the transport gets
        # bytes, which takes a tenth of the time.
        request = httpx.Request(
            call.method,
            self._url(call.path),
            headers=self._headers_with(_to_pairs(call.headers), has_body=call.body is not None),
            stream=httpx.ByteStream(call.body or b""),
            extensions={"timeout": {"connect": connect_s, "read": limits.read_s, "pool": None}},
        )
        request.read()
        return request

    def _url(self, path: str) -> httpx.URL:
        url = self._urls.get(path)
        if url is None:
            base = self.base_url
            url = base.copy_with(path=f"{base.path.rstrip('/')}/{path}")
            if self._query:
                query = {name: value_of(value) for name, value in self._query.items()}
                url = url.copy_with(query=urlencode(query).encode("ascii"))
            self._urls[path] = url
        return url

    def _headers_with(self, more: tuple[tuple[str, str], ...], *, has_body: bool) -> httpx.Headers:
        headers = self._header_sets.get((more, has_body))
        if headers is None:
            content_type = [("content-type", "application/json")] if has_body else []
            headers = httpx.Headers([*_to_pairs(self._headers), *more, *content_type])
            self._header_sets[more, has_body] = headers
        return headers

    def _max_connections(self) -> float:
        """The connections that this client may open; others of the run share the process's limit."""
        allowed = connections_allowed()
        own = inf if allowed is None else max(1, allowed // _CLIENTS)
        return min(own, self.limits.max_connections or inf)

    def _http_proxy(self, proxy: Proxy) -> httpx.Proxy:
        url = proxy.url.copy_with(username=None, password=None)
        login = proxy.authorization
        if login is None:
            return httpx.Proxy(url)
        if self.base_url.scheme == "https":
            return httpx.Proxy(url, headers={"proxy-authorization": login})
        # Without TLS there is no tunnel, and the proxy reads the headers of the request itself.
        self._headers["proxy-authorization"] = login
        return httpx.Proxy(url)


def _log_failure(error: JobError, began: float) -> None:
    # Without the detail, which may quote the request.
    logger.debug("failed after %.3f s: %s", anyio.current_time() - began, error.message)


def _to_pairs(headers: Mapping[str, Sent]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value_of(value)) for name, value in headers.items())


def _require_sendable(*parts: Mapping[str, Sent]) -> None:
    for name, value in chain.from_iterable(part.items() for part in parts):
        if not is_sendable(value_of(value)):
            # Without the value, which is a key.
            raise UsageError(
                f"the value of {name} has characters that no header can hold; check the key for"
                " line breaks and characters outside ASCII"
            )
