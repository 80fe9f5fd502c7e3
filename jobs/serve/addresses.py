"""Where a request may send the service: listed places, and for a name no address of the inside.

A name is checked when the request comes, its addresses when they are connected to: a name that leads
elsewhere a moment later leads nowhere.
"""

import errno
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from socket import AF_INET, AddressFamily
from urllib.parse import urlsplit

import httpx
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from jobs.http import check_authority, parse_base_url

Network = IPv4Network | IPv6Network

_PORTS = {"http": 80, "https": 443}
# Translators put an IPv4 address into the last 32 bits of these.
_NAT64 = IPv6Network("64:ff9b::/96")
# `is_global` takes these for addresses of the internet.
_INSIDE: tuple[Network, ...] = (
    IPv4Network(
        "168.63.129.16/32"
    ),  # Azure's own services, reachable from its virtual machines alone
    IPv6Network("fec0::/10"),  # site-local, deprecated (RFC 3879) and still routed inside networks
    IPv6Network("::/96"),  # IPv4-compatible, deprecated (RFC 4291): ::127.0.0.1
    IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated (RFC 2765): ::ffff:0:127.0.0.1
    IPv6Network("64:ff9b:1::/48"),  # NAT64 for local use (RFC 8215)
)
_NAME = re.compile(r"[a-z0-9._-]+\Z|[0-9a-f:]+\Z")
_LOOPBACK_NAME = "localhost"


class NotListed(ValueError):
    """A place that the service is not sent to; the text says what to add where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A host with what may follow it. A `port` of None is the usual one of the URL's scheme."""

    host: str
    scheme: str | None = None
    port: int | None = None
    path: str = "/"

    def holds(self, url: httpx.URL) -> bool:
        """Whether the URL is here or below."""
        return (
            self.host == canonical(url.host)
            and self.scheme in (None, url.scheme)
            and (self.port or _PORTS[url.scheme]) == port_of(url)
            and f"{url.path.rstrip('/')}/".startswith(f"{self.path.rstrip('/')}/")
        )


class AllowList:
    """The places that a request may name.

    `entries` are the operator's: a host, host:port, the beginning of a URL, an address, or a network
    such as 10.0.0.0/8. `endpoints` are base URLs that the service asks anyhow, wherever they lead.
    Raises ValueError for an entry that is none of these.
    """

    def __init__(self, entries: Iterable[str], endpoints: Iterable[str] = ()) -> None:
        read = [read_entry(entry) for entry in entries]
        self._places = [each for each in read if isinstance(each, Place)]
        self._networks = [each for each in read if not isinstance(each, Place)]
        # A listed address has its port: names may lead to it, URLs with other ports may not name it.
        self._reachable = self._networks + [
            ip_network(place.host) for place in self._places if _address(place.host) is not None
        ]
        self._own = [_from_url(endpoint) for endpoint in endpoints]

    def resolver(self, url: httpx.URL) -> AbstractResolver | None:
        """What turns the URL's host into addresses that may be connected to; None: any of them.

        Raises NotListed.
        """
        _check_path(url)
        if any(place.holds(url) for place in self._own):
            return None
        address = _address(canonical(url.host))
        if address is not None and any(address in network for network in self._networks):
            return None
        if not any(place.holds(url) for place in self._places):
            raise NotListed(
                f"{url.host}:{port_of(url)} is not listed; whoever runs this service can add it to"
                " model_health.allow"
            )
        if address is not None or canonical(url.host) == _LOOPBACK_NAME:
            return None
        return GuardedResolver(self._reachable)


class GuardedResolver(AbstractResolver):
    """Gives the addresses of a name if all of them are public, or in one of the networks."""

    def __init__(self, networks: Sequence[Network], inner: AbstractResolver | None = None) -> None:
        self._networks = networks
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for each in found:
            address = _address(each["host"])
            if address is None or not self._may_be_reached(address):
                # The address is not told: the caller has no business with the network inside.
                raise OSError(
                    errno.EACCES,
                    f"{host} leads to an address that is not public, and model_health.allow lists no"
                    " network with it",
                )
        return found

    async def close(self) -> None:
        await self._inner.close()

    def _may_be_reached(self, address: IPv4Address | IPv6Address) -> bool:
        return is_public(address) or any(address in network for network in self._networks)


def read_entry(entry: str) -> Place | Network:
    """What an entry of the list stands for; raises ValueError for what it cannot."""
    text = entry.strip()
    try:
        if "://" in text:
            return _from_url(text)
        address = _address(text)
        if address is not None:
            return Place(host=str(address))
        if "/" in text:
            return ip_network(text)
        parts = urlsplit(f"//{text}")
        if (
            "@" not in text
            and parts.netloc == text
            and _NAME.match(canonical(parts.hostname or ""))
        ):
            return Place(host=canonical(parts.hostname or ""), port=parts.port)
    except ValueError:
        pass
    raise ValueError(
        f"{entry}: write a host (api.example.com), host:port, the beginning of a URL"
        " (https://api.example.com/v1), or a network (10.0.0.0/8)"
    )


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is one of the internet at large, also inside another's clothes."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFF_FFFF)
        elif address.teredo is not None:
            inner = address.teredo[1]
        if inner is not None:
            return is_public(inner)
    if any(address in network for network in _INSIDE):
        return False
    return address.is_global and not address.is_multicast


def canonical(host: str) -> str:
    """A host's name or address in the one spelling that is compared, IDNs as `xn--...`.

    Raises ValueError for a name that cannot be spelt so.
    """
    address = _address(host)
    if address is not None:
        return str(address)
    try:
        url = httpx.URL(scheme="https", host=host)
    except httpx.InvalidURL as error:
        raise ValueError(str(error)) from None
    check_authority(url)
    return url.raw_host.decode("ascii").lower().rstrip(".")


def port_of(url: httpx.URL) -> int:
    """The port that a URL leads to."""
    return url.port or _PORTS[url.scheme]


def _from_url(text: str) -> Place:
    url = parse_base_url(text)
    return Place(
        host=canonical(url.host), scheme=url.scheme, port=port_of(url), path=url.path or "/"
    )


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _check_path(url: httpx.URL) -> None:
    # What is compared here must be what the other side sees, however it reads a path.
    segments = url.path.split("/")
    # Some servers cut off what follows a semicolon before they go up for dots: `/v1/..;/admin`.
    names = [each.partition(";")[0].strip() for each in segments]
    if any(each in (".", "..") for each in names) or any(mark in url.path for mark in "%\\"):
        raise NotListed("the path has dots, percent signs or backslashes that could lead elsewhere")
