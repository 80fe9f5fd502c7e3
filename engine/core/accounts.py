"""Accounts: whose rates and quota a request uses, told by where it goes and which key goes with it.

A provider counts by key, whatever a sweep file calls it (`env:KEY`, `file:key.txt`) and however it spells the
address. So an account's name is made of the address in one spelling and of a keyed hash of the key: of
the key itself nothing can be read from a store.
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
    """Names accounts; those of one `salt` name the same account alike."""

    salt: bytes = field(repr=False)

    def name(self, address: str, key: str = "") -> str:
        """The account that a key has at an address; without a key, whoever asks there."""
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
    """The canonical address of an account."""
    return account.rpartition(_KEY)[0] or account


def canonical(address: str) -> str:
    """An address in the one spelling that all spellings of it have in common.

    A URL may stand behind other text; what holds none stays as it is. This machine is `localhost`, however
    it is written.
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
    """The address that a host is written as, also in the short forms that systems take, such as 127.1."""
    try:
        address = ip_address(host)
    except ValueError:
        try:
            return IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
