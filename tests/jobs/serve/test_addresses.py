"""Where a request may send the service, and where a name may lead."""

from ipaddress import ip_address
from socket import AF_INET, AddressFamily

import httpx
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from engine.clock import SystemClock
from engine.kinds import Unreachable
from jobs.http import HttpClient
from jobs.serve.addresses import AllowList, GuardedResolver, NotListed, is_public, read_entry
from tests.jobs.chat.server import chat_server, completion


class Names(AbstractResolver):
    """Answers with the next of some addresses at each question, then with the last for ever."""

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


def is_admitted(allowed: AllowList, url: str) -> bool:
    try:
        allowed.resolver(httpx.URL(url))
    except NotListed:
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
async def test_a_listed_place_is_admitted_however_it_is_spelt(entry: str, url: str) -> None:
    assert is_admitted(AllowList([entry]), url)


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
async def test_what_is_not_listed_is_not_admitted(entry: str, url: str) -> None:
    assert not is_admitted(AllowList([entry]), url)


async def test_an_empty_list_admits_the_endpoints_that_are_asked_anyhow_and_nothing_else() -> None:
    allowed = AllowList([], ["http://10.0.0.7:8000/v1"])

    assert is_admitted(allowed, "http://10.0.0.7:8000/v1/chat/completions")
    assert not is_admitted(allowed, "http://10.0.0.7:8000/metrics")
    assert not is_admitted(allowed, "http://10.0.0.7:8001/v1")
    assert not is_admitted(allowed, "https://api.example.com/v1")


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
def test_an_entry_that_is_no_place_is_refused_with_what_can_be_written(entry: str) -> None:
    with pytest.raises(ValueError, match=r"write a host|this is not a URL"):
        read_entry(entry)


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
def test_an_address_of_the_inside_is_not_public_in_any_clothes(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "168.63.129.17", "2606:4700:4700::1111", "64:ff9b::101:101"]
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))


async def test_a_listed_name_that_leads_inside_is_not_connected_to() -> None:
    async with chat_server(lambda asked: (200, completion("Paris"))) as inside:
        url = httpx.URL(inside.base_url).copy_with(host="rebound.example")
        resolver = GuardedResolver([], Names("127.0.0.1"))
        async with HttpClient(str(url), clock=SystemClock(), resolver=resolver) as client:
            with pytest.raises(Unreachable, match="no connection could be made") as caught:
                await client.post("chat/completions", b"{}")

    assert "rebound.example leads to an address that is not public" in caught.value.detail
    assert "127.0.0.1" not in caught.value.detail
    assert inside.asked == []


async def test_a_name_that_leads_elsewhere_the_second_time_is_not_followed() -> None:
    resolver = GuardedResolver([], Names("1.1.1.1", "127.0.0.1"))

    first = await resolver.resolve("rebound.example", 80)
    with pytest.raises(OSError, match="not public"):
        await resolver.resolve("rebound.example", 80)

    assert [each["host"] for each in first] == ["1.1.1.1"]


async def test_a_name_may_lead_into_a_network_that_is_listed_too() -> None:
    async with chat_server(lambda asked: (200, completion("Paris"))) as inside:
        url = httpx.URL(inside.base_url).copy_with(host="model.internal")
        allowed = AllowList([f"model.internal:{url.port}", "127.0.0.0/8"])
        listed = allowed.resolver(url)
        assert isinstance(listed, GuardedResolver)
        resolver = GuardedResolver(listed._networks, Names("127.0.0.1"))
        async with HttpClient(str(url), clock=SystemClock(), resolver=resolver) as client:
            answer = await client.post("chat/completions", b"{}")

    assert answer.status == 200
