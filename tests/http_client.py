"""HTTP as tests speak it: to loopback without a proxy, and with time for a busy machine."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from tests.patience import PATIENCE_S


def get(url: str, **request: Any) -> httpx.Response:
    """One GET on a connection of its own; `request` is what `httpx.get` takes."""
    return httpx.get(url, timeout=PATIENCE_S, trust_env=False, **request)


def post(url: str, **request: Any) -> httpx.Response:
    """One POST on a connection of its own; `request` is what `httpx.post` takes."""
    return httpx.post(url, timeout=PATIENCE_S, trust_env=False, **request)


def put(url: str, **request: Any) -> httpx.Response:
    """One PUT on a connection of its own; `request` is what `httpx.put` takes."""
    return httpx.put(url, timeout=PATIENCE_S, trust_env=False, **request)


def client(base_url: str, headers: Mapping[str, str] | None = None) -> httpx.Client:
    """A client; the caller closes it."""
    return httpx.Client(base_url=base_url, headers=headers, timeout=PATIENCE_S, trust_env=False)


def async_client(
    base_url: str,
    headers: Mapping[str, str] | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> httpx.AsyncClient:
    """The same for code that runs in an event loop."""
    return httpx.AsyncClient(
        base_url=base_url,
        headers=headers,
        transport=transport,
        timeout=PATIENCE_S,
        trust_env=False,
    )


@contextmanager
def connected(base_url: str, sent: bytes = b"", source: str = "") -> Iterator[socket.socket]:
    """A connection on which `sent` was sent."""
    url = httpx.URL(base_url)
    with socket.create_connection(
        (url.host, url.port or 0),
        timeout=PATIENCE_S,
        source_address=(source, 0) if source else None,
    ) as connection:
        connection.sendall(sent)
        yield connection


def rest(connection: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    read = bytearray()
    try:
        while part := connection.recv(65_536):
            read += part
    except ConnectionResetError:
        pass
    return bytes(read)
