"""Proxies from the environment and custom certificate authorities, with real proxies on loopback."""

import json
import os
import ssl
import sys
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import trustme

from engine.clock import SystemClock
from engine.kinds import JobError, Permanent, Unauthorized, Unreachable, UsageError
from jobs.chat.endpoint import ChatClient, ChatTarget, Endpoint
from jobs.chat.target import Generation, Message, Question, Role
from jobs.circuit_breaker_labs import CircuitBreakerLabs, CircuitBreakerLabsSettings
from jobs.enkrypt import Enkrypt, EnkryptHealth, EnkryptHealthSettings, EnkryptSettings
from jobs.http.network import proxy_for
from tests.contracts.server import ContractServer
from tests.jobs.chat.server import ChatServer, chat_server, completion
from tests.jobs.proxy import proxy
from tests.jobs.serve.running import GROUP, write_groups
from tests.launcher.processes import Launcher

HOST = "models.example.com"
HOST_URL = f"http://{HOST}"
KEY = "planted-proxy-test-key-0123"
PASSWORD = "planted-Passw0rd-77"  # noqa: S105
QUESTION = Question(model="m", messages=(Message(Role.USER, "Hello?"),), seed=7)


def declared(base_url: str, **settings: Any) -> ChatTarget:
    endpoint = Endpoint.model_validate({"base_url": base_url, "timeout_s": 60, **settings})
    return ChatTarget(endpoint, Generation())


def target(
    base_url: str, folder: Path = Path(), **settings: Any
) -> AbstractAsyncContextManager[ChatClient]:
    return declared(base_url, **settings).open(SystemClock(), folder)


def port_of(server: ChatServer | ContractServer) -> int:
    url = server.base_url if isinstance(server, ChatServer) else server.url
    port = httpx.URL(url).port
    assert port is not None
    return port


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    return context


@pytest.mark.parametrize(
    ("environment", "url", "expected"),
    [
        ({}, f"https://{HOST}", None),
        ({"HTTPS_PROXY": "http://p:3128"}, f"https://{HOST}", ("p:3128", "HTTPS_PROXY")),
        ({"https_proxy": "http://p:3128"}, f"https://{HOST}", ("p:3128", "https_proxy")),
        (
            {"HTTPS_PROXY": "http://a:1", "https_proxy": "http://b:2"},
            f"https://{HOST}",
            ("b:2", "https_proxy"),
        ),
        ({"HTTPS_PROXY": "p:3128"}, f"https://{HOST}", ("p:3128", "HTTPS_PROXY")),
        ({"HTTPS_PROXY": "http://p"}, f"https://{HOST}", ("p:80", "HTTPS_PROXY")),
        ({"HTTPS_PROXY": "https://p"}, f"https://{HOST}", ("p:443", "HTTPS_PROXY")),
        ({"HTTPS_PROXY": f"http://u:{PASSWORD}@p:1"}, f"https://{HOST}", ("p:1", "HTTPS_PROXY")),
        ({"HTTPS_PROXY": "http://p:1"}, f"http://{HOST}", None),
        ({"HTTP_PROXY": "http://p:1"}, f"http://{HOST}", ("p:1", "HTTP_PROXY")),
        ({"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, f"http://{HOST}", None),
        ({"ALL_PROXY": "http://p:1"}, f"https://{HOST}", ("p:1", "ALL_PROXY")),
        ({"all_proxy": "socks5h://p"}, f"http://{HOST}", ("p:1080", "all_proxy")),
        ({"ALL_PROXY": "http://a:1", "HTTPS_PROXY": "http://b:2"}, f"https://{HOST}", ("b:2", "HTTPS_PROXY")),
        ({"HTTPS_PROXY": ""}, f"https://{HOST}", None),
        *(
            ({"ALL_PROXY": "http://p:1", "NO_PROXY": listed}, f"https://{HOST}", None)
            for listed in ("*", HOST, "example.com", ".example.com", "*.example.com", f" a, {HOST}:443 ")
        ),
        *(
            ({"ALL_PROXY": "http://p:1", "NO_PROXY": listed}, f"https://{HOST}", ("p:1", "ALL_PROXY"))
            for listed in ("", "other.com", "ample.com", f"{HOST}:8443", "10.0.0.0/8")
        ),
        ({"ALL_PROXY": "http://p:1", "no_proxy": "EXAMPLE.com"}, f"https://{HOST}", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "http://10.1.2.3:8000", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "10.1.2.3"}, "http://10.1.2.3:8000", None),
        ({"ALL_PROXY": "http://p:1", "NO_PROXY": "fd00::/8"}, "http://[fd00::1]:8000", None),
        *(
            ({"ALL_PROXY": "http://p:1"}, f"http://{here}:8000", None)
            for here in ("127.0.0.1", "127.8.8.8", "localhost", "api.localhost", "[::1]")
        ),
    ],
)  # fmt: skip
def test_the_proxy_of_an_address_is_that_of_other_tools(
    environment: dict[str, str],
    url: str,
    expected: tuple[str, str] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    found = proxy_for(httpx.URL(url))

    assert (None if found is None else (found.place, found.variable)) == expected
    assert PASSWORD not in repr(found)


@pytest.mark.parametrize(
    "address",
    [
        "ftp://p:1",
        "http://",
        f"http://u:{PASSWORD}@p:x",
        "//",
        f"http://u:{PASSWORD}@{'a' * 253}:1",
        "a..b:3128",
        "http://p:99999",
        "socks5://1.2.3:1080",
    ],
)
def test_a_malformed_proxy_address_is_reported_with_its_variable(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address)

    with pytest.raises(UsageError, match="HTTPS_PROXY is not the address of a proxy") as caught:
        proxy_for(httpx.URL(f"https://{HOST}"))

    assert PASSWORD not in str(caught.value)


async def test_a_request_over_http_gives_the_proxy_its_whole_url(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with (
        chat_server(lambda _: (200, completion("Hi."))) as server,
        proxy(port_of(server)) as way,
    ):
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{way.port}")
        async with target(f"http://{HOST}/v1") as chat:
            reply = await chat.reply(QUESTION)

    assert reply.text == "Hi."
    assert way.asked == [f"POST http://{HOST}/v1/chat/completions HTTP/1.1"]
    assert server.asked[0].headers["host"] == HOST


async def test_a_proxy_may_itself_use_tls(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    async with (
        chat_server(lambda _: (200, completion("Hi."))) as server,
        proxy(port_of(server), tls=context) as way,
    ):
        monkeypatch.setenv("HTTP_PROXY", f"https://localhost:{way.port}")
        async with target(f"http://{HOST}/v1", tmp_path, ca_file="authority.pem") as chat:
            assert (await chat.reply(QUESTION)).text == "Hi."

    assert len(way.asked) == 1


@pytest.mark.parametrize("named_by", ["ca_file", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
async def test_a_request_over_tls_uses_a_tunnel_and_the_authority_in_ca_file(
    named_by: str, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    settings = {}
    if named_by == "ca_file":
        settings["ca_file"] = "authority.pem"
    else:
        monkeypatch.setenv(named_by, str(tmp_path / "authority.pem"))

    async with (
        chat_server(lambda _: (200, completion("Hi.")), tls=tls(authority)) as server,
        proxy(port_of(server)) as way,
    ):
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{way.port}")
        async with target(f"https://{HOST}/v1", tmp_path, **settings) as chat:
            assert (await chat.reply(QUESTION)).text == "Hi."

    assert way.asked == [f"CONNECT {HOST}:443 HTTP/1.1"]


@pytest.mark.parametrize("socks", [False, True])
async def test_a_certificate_of_an_unknown_authority_is_rejected_through_a_tunnel(
    socks: bool, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        chat_server(lambda _: (200, completion("Hi.")), tls=tls(authority)) as server,
        proxy(port_of(server), socks=socks) as way,
    ):
        scheme = "socks5h" if socks else "http"
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://127.0.0.1:{way.port}")
        async with target(f"https://{HOST}/v1") as chat:
            with pytest.raises(JobError, match="ca_file or SSL_CERT_FILE") as caught:
                await chat.reply(QUESTION)

    assert not caught.value.sent
    assert server.asked == []


@pytest.mark.parametrize(("scheme", "port"), [("http", 80), ("https", 443)])
async def test_a_socks_proxy_resolves_the_name_itself(
    scheme: str,
    port: int,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    context = tls(authority) if scheme == "https" else None
    async with (
        chat_server(lambda _: (200, completion("Hi.")), tls=context) as server,
        proxy(port_of(server), socks=True) as way,
    ):
        monkeypatch.setenv("ALL_PROXY", f"socks5h://127.0.0.1:{way.port}")
        async with target(f"{scheme}://{HOST}/v1", tmp_path, ca_file="authority.pem") as chat:
            assert (await chat.reply(QUESTION)).text == "Hi."

    assert way.asked == [f"{HOST}:{port}"]


async def test_a_socks_proxy_that_refuses_to_connect_is_reported_and_nothing_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with proxy(9, socks=True, status=403) as way:
        monkeypatch.setenv("ALL_PROXY", f"socks5h://127.0.0.1:{way.port}")
        async with target(f"http://{HOST}/v1") as chat:
            with pytest.raises(Unreachable, match="no connection through the proxy") as caught:
                await chat.reply(QUESTION)

    assert not caught.value.sent


def test_without_its_extra_socks_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp_socks", None)
    monkeypatch.setenv("ALL_PROXY", "socks5://p:1080")

    with pytest.raises(
        UsageError, match=r"ALL_PROXY names a SOCKS proxy.*pip install 'nightsweep\[socks\]'"
    ):
        proxy_for(httpx.URL(f"https://{HOST}"))


async def test_this_machine_and_hosts_in_no_proxy_are_reached_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with (
        chat_server(lambda _: (200, completion("Hi."))) as server,
        proxy(port_of(server)) as way,
    ):
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{way.port}")
        async with target(server.base_url) as chat:
            assert (await chat.reply(QUESTION)).text == "Hi."
        async with target("http://nowhere.invalid/v1", use_proxy=False) as chat:
            with pytest.raises(Unreachable):
                await chat.reply(QUESTION)

    assert way.asked == []
    assert Endpoint(base_url=HOST_URL, use_proxy=False).notices(HOST_URL) == ()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_only_the_proxy_gets_its_password(
    scheme: str, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    context = tls(authority) if scheme == "https" else None
    async with (
        chat_server(lambda _: (200, completion("Hi.")), tls=context) as server,
        proxy(port_of(server), login=f"me:{PASSWORD}") as way,
    ):
        monkeypatch.setenv("ALL_PROXY", f"http://me:{PASSWORD}@127.0.0.1:{way.port}")
        async with target(f"{scheme}://{HOST}/v1", tmp_path, ca_file="authority.pem") as chat:
            assert (await chat.reply(QUESTION)).text == "Hi."
            [notice] = chat.endpoint.notices(chat.endpoint.base_url)
        monkeypatch.setenv("ALL_PROXY", f"http://me:wrong-{PASSWORD}@127.0.0.1:{way.port}")
        async with target(f"{scheme}://{HOST}/v1", tmp_path, ca_file="authority.pem") as chat:
            with pytest.raises(
                Unauthorized, match="rejects the user and password, or needs them"
            ) as caught:
                await chat.reply(QUESTION)

    error = caught.value
    assert (error.status, error.sent) == (407, False)
    assert f"127.0.0.1:{way.port} (ALL_PROXY)" in notice
    assert PASSWORD not in notice + error.message + error.detail + repr(error)
    assert "proxy-authorization" not in server.asked[0].headers or scheme == "http"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, Permanent), (502, Unreachable), (503, Unreachable), (429, Unreachable)],
)
async def test_a_proxy_s_refusal_is_distinguished_from_the_service_s(
    status: int, kind: type[JobError], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxy(9, status=status) as way:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{way.port}")
        async with target(f"https://{HOST}/v1") as chat:
            with pytest.raises(
                kind, match=rf"the proxy 127\.0\.0\.1:{way.port} .*\({status}, "
            ) as caught:
                await chat.reply(QUESTION)

    assert not caught.value.sent


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "socks5h://127.0.0.1:9"])
async def test_an_unreachable_proxy_is_reported_and_nothing_was_sent(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", address)

    async with target(f"https://{HOST}/v1") as chat:
        with pytest.raises(
            Unreachable, match=r"through the proxy 127\.0\.0\.1:9 of ALL_PROXY"
        ) as caught:
            await chat.reply(QUESTION)

    assert not caught.value.sent


async def test_every_service_goes_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENKRYPT_API_KEY", KEY)
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    clock, address = SystemClock(), f"http://{HOST}"
    async with ContractServer(keys=[KEY]) as server, proxy(port_of(server)) as way:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{way.port}")
        settings = CircuitBreakerLabsSettings(
            kind="circuit-breaker-labs", base_url=address, api_key="env:ENKRYPT_API_KEY"
        )
        labs = CircuitBreakerLabs().with_settings(settings)
        async with labs.open(clock) as client:
            assert (await labs.quota(client)).used == 0
            assert "go through the proxy" in labs.notices()[0]
        gate = EnkryptHealth().with_settings(EnkryptHealthSettings(base_url=address))
        async with gate.open(clock) as asked:
            assert (await gate.check(asked, "a/model")).healthy
            assert "go through the proxy" in gate.notices()[0]
        enkrypt = Enkrypt().with_settings(EnkryptSettings(kind="enkrypt", base_url=address))
        assert "go through the proxy" in enkrypt.notices()[0]

    assert [line.split(" ")[1] for line in way.asked] == [
        f"{address}/v1/monthly_quota",
        f"{address}/redteam/v3/model-health",
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b"", "no certificates"), (b"\xff\x00", "no certificates")],
)
async def test_an_unusable_ca_file_is_reported_when_the_target_is_opened(
    content: bytes | None, reason: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)

    with pytest.raises(UsageError, match=rf"ca_file: .*ca\.pem: .*{reason}"):
        async with target("https://127.0.0.1:9/v1", tmp_path, ca_file="ca.pem"):
            pass


def test_network_settings_do_not_change_a_target_s_identity() -> None:
    plain = declared("https://h/v1")

    assert declared("https://h/v1", use_proxy=False, ca_file="ca.pem").identity == plain.identity


@pytest.mark.parametrize("command", ["run", "check"])
async def test_a_command_says_that_requests_go_through_a_proxy(
    command: str, tmp_path: Path, launcher: Launcher
) -> None:
    write_groups(tmp_path / "groups")
    sweep = {
        "name": "night",
        "service": {
            "kind": "local",
            "cases": "groups",
            "endpoint": {"base_url": f"http://{HOST}/v1"},
        },
        "evaluation": "single_turn",
        "matrix": {
            "models": ["m"],
            "prompts": [{"name": "p", "text": "Be kind."}],
            "groups": [GROUP],
            "thresholds": [0.5],
        },
    }
    (tmp_path / "sweep.json").write_text(json.dumps(sweep))
    async with (
        chat_server(lambda _: (200, completion("I hear you."))) as server,
        proxy(port_of(server), login=f"me:{PASSWORD}") as way,
    ):
        environment = {**os.environ, "HTTP_PROXY": f"http://me:{PASSWORD}@127.0.0.1:{way.port}"}
        start = partial(launcher.run, folder=tmp_path, environment=environment)
        ended = await anyio.to_thread.run_sync(start, [command, "sweep.json"])

    output = ended.stdout + ended.stderr
    assert ended.returncode == 0, output
    line = f"requests to {HOST} go through the proxy 127.0.0.1:{way.port} (HTTP_PROXY)"
    assert output.count(line) == 1
    assert PASSWORD not in output
