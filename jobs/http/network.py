"""The way to a host: straight or through a proxy of the environment, and whose certificates count."""

import os
import ssl
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated
from urllib.request import getproxies_environment

import aiohttp
import httpx
from pydantic import BaseModel, Field

from engine.kinds import JobError, Permanent, Unauthorized, Unreachable, UsageError
from jobs.http.urls import check_authority

_HTTP = frozenset({"http", "https"})
_SOCKS = frozenset({"socks4", "socks4a", "socks5", "socks5h"})
_PASSING = frozenset({408, 425, 429})
_BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How requests travel. Without anything said, straight and under the usual authorities."""

    use_proxy: bool = False
    ca_file: Path | None = None


class NetworkSettings(BaseModel):
    """What a service's settings say of the network; none of it decides what is answered."""

    use_proxy: Annotated[
        bool, Field(description="Whether requests go through the proxy that the environment names.")
    ] = True
    ca_file: Annotated[
        Annotated[str, Field(min_length=1)] | None,
        Field(description="A PEM file of further authorities for certificates."),
    ] = None

    def network(self, folder: Path) -> Network:
        """The same with the file looked for in a folder."""
        name = self.ca_file
        path = None if name is None else folder.absolute() / Path(name).expanduser()
        return Network(use_proxy=self.use_proxy, ca_file=path)

    def notices(self, base_url: str) -> tuple[str, ...]:
        """That requests to an address go through a proxy, if they do; raises UsageError for one of no use.

        Names the proxy's host and the variable: a proxy's address may hold a password.
        """
        url = httpx.URL(base_url)
        proxy = proxy_for(url) if self.use_proxy else None
        if proxy is None:
            return ()
        way = f"requests to {url.host} go through the proxy {proxy.place} ({proxy.variable})"
        return (f"{way}; use_proxy: false goes without it",)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Proxy:
    """A proxy, with its user and password if it has some, and the variable that names it."""

    url: httpx.URL
    variable: str

    @property
    def is_socks(self) -> bool:
        """Whether it speaks SOCKS."""
        return self.url.scheme in _SOCKS

    @property
    def authorization(self) -> str | None:
        """What it is told of its user, if its address names one."""
        if not self.url.userinfo:
            return None
        login = f"{self.url.username}:{self.url.password}".encode()
        return f"Basic {b64encode(login).decode('ascii')}"

    @property
    def place(self) -> str:
        """Its host and port, without the rest of its address."""
        port = self.url.port or {"http": 80, "https": 443}.get(self.url.scheme, 1080)
        return f"{self.url.host}:{port}"


def proxy_for(url: httpx.URL) -> Proxy | None:
    """The proxy that the environment names for an address; never one for this machine itself.

    HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY in either case, the lower before the upper. Raises
    UsageError for an address that is none, and for SOCKS without its extra.
    """
    if _is_loopback(url.host):
        return None
    # HTTP_PROXY is not read in a CGI process, where callers can set it.
    named = getproxies_environment()
    if _is_excepted(url, named.get("no", "")):
        return None
    kind = next((kind for kind in (url.scheme, "all") if named.get(kind)), None)
    if kind is None:
        return None
    variable = f"{kind}_proxy" if os.environ.get(f"{kind}_proxy") else f"{kind}_proxy".upper()
    proxy = Proxy(url=_parsed(named[kind], variable), variable=variable)
    if proxy.is_socks and find_spec("aiohttp_socks") is None:
        raise UsageError(
            f"{variable} names a SOCKS proxy, which needs the extra socks: run"
            " `pip install 'nightsweep[socks]'`, or write use_proxy: false"
        )
    return proxy


def proxy_failure(where: str, proxy: Proxy, cause: Exception, detail: str) -> JobError | None:
    """The error where the proxy stood in the way; None where it did not.

    Nothing was sent then: the request's own connection goes through the proxy's.
    """
    if isinstance(cause, aiohttp.ClientHttpProxyError):
        return refused_by_proxy(where, proxy, cause.status, detail)
    if proxy.is_socks:
        from jobs.http.socks import NEVER_CONNECTED  # an extra

        is_out_of_reach = isinstance(cause, NEVER_CONNECTED)
    else:
        is_out_of_reach = isinstance(cause, aiohttp.ClientProxyConnectionError)
    if not is_out_of_reach:
        return None
    return Unreachable(
        f"no connection through the proxy {proxy.place} of {proxy.variable} ({where})",
        detail=detail,
    )


def refused_by_proxy(where: str, proxy: Proxy, status: int, detail: str = "") -> JobError:
    """The error that a proxy's own answer stands for; the request has not left it."""
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return Unauthorized(
            f"the proxy {proxy.place} wants a user and a password that it knows (407, {where}): write"
            f" them into {proxy.variable}, as in http://USER:PASSWORD@HOST:PORT",
            detail=detail,
            status=status,
            sent=False,
        )
    kind = Unreachable if status in _PASSING or status >= 500 else Permanent
    return kind(
        f"the proxy {proxy.place} of {proxy.variable} refuses to connect ({status}, {where}); where the"
        " host is reached without it, list the host in NO_PROXY or write use_proxy: false",
        detail=detail,
        status=status,
        sent=False,
    )


def tls_context(network: Network) -> ssl.SSLContext:
    """The authorities of the system, the bundled ones, and those of the files that are named.

    These are `ca_file` and what SSL_CERT_FILE, REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE name. Raises
    UsageError for one that cannot be read.
    """
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    for name, path in _authorities(network):
        try:
            if path.is_dir():
                context.load_verify_locations(capath=path)
            else:
                context.load_verify_locations(cafile=path)
        except ssl.SSLError:
            reason = "it holds no certificates in PEM"
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


def _is_excepted(url: httpx.URL, no_proxy: str) -> bool:
    """Whether NO_PROXY lists the host, as curl, requests and others read it."""
    entries = (entry.strip().lower() for entry in no_proxy.split(","))
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    return any(_is_listed(url.host, port, entry) for entry in entries if entry)


def _is_listed(host: str, port: int, entry: str) -> bool:
    """Whether an entry is the host, the end of its name, its network, or any host at all."""
    if entry == "*":
        return True
    try:
        return ip_address(host) in ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass  # one of both is a name, or has a port
    name, colon, of_port = entry.rpartition(":")
    if colon and of_port.isdigit():
        if int(of_port) != port:
            return False
        entry = name
    entry = entry.strip("[]").removeprefix("*").lstrip(".")
    return host == entry or host.endswith(f".{entry}")


def _parsed(address: str, variable: str) -> httpx.URL:
    try:
        url = httpx.URL(address if "://" in address else f"http://{address}")
        if url.host and url.scheme in _HTTP | _SOCKS:
            check_authority(url)
            return url
    except (httpx.InvalidURL, ValueError):
        pass
    # Not repeated: it may hold a password.
    raise UsageError(
        f"{variable} is not the address of a proxy: write one such as http://proxy.example.com:3128 or"
        " socks5://proxy.example.com:1080, or unset it"
    )
