"""Accounts: the owner of the rates and quota that a request uses, identified by address and key.

A provider counts by key, whatever a sweep file calls it (`env:KEY`, `file:key.txt`) and however it
spells the address. So the name of an account consists of the canonical address and a keyed hash of the
key, from which the key cannot be derived.
"""

import re
import socket
from dataclasses import dataclass, field
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

SALT_BYTES = 32
_HASH_BYTES = 10
_KEY = " key "
_URL = re.compile(r"https?://", re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}
_SLASHES = re.compile(r"/{2,}")


@dataclass(frozen=True, slots=True)
class Accounts:
    """Names of accounts; with the same `salt`, an account has the same name."""

    salt: bytes = field(repr=False)

    def name(self, address: str, key: str = "") -> str:
        """The name of a key's account at an address; without a key, of all requests to the address."""
        place = canonical(address)
        if not key:
            return place
        hashed = blake2b(
            f"{place}\n{key}".encode("utf-8", "surrogatepass"),
            key=self.salt,
            digest_size=_HASH_BYTES,
        )
        return f"{place}{_KEY}{hashed.hexdigest()}"


def place_of(account: str) -> str:
    """The canonical address of an account, from a name that `Accounts.name` made, with or without a key."""
    return account.rpartition(_KEY)[0] or account


def canonical(address: str) -> str:
    """The canonical spelling of an address: equal for all spellings of one URL.

    Other text may precede the URL; text without one is unchanged. All names of this machine become
    `localhost`.
    """
    found = _URL.search(address)
    if found is None:
        return address
    try:
        url = urlsplit(address[found.start() :])
        host, port = url.hostname or "", url.port
    except ValueError:
        return address
    scheme = url.scheme.lower()
    shown = _host(host)
    if port not in (None, _PORTS[scheme]):
        shown += f":{port}"
    path = _SLASHES.sub("/", url.path).rstrip("/")
    return f"{address[: found.start()]}{scheme}://{shown}{path}"


def _host(host: str) -> str:
    host = host.removesuffix(".").lower()
    address = _ip(host)
    if address is None:
        return "localhost" if host.endswith(".localhost") else host
    if address.is_loopback or address.is_unspecified:
        return "localhost"
    return f"[{address}]" if address.version == 6 else str(address)


def _ip(host: str) -> IPv4Address | IPv6Address | None:
    """Parse an IP address, including short forms that systems accept, such as 127.1; None for a name."""
    try:
        address = ip_address(host)
    except ValueError:
        try:
            return IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
