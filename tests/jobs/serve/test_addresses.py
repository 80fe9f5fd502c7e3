"""Which URLs a request may make the service call, and which addresses a name may resolve to."""

from ipaddress import ip_address
from socket import AF_INET, AddressFamily

import httpx
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from engine.clock import SystemClock
from engine.kinds import Unreachable
from jobs.http import HttpClient
from jobs.serve.addresses import AllowList, GuardedResolver, NotAllowed, is_public, parse_entry
from tests.jobs.chat.server import chat_server, completion


class Names(AbstractResolver):
    """Resolves to the given addresses one after the other, and to the last one from then on."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)

    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AF_INET
    ) -> list[ResolveResult]:
        address = self.addresses.pop(0) if len(self.addresses) > 1 else self.addresses[0]
        return [
            ResolveResult(hostname=host, host=address, port=port, family=AF_INET, proto=0, flags=0)
        ]

    async def close(self) -> None:
        return None


def is_allowed(allowed: AllowList, url: str) -> bool:
    try:
        allowed.resolver(httpx.URL(url))
    except NotAllowed:
        return False
    return True


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("api.example.com", "https://api.example.com/v1/chat/completions"),
        ("API.Example.com.", "https://api.example.com/v1"),
        ("api.example.com", "http://api.example.com/v1"),
        ("api.example.com:8443", "https://api.example.com:8443/v1"),
        ("https://api.example.com/v1", "https://api.example.com/v1"),
        ("https://api.example.com/v1/", "https://api.example.com/v1/chat/completions"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("::1", "http://[::1]/v1"),
        ("[::1]:8000", "http://[0:0:0:0:0:0:0:1]:8000/v1"),
        ("10.0.0.0/8", "http://10.1.2.3:11434/v1"),
        ("localhost:11434", "http://localhost:11434/v1"),
        ("bücher.example", "https://bücher.example/v1"),
        ("Bücher.example:8443", "https://xn--bcher-kva.example:8443/v1"),
        ("xn--bcher-kva.example", "https://BÜCHER.example/v1"),
        ("https://bücher.example/v1", "https://bücher.example/v1/chat/completions"),
        ("api.example.com", "https://api.example.com/v1;v=2/chat"),
    ],
)
async def test_a_listed_place_is_allowed_in_every_spelling(entry: str, url: str) -> None:
    assert is_allowed(AllowList([entry]), url)


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("api.example.com", "https://api.example.com:8443/v1"),
        ("api.example.com", "https://evil.api.example.com/v1"),
        ("api.example.com", "https://api.example.com.evil.net/v1"),
        ("api.example.com:8443", "https://api.example.com/v1"),
        ("https://api.example.com/v1", "http://api.example.com/v1"),
        ("https://api.example.com/v1", "https://api.example.com/v10/chat"),
        ("https://api.example.com/v1", "https://api.example.com/v1/../admin"),
        ("https://api.example.com/v1", "https://api.example.com/v1/%2e%2e/admin"),
        ("https://api.example.com/v1", "https://api.example.com/v1/%252e%252e/admin"),
        ("https://api.example.com/v1", "https://api.example.com/v1/..%5cadmin"),
        ("https://api.example.com/v1", "https://api.example.com/v1/..;/admin"),
        ("https://api.example.com/v1", "https://api.example.com/v1/..;x=1/admin"),
        ("https://api.example.com/v1", "https://api.example.com/v1/%2e%2e%3b/admin"),
        ("https://api.example.com/v1", "https://api.example.com/v1/.;/..;/admin"),
        ("https://api.example.com/v1", "https://api.example.com/v1/..%20/admin"),
        ("bücher.example", "https://bucher.example/v1"),
        ("127.0.0.1:8000", "http://127.0.0.1:8001/v1"),
        ("127.0.0.1:8000", "http://localhost:8000/v1"),
        ("10.0.0.0/8", "http://169.254.169.254/latest"),
    ],
)
async def test_an_unlisted_url_is_not_allowed(entry: str, url: str) -> None:
    assert not is_allowed(AllowList([entry]), url)


async def test_an_empty_list_allows_only_the_service_s_own_endpoints() -> None:
    allowed = AllowList([], ["http://10.0.0.7:8000/v1"])

    assert is_allowed(allowed, "http://10.0.0.7:8000/v1/chat/completions")
    assert not is_allowed(allowed, "http://10.0.0.7:8000/metrics")
    assert not is_allowed(allowed, "http://10.0.0.7:8001/v1")
    assert not is_allowed(allowed, "https://api.example.com/v1")


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "a b:c",
        "host:99999",
        "host:port",
        "10.0.0.1/8",
        "u:p@host",
        "a b",
        "\uff11.example",
        "a" * 253,
        "a..b:1",
        "1.2.3",
    ],
)
def test_a_malformed_entry_is_refused_with_the_possible_forms(entry: str) -> None:
    with pytest.raises(ValueError, match=r"write a host|this is not a URL"):
        parse_entry(entry)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "fec0::1",
        "feff::1",
        "::127.0.0.1",
        "::8.8.8.8",
        "64:ff9b:1::7f00:1",
        "64:ff9b:1:ffff::1",
        "::ffff:0:127.0.0.1",
        "::ffff:0:8.8.8.8",
        "168.63.129.16",
        "::ffff:168.63.129.16",
        "64:ff9b::a83f:8110",
    ],
)
def test_an_internal_address_is_not_public_in_any_notation(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "168.63.129.17", "2606:4700:4700::1111", "64:ff9b::101:101"]
)
def test_an_internet_address_is_public(address: str) -> None:
    assert is_public(ip_address(address))


async def test_a_listed_name_that_resolves_to_an_internal_address_is_not_connected_to() -> None:
    async with chat_server(lambda asked: (200, completion("Paris"))) as inside:
        url = httpx.URL(inside.base_url).copy_with(host="rebound.example")
        resolver = GuardedResolver([], Names("127.0.0.1"))
        async with HttpClient(str(url), clock=SystemClock(), resolver=resolver) as client:
            with pytest.raises(Unreachable, match="no connection could be made") as caught:
                await client.post("chat/completions", b"{}")

    assert "rebound.example resolves to an address that is not public" in caught.value.detail
    assert "127.0.0.1" not in caught.value.detail
    assert inside.asked == []


async def test_a_name_that_resolves_to_an_internal_address_later_is_refused_then() -> None:
    resolver = GuardedResolver([], Names("1.1.1.1", "127.0.0.1"))

    first = await resolver.resolve("rebound.example", 80)
    with pytest.raises(OSError, match="not public"):
        await resolver.resolve("rebound.example", 80)

    assert [each["host"] for each in first] == ["1.1.1.1"]


async def test_a_name_may_resolve_into_a_listed_network() -> None:
    async with chat_server(lambda asked: (200, completion("Paris"))) as inside:
        url = httpx.URL(inside.base_url).copy_with(host="model.internal")
        allowed = AllowList([f"model.internal:{url.port}", "127.0.0.0/8"])
        listed = allowed.resolver(url)
        assert isinstance(listed, GuardedResolver)
        resolver = GuardedResolver(listed._networks, Names("127.0.0.1"))
        async with HttpClient(str(url), clock=SystemClock(), resolver=resolver) as client:
            answer = await client.post("chat/completions", b"{}")

    assert answer.status == 200
