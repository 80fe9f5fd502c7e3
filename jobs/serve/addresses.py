"""Restricts the URLs that requests may make the service call (protection against SSRF).

A URL's host is checked against the operator's list when the request arrives. The addresses of a name are
checked when they are connected to, so a name that resolves to another address later is refused.
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
# NAT64 puts an IPv4 address into the last 32 bits.
_NAT64 = IPv6Network("64:ff9b::/96")
# Internal networks that `is_global` counts as public.
_INTERNAL: tuple[Network, ...] = (
    IPv4Network(
        "168.63.129.16/32"
    ),  # Azure's own services, reachable only from its virtual machines
    IPv6Network("fec0::/10"),  # site-local, deprecated (RFC 3879) and still routed inside networks
    IPv6Network("::/96"),  # IPv4-compatible, deprecated (RFC 4291): ::127.0.0.1
    IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated (RFC 2765): ::ffff:0:127.0.0.1
    IPv6Network("64:ff9b:1::/48"),  # NAT64 for local use (RFC 8215)
)
_NAME = re.compile(r"[a-z0-9._-]+\Z|[0-9a-f:]+\Z")
_LOOPBACK_NAME = "localhost"


class NotAllowed(ValueError):
    """A URL that the service may not call; the text says what to add to the list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A host, optionally with a scheme, port and path. `port` None is the default port of the URL's scheme."""

    host: str
    scheme: str | None = None
    port: int | None = None
    path: str = "/"

    def contains(self, url: httpx.URL) -> bool:
        """Whether the URL is this place or below its path.

        A missing scheme allows http and https, and a missing port is the default of the URL's scheme. Paths
        are compared by whole segments: `/v1` contains `/v1/chat` and not `/v10`.
        """
        return (
            self.host == canonical(url.host)
            and self.scheme in (None, url.scheme)
            and (self.port or _PORTS[url.scheme]) == port_of(url)
            and f"{url.path.rstrip('/')}/".startswith(f"{self.path.rstrip('/')}/")
        )


class AllowList:
    """The places that a request may name.

    `entries` are the operator's: a host, host:port, the beginning of a URL, an address, or a network
    such as 10.0.0.0/8. `endpoints` are the base URLs that the service uses itself; they are allowed at any
    address. Raises ValueError for an entry of another form.
    """

    def __init__(self, entries: Iterable[str], endpoints: Iterable[str] = ()) -> None:
        parsed = [parse_entry(entry) for entry in entries]
        self._places = [each for each in parsed if isinstance(each, Place)]
        self._networks = [each for each in parsed if not isinstance(each, Place)]
        # A name may resolve to a listed address; a URL may name the address only with the listed port.
        self._reachable = self._networks + [
            ip_network(place.host) for place in self._places if _address(place.host) is not None
        ]
        self._own = [_from_url(endpoint) for endpoint in endpoints]

    def resolver(self, url: httpx.URL) -> AbstractResolver | None:
        """The resolver for calls to the URL; None if every address of its host may be connected to.

        Raises NotAllowed if the URL is not listed.
        """
        _check_path(url)
        if any(place.contains(url) for place in self._own):
            return None
        address = _address(canonical(url.host))
        if address is not None and any(address in network for network in self._networks):
            return None
        if not any(place.contains(url) for place in self._places):
            raise NotAllowed(
                f"{url.host}:{port_of(url)} is not listed; the operator of this service can add it to"
                " model_health.allow"
            )
        if address is not None or canonical(url.host) == _LOOPBACK_NAME:
            return None
        return GuardedResolver(self._reachable)


class GuardedResolver(AbstractResolver):
    """Resolves a name only if all of its addresses are public or in one of the networks."""

    def __init__(self, networks: Sequence[Network], inner: AbstractResolver | None = None) -> None:
        self._networks = networks
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for each in found:
            address = _address(each["host"])
            if address is None or not self._is_allowed(address):
                # Without the address, which would reveal the internal network to the caller.
                raise OSError(
                    errno.EACCES,
                    f"{host} resolves to an address that is not public, and no network in"
                    " model_health.allow contains it",
                )
        return found

    async def close(self) -> None:
        await self._inner.close()

    def _is_allowed(self, address: IPv4Address | IPv6Address) -> bool:
        return is_public(address) or any(address in network for network in self._networks)


def parse_entry(entry: str) -> Place | Network:
    """Parse an entry of the list: a host, host:port, the beginning of a URL, an address, or a network.

    Nothing is resolved. Raises ValueError, listing the possible forms, for any other text.
    """
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
    """Whether an address is on the public internet; multicast, private and reserved ones are not.

    An IPv4 address embedded in an IPv6 address (mapped, 6to4, NAT64, Teredo) counts in its place.
    """
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFF_FFFF)
        elif address.teredo is not None:
            inner = address.teredo[1]
        if inner is not None:
            return is_public(inner)
    if any(address in network for network in _INTERNAL):
        return False
    return address.is_global and not address.is_multicast


def canonical(host: str) -> str:
    """A host's name or address in canonical form: lower case, IDNs as `xn--...`, no final dot.

    Raises ValueError for a name that has none.
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
    """The port of a URL, or the default of its scheme; raises KeyError if that is not a scheme of HTTP."""
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
    # Refuse every path that the other server might read differently than it is compared here.
    segments = url.path.split("/")
    # Some servers drop what follows a semicolon before they resolve dots: `/v1/..;/admin`.
    names = [each.partition(";")[0].strip() for each in segments]
    if any(each in (".", "..") for each in names) or any(mark in url.path for mark in "%\\"):
        raise NotAllowed(
            "the path has dots, percent signs or backslashes, which could lead out of the listed path"
        )
