"""The mapping of answers to errors, what errors show, and what they never show."""

import logging
import re
from collections.abc import Mapping

import anyio
import pytest

from engine.clock import SystemClock
from engine.kinds import (
    JobError,
    OutOfCredit,
    Permanent,
    QuotaExceeded,
    RateLimited,
    Transient,
    Unauthorized,
    UsageError,
)
from jobs.http import (
    HttpClient,
    HttpLimits,
    Meaning,
    Redactor,
    error_from_response,
    parse_base_url,
    plain,
    rule,
)
from jobs.http.explanations import explain
from tests.contracts.server import ContractServer
from tests.patience import PATIENCE_S

KEY = "planted-key-0a1b2c3d4e5f"
PATH = "singleturn_evaluate_system_prompt"
NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


def _refused(status: int, headers: Mapping[str, str] | None = None) -> JobError:
    return error_from_response(
        "GET x", status, headers or {}, b"", now=NOW, redact=Redactor({"key": KEY})
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, Permanent),
        (304, Permanent),
        (400, Permanent),
        (401, Unauthorized),
        (402, OutOfCredit),
        (403, Permanent),
        (404, Permanent),
        (405, Permanent),
        (408, Transient),
        (409, Transient),
        (413, Permanent),
        (422, Permanent),
        (424, Transient),
        (425, Transient),
        (429, RateLimited),
        (498, RateLimited),
        (499, Transient),
        (500, Transient),
        (502, Transient),
        (503, Transient),
        (504, Transient),
        (529, Transient),
        (999, Transient),
    ],
)
def test_each_status_is_one_error(status: int, kind: type[JobError]) -> None:
    error = _refused(status)

    assert type(error) is kind
    assert error.status == status
    assert error.sent


def test_a_service_s_rules_decide_what_its_403_means() -> None:
    rules = (rule(Meaning.ALLOTMENT, "quota_exceeded", statuses=(403,)),)
    body = b'{"detail":{"error":"quota_exceeded","message":"no tests left"}}'
    error = error_from_response("GET x", 403, {}, body, now=NOW, redact=Redactor(), rules=rules)

    assert type(error) is QuotaExceeded
    assert error.detail == "no tests left"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"detail":{"error":"not_found","message":"no such model"}}', "no such model"),
        (
            b'{"detail":[{"loc":["body","max_turns"],"msg":"too many","type":"x"},{"msg":"b"}]}',
            "body.max_turns: too many; b",
        ),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b'{"error":{"message":"no credit","type":"billing","code":402}}', "no credit"),
        (b'{"error":"plain"}', "plain"),
        (b'{"message":"only this"}', "only this"),
        (b"upstream connect error", "upstream connect error"),
        (
            b"<html><head><style>p {}</style></head><h1>502</h1> Bad<br>Gateway</html>",
            "502 Bad Gateway",
        ),
        (b"\xff\xfe\x00bad", "��bad"),
        (b"", ""),
        (b"null", ""),
        (b"[]", ""),
        (b'{"detail":null}', ""),
        (b'{"other":1}', '{"other": 1}'),
        (b"{" * 5000, "{" * 499 + "…"),
    ],
)
def test_the_detail_is_found_in_any_format(body: bytes, text: str) -> None:
    assert explain(body, Redactor()).text == text


def test_the_detail_is_one_printable_line_of_limited_length() -> None:
    hostile = '{"detail":"\\u001b[2J\\nred\\u202e' + "x" * 10_000 + '\\u0000"}'

    text = explain(hostile.encode(), Redactor()).text

    assert text.isprintable()
    assert text.startswith("[2J redxxx")
    assert len(text) == 500


def test_a_deeply_nested_detail_does_not_crash() -> None:
    body = b'{"detail":' * 150 + b'"deep"' + b"}" * 150

    assert explain(body, Redactor()).text == "deep"


def test_half_a_key_at_the_end_of_an_incomplete_body_is_removed() -> None:
    redact = Redactor({"key": KEY})

    assert redact.cut_partial_secret(b"your key is " + KEY[:9].encode()) == b"your key is "
    assert redact.cut_partial_secret(b"your key is wrong") == b"your key is wrong"
    assert Redactor().cut_partial_secret(b"abc") == b"abc"


@pytest.mark.parametrize("location", [f"https://{KEY}.example/x", f"https://a/{KEY}", f"//{KEY}"])
def test_a_redirect_to_the_key_itself_does_not_show_it(location: str) -> None:
    redact = Redactor({"key": "Planted-KEY-0a1b2c3d4e5f"})
    asked = location.replace(KEY, "Planted-KEY-0a1b2c3d4e5f")

    error = error_from_response("GET x", 307, {"location": asked}, b"", now=NOW, redact=redact)

    assert KEY not in f"{error.message} {error.detail}".lower()


def test_a_key_is_redacted_even_if_controls_hide_it_or_the_cut_would_halve_it() -> None:
    redact = Redactor({"key": KEY, "half": KEY[:16]})

    hidden = plain(f"your key {KEY[:5]}\u200b{KEY[5:]} is wrong", redact)
    halved = plain("x" * 485 + KEY, redact)

    assert hidden == "your key [redacted] is wrong"
    assert KEY[:8] not in halved
    assert KEY not in repr(redact)


async def test_a_key_is_in_no_error_answer_repr_or_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with ContractServer() as server:
        headers = {"authorization": f"Bearer {KEY}"}
        secrets = {"env:A_KEY": headers["authorization"]}
        async with HttpClient(
            server.url, clock=SystemClock(), headers=headers, secrets=secrets
        ) as client:
            server.fail_next(status=404, detail=f"no access with {KEY}")
            with pytest.raises(Permanent) as caught:
                await client.post(PATH, b"{}")
            server.configure(version=f"echo {KEY}")
            reply = await client.get("version")

    error = caught.value
    assert error.detail == "no access with [redacted]"
    assert reply.json() == {"version": "echo [redacted]"}
    assert reply.redacted == {"env:A_KEY"}
    seen = f"{error!r} {error} {client!r} {reply!r} {caplog.text}"
    assert KEY not in seen


@pytest.mark.parametrize("key", ["line\nbreak-in-key", "schlüssel-mit-umlaut", "nul\x00inside"])
def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(UsageError) as caught:
        HttpClient("http://127.0.0.1", clock=SystemClock(), headers={"apikey": key})

    assert "apikey" in str(caught.value)
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://API.example.com/v1/", "https://api.example.com/v1"),
        ("http://127.0.0.1:80", "http://127.0.0.1/"),
        ("http://[::1]:8080/a/b//", "http://[::1]:8080/a/b"),
    ],
)
def test_a_base_url_has_one_form(text: str, expected: str) -> None:
    assert str(parse_base_url(text)) == expected


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "URL"),
        ("api.example.com", "URL"),
        ("ftp://example.com", "URL"),
        ("file:///etc", "URL"),
        ("https://", "URL"),
        ("http://u:p@h/", "URL"),
        ("http://h/?a=b", "URL"),
        ("http://h:99999999/", "URL"),
        ("http://h:65536", "between 1 and 65535"),
        ("http://h:0", "between 1 and 65535"),
        ("http://[::1", "URL"),
        ("http://[::zz]/", "URL"),
        (f"http://{'a' * 253}", "parts of 1 to 63 characters"),
        (f"http://{'a' * 64}.example", "parts of 1 to 63 characters"),
        (f"http://{'a.' * 130}example", "at most 253 characters"),
        ("http://a..example", "parts of 1 to 63 characters"),
        ("http://.", "parts of 1 to 63 characters"),
        ("http://b\u00fccher..example", "URL"),
        ("http://a b.example", "letters, digits, hyphens and dots"),
        ("http://a%00b.example", "letters, digits, hyphens and dots"),
        ("http://*", "letters, digits, hyphens and dots"),
        ("http://127.1", "four numbers from 0 to 255"),
        ("http://2130706433", "four numbers from 0 to 255"),
        ("http://0x7f.1", "four numbers from 0 to 255"),
        ("http://1.2.3.4.5", "four numbers from 0 to 255"),
        ("http://[fe80::1%25eth0]", "with one %"),
    ],
)
def test_a_malformed_base_url_is_refused_with_what_to_write(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        parse_base_url(text)


async def test_cookies_and_proxies_from_the_environment_are_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with ContractServer() as server, HttpClient(server.url, clock=SystemClock()) as client:
        reply = await client.get("ping")

    assert reply.status == 200


async def test_a_compressed_answer_is_unpacked() -> None:
    async with ContractServer() as server:
        limits = HttpLimits(max_body_bytes=100 * 1024 * 1024)
        async with HttpClient(server.url, clock=SystemClock(), limits=limits) as client:
            server.play("gzip_bomb")
            reply = await client.post(PATH, b"{}")

    assert reply.body == bytes(64 * 1024 * 1024)


async def test_connections_can_be_limited() -> None:
    limits = HttpLimits(max_connections=2)
    async with (
        ContractServer(latency_s=600) as server,
        HttpClient(server.url, clock=SystemClock(), limits=limits) as client,
    ):
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(_ignore_refusal, client)
            await server.wait_received(2)
            # The others have no connection; without a bound theirs come well within that time.
            await anyio.sleep(0.2)
            received = len(server.requests)
            server.configure(latency_s=0)
            server.answer()

        assert received == server.state.max_in_flight == 2


async def test_without_a_limit_every_request_gets_a_connection_at_once() -> None:
    # More than 100, aiohttp's limit where none is set.
    count = 120
    async with (
        ContractServer(latency_s=3600) as server,
        HttpClient(server.url, clock=SystemClock()) as client,
    ):
        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                for _ in range(count):
                    tasks.start_soon(_ignore_refusal, client)
                await server.wait_received(count)
                server.answer()

        assert server.state.max_in_flight == count


async def _ignore_refusal(client: HttpClient) -> None:
    with pytest.raises(Permanent):
        await client.post(PATH, b"{}")


async def test_each_request_is_logged_with_its_status_and_without_key_body_and_query(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", logger="jobs.http")
    async with ContractServer() as server:
        headers = {"Authorization": KEY}
        query = {"token": KEY}
        async with HttpClient(
            server.url, clock=SystemClock(), headers=headers, query=query
        ) as client:
            await client.get("version")
            with pytest.raises(JobError):
                await client.post(PATH, b'{"a": "prompt"}')

    place = server.url.removeprefix("http://")
    messages = [re.sub(r"\d+\.\d+ s", "N s", message) for message in caplog.messages]
    assert messages[:3] == [
        f"GET version at {place}: sending",
        f"GET version at {place}: 200 after N s",
        f"POST {PATH} at {place}: sending",
    ]
    assert messages[3].startswith(f"POST {PATH} at {place}: 4")
    assert messages[4].startswith("failed after N s: ")
    assert KEY not in caplog.text
    assert "prompt" not in caplog.text.replace(PATH, "")
