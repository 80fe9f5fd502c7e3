"""What a base URL may be."""

import httpx


def parse_base_url(text: str) -> httpx.URL:
    """A base URL without a last slash, query and fragment; raises ValueError for what is none."""
    try:
        url = httpx.URL(text.strip())
    except (httpx.InvalidURL, TypeError, ValueError):
        raise ValueError(
            "this is not a URL; write one such as https://api.example.com/v1"
        ) from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("write a whole http or https URL, such as https://api.example.com/v1")
    labels = url.raw_host.removesuffix(b".").split(b".")
    if len(url.raw_host) > 253 or not all(0 < len(label) < 64 for label in labels):
        raise ValueError("the host of a URL has parts of 1 to 63 characters, 253 in all")
    if url.userinfo:
        raise ValueError("a URL here holds no user name or password; use a key reference")
    if url.port is not None and not 0 < url.port < 65536:
        raise ValueError("the port of a URL is between 1 and 65535")
    if url.query or url.fragment:
        raise ValueError("a base URL has no query and no fragment")
    return url.copy_with(path=url.path.rstrip("/") or "/", query=None, fragment=None)
