"""Proxies from the environment, and the certificate authorities that are trusted."""

import os
import ssl
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.request import getproxies_environment

from pydantic import BaseModel, Field

from engine.kinds import JobError, Permanent, Unauthorized, Unreachable, UsageError
from jobs.http.urls import check_authority

if TYPE_CHECKING:
    import httpx

_HTTP = frozenset({"http", "https"})
_SOCKS = frozenset({"socks4", "socks4a", "socks5", "socks5h"})
_TRANSIENT = frozenset({408, 425, 429})
_BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How requests reach a host. By default, without a proxy and with the usual authorities."""

    use_proxy: bool = False
    ca_file: Path | None = None


class NetworkSettings(BaseModel):
    """A service's settings for the network, which do not affect results."""

    use_proxy: Annotated[
        bool, Field(description="Whether requests go through the proxy that the environment names.")
    ] = True
    ca_file: Annotated[
        Annotated[str, Field(min_length=1)] | None,
        Field(description="A PEM file of further authorities for certificates."),
    ] = None

    def network(self, folder: Path) -> Network:
        """These settings, with the path of `ca_file` relative to `folder`; nothing is read.

        A path that begins with ~ starts from the home directory.
        """
        name = self.ca_file
        path = None if name is None else folder.absolute() / Path(name).expanduser()
        return Network(use_proxy=self.use_proxy, ca_file=path)

    def notices(self, base_url: str) -> tuple[str, ...]:
        """A line that says which proxy requests to an address go through, if any.

        It has the proxy's host and the variable, but no password. Raises UsageError for an unusable proxy.
        """
        import httpx  # slow to import, and not always needed

        url = httpx.URL(base_url)
        proxy = proxy_for(url) if self.use_proxy else None
        if proxy is None:
            return ()
        notice = f"requests to {url.host} go through the proxy {proxy.place} ({proxy.variable})"
        return (f"{notice}; use_proxy: false turns it off",)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Proxy:
    """A proxy, possibly with user and password, and the environment variable that names it."""

    url: "httpx.URL"
    variable: str

    @property
    def is_socks(self) -> bool:
        """Whether it is a SOCKS proxy."""
        return self.url.scheme in _SOCKS

    @property
    def authorization(self) -> str | None:
        """The value of proxy-authorization, if the proxy's address has a user."""
        if not self.url.userinfo:
            return None
        login = f"{self.url.username}:{self.url.password}".encode()
        return f"Basic {b64encode(login).decode('ascii')}"

    @property
    def place(self) -> str:
        """Host and port, without the rest of the address."""
        port = self.url.port or {"http": 80, "https": 443}.get(self.url.scheme, 1080)
        return f"{self.url.host}:{port}"


def proxy_for(url: "httpx.URL") -> Proxy | None:
    """The proxy that the environment names for an address; None for an address of this machine.

    Reads HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY; the lower-case variables take precedence. Raises
    UsageError for a malformed proxy address, and for SOCKS if the extra `socks` is not installed.
    """
    if _is_loopback(url.host):
        return None
    # This ignores HTTP_PROXY in a CGI process, where a request can set it.
    proxies = getproxies_environment()
    if _is_excluded(url, proxies.get("no", "")):
        return None
    kind = next((kind for kind in (url.scheme, "all") if proxies.get(kind)), None)
    if kind is None:
        return None
    variable = f"{kind}_proxy" if os.environ.get(f"{kind}_proxy") else f"{kind}_proxy".upper()
    proxy = Proxy(url=_parse(proxies[kind], variable), variable=variable)
    if proxy.is_socks and find_spec("aiohttp_socks") is None:
        raise UsageError(
            f"{variable} names a SOCKS proxy, which needs the extra socks: run"
            " `pip install 'nightsweep[socks]'`, or set use_proxy: false"
        )
    return proxy


def proxy_connection_error(
    where: str, proxy: Proxy, cause: Exception, detail: str
) -> JobError | None:
    """The error for an exception that the proxy caused; None for any other exception.

    The request was not sent in that case, because its connection leads through the proxy.
    """
    import aiohttp  # slow to import, and not always needed

    if isinstance(cause, aiohttp.ClientHttpProxyError):
        return proxy_error(where, proxy, cause.status, detail)
    if proxy.is_socks:
        from jobs.http.socks import NEVER_CONNECTED  # an extra

        is_unreachable = isinstance(cause, NEVER_CONNECTED)
    else:
        is_unreachable = isinstance(cause, aiohttp.ClientProxyConnectionError)
    if not is_unreachable:
        return None
    return Unreachable(
        f"no connection through the proxy {proxy.place} of {proxy.variable} ({where})",
        detail=detail,
    )


def proxy_error(where: str, proxy: Proxy, status: int, detail: str = "") -> JobError:
    """The error for a proxy's own answer; the request has not reached the service, and is not counted as sent.

    Unauthorized for a 407, Unreachable for what may pass, else Permanent. The message names the variable to
    change.
    """
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return Unauthorized(
            f"the proxy {proxy.place} rejects the user and password, or needs them (407, {where}): set"
            f" {proxy.variable} to http://USER:PASSWORD@HOST:PORT",
            detail=detail,
            status=status,
            sent=False,
        )
    kind = Unreachable if status in _TRANSIENT or status >= 500 else Permanent
    return kind(
        f"the proxy {proxy.place} of {proxy.variable} refuses to connect ({status}, {where}); if the"
        " host can be reached without it, list the host in NO_PROXY or set use_proxy: false",
        detail=detail,
        status=status,
        sent=False,
    )


def tls_context(network: Network) -> ssl.SSLContext:
    """A TLS context that trusts the system's and the bundled authorities, and those of further files.

    These are `ca_file` and the files in SSL_CERT_FILE, REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE. Raises
    UsageError for a file that cannot be read.
    """
    import httpx  # slow to import, and not always needed

    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    for name, path in _authorities(network):
        try:
            if path.is_dir():
                context.load_verify_locations(capath=path)
            else:
                context.load_verify_locations(cafile=path)
        except ssl.SSLError:
            reason = "it contains no certificates in PEM format"
        except OSError as error:
            reason = error.strerror or type(error).__name__
        else:
            continue
        raise UsageError(f"{name}: {path}: {reason}")
    return context


def _authorities(network: Network) -> Iterator[tuple[str, Path]]:
    for variable in _BUNDLES:
        if value := os.environ.get(variable):
            yield variable, Path(value)
    if network.ca_file is not None:
        yield "ca_file", network.ca_file


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_excluded(url: "httpx.URL", no_proxy: str) -> bool:
    """Whether NO_PROXY lists the host, by the rules of curl and requests."""
    entries = (entry.strip().lower() for entry in no_proxy.split(","))
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    return any(_is_listed(url.host, port, entry) for entry in entries if entry)


def _is_listed(host: str, port: int, entry: str) -> bool:
    """Whether an entry of NO_PROXY is the host, a domain above it, its network, or `*`."""
    if entry == "*":
        return True
    try:
        return ip_address(host) in ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass  # one of the two is a name, or has a port
    name, colon, of_port = entry.rpartition(":")
    if colon and of_port.isdigit():
        if int(of_port) != port:
            return False
        entry = name
    entry = entry.strip("[]").removeprefix("*").lstrip(".")
    return host == entry or host.endswith(f".{entry}")


def _parse(address: str, variable: str) -> "httpx.URL":
    import httpx  # slow to import, and not always needed

    try:
        url = httpx.URL(address if "://" in address else f"http://{address}")
        if url.host and url.scheme in _HTTP | _SOCKS:
            check_authority(url)
            return url
    except (httpx.InvalidURL, ValueError):
        pass
    # Without the address, which may contain a password.
    raise UsageError(
        f"{variable} is not the address of a proxy: write one such as http://proxy.example.com:3128 or"
        " socks5://proxy.example.com:1080, or unset it"
    )
