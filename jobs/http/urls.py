"""Checks base URLs and their hosts."""

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

_NAME_MAX = 253
_LABEL_MAX = 63
_NAME = re.compile(rb"[A-Za-z0-9._-]+\Z")
_NUMBER = re.compile(rb"[0-9]+\Z|0[xX][0-9A-Fa-f]*\Z")


def parse_base_url(text: str) -> "httpx.URL":
    """Parse a base URL, without its final slash; nothing is resolved.

    Raises ValueError, saying what to write, if it is malformed, is not http or https, or has a user, a
    password, a query or a fragment.
    """
    import httpx  # slow to import, and not always needed

    try:
        url = httpx.URL(text.strip())
    except (httpx.InvalidURL, TypeError, ValueError):
        raise ValueError(
            "this is not a URL; write one such as https://api.example.com/v1"
        ) from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("write a whole http or https URL, such as https://api.example.com/v1")
    check_authority(url)
    if url.userinfo:
        raise ValueError("a URL must not contain a user name or password; use a key reference")
    if url.query or url.fragment:
        raise ValueError("a base URL must not have a query or a fragment")
    return url.copy_with(path=url.path.rstrip("/") or "/", query=None, fragment=None)


def check_authority(url: "httpx.URL") -> None:
    """Raise ValueError, saying what to write, for a host or a port that cannot exist.

    Resolving such a name would raise UnicodeError, or query the network for nothing.
    """
    _check_host(url.raw_host)
    if url.port is not None and not 0 < url.port < 65_536:
        raise ValueError("the port of a URL is between 1 and 65535")


def check_host(host: str) -> None:
    """Raise ValueError, saying what to write, for a text that is neither a host's name nor its address.

    Nothing is resolved. An IPv6 address is written without brackets.
    """
    import httpx  # slow to import, and not always needed

    try:
        raw_host = httpx.URL(scheme="http", host=host).raw_host
    except (httpx.InvalidURL, ValueError):
        raise ValueError("this is not the name or address of a host") from None
    if host.startswith("["):
        raise ValueError("write an IPv6 address without brackets here")
    _check_host(raw_host)


def _check_host(raw_host: bytes) -> None:
    if b":" in raw_host:
        if b"%25" in raw_host:
            raise ValueError("write an IPv6 address with its zone as fe80::1%eth0, with one %")
        return
    labels = raw_host.removesuffix(b".").split(b".")
    if len(raw_host) > _NAME_MAX or not all(0 < len(label) <= _LABEL_MAX for label in labels):
        raise ValueError(
            f"the name of a host has parts of 1 to {_LABEL_MAX} characters between its dots,"
            f" and at most {_NAME_MAX} characters"
        )
    if not _NAME.match(raw_host):
        raise ValueError("the name of a host has only letters, digits, hyphens and dots")
    if _NUMBER.match(labels[-1]):
        try:
            ip_address(raw_host.decode("ascii"))
        except ValueError:
            raise ValueError(
                "an IPv4 address has four numbers from 0 to 255, such as 192.0.2.1"
            ) from None
