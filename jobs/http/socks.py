"""Connects through a SOCKS proxy; needs the extra `socks`."""

from collections.abc import Mapping
from typing import Any

import aiohttp
import httpx
from aiohttp_socks import ProxyConnector, ProxyType
from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError

NEVER_CONNECTED = (ProxyConnectionError, ProxyError, ProxyTimeoutError)
"""Raised before a byte of a request was written."""

_PORT = 1080


def socks_connector(proxy: httpx.URL, options: Mapping[str, Any]) -> aiohttp.TCPConnector:
    """A connector through the proxy; `options` are those of TCPConnector.

    As in curl, the proxy resolves names for socks4a and socks5h, and this machine for socks4 and socks5.
    """
    version_4 = proxy.scheme.startswith("socks4")
    return ProxyConnector(
        host=proxy.host,
        port=proxy.port or _PORT,
        proxy_type=ProxyType.SOCKS4 if version_4 else ProxyType.SOCKS5,
        username=proxy.username or None,
        password=proxy.password or None,
        rdns=proxy.scheme in ("socks4a", "socks5h"),
        **options,
    )
