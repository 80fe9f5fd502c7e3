"""A server that misbehaves: whatever it sends ends in a named error, soon and in bounded memory."""

import errno
import socket
import tracemalloc
from typing import Any

import anyio
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from engine.clock import SystemClock
from engine.kinds import (
    Disconnected,
    JobError,
    MachineFault,
    Permanent,
    TimedOut,
    Transient,
    Unreachable,
)
from jobs.http import HttpClient, HttpLimits
from tests.contracts.faults import BODIES
from tests.contracts.process import ContractServerProcess
from tests.contracts.server import ContractServer
from tests.patience import PATIENCE_S

KEY = "planted-key-0a1b2c3d4e5f"
PATH = "singleturn_evaluate_system_prompt"


def _client(url: str, **limits: float) -> HttpClient:
    bounds = HttpLimits(**{"deadline_s": PATIENCE_S, "max_body_bytes": 1_000_000, **limits})  # type: ignore[arg-type]
    return HttpClient(
        url,
        clock=SystemClock(),
        headers={"cbl-api-key": KEY},
        secrets={"cbl-api-key": KEY},
        limits=bounds,
    )


async def _failure(server: ContractServer | ContractServerProcess, **limits: float) -> JobError:
    async with _client(server.url, **limits) as client:
        with pytest.raises(JobError) as caught:
            (await client.post(PATH, b"{}")).json()
    error = caught.value
    assert KEY not in f"{error!r} {error} {error.detail}"
    assert error.__cause__ is None
    assert error.__context__ is None
    return error


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("reset", Disconnected),
        ("reset_in_body", Disconnected),
        ("truncated_chunks", Disconnected),
        ("wrong_length", Disconnected),
        ("not_http", Transient),
        ("many_headers", Transient),
        ("giant_header", Transient),
        ("bad_gzip", Transient),
    ],
)
async def test_a_broken_exchange_is_transient_and_counts_as_sent(
    kind: str, expected: type[Transient]
) -> None:
    async with ContractServer() as server:
        server.play(kind)

        error = await _failure(server)

        assert type(error) is expected
        assert error.sent
        # Nothing below the client sends a paid request twice.
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "kind",
    [
        "garbage",
        "empty",
        "html",
        "deep_nesting",
        "huge_integer",
        "cut_json",
    ],
)
async def test_a_body_that_is_not_json_is_transient(kind: str) -> None:
    async with ContractServer() as server:
        server.play(kind)

        error = await _failure(server)

        assert type(error) is Transient
        assert "not JSON" in error.message
        assert error.unread == BODIES[kind]()[0]


@pytest.mark.parametrize("kind", ["gzip_bomb", "huge_body"])
async def test_a_body_above_the_cap_is_refused_in_bounded_memory(kind: str) -> None:
    async with ContractServerProcess() as server:
        server.play(kind)
        tracemalloc.start()
        try:
            error = await _failure(server)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert type(error) is Permanent
    assert "1000000 bytes" in error.message
    assert peak < 8 * 1024 * 1024


@pytest.mark.parametrize("kind", ["hang", "slow_drip"])
async def test_an_answer_that_never_ends_is_cut_at_the_deadline(kind: str) -> None:
    async with ContractServer() as server:
        server.play(kind)

        with anyio.fail_after(PATIENCE_S):
            error = await _failure(server, deadline_s=0.2)

        assert type(error) is TimedOut
        assert error.reason == "timed_out"
        assert error.sent


async def test_a_silent_server_times_out_after_the_read_limit() -> None:
    async with ContractServer() as server:
        server.play("hang")

        error = await _failure(server, read_s=0.1)

        assert type(error) is TimedOut
        assert "silent" in error.message


async def test_a_redirect_is_permanent_and_names_only_the_host() -> None:
    async with ContractServer() as server:
        server.play("redirect", location="https://evil.example/steal?token=abc")

        error = await _failure(server)

        assert type(error) is Permanent
        assert error.status == 307
        assert "evil.example" in error.detail
        assert "token" not in error.detail
        assert len(server.requests) == 1


async def test_an_error_status_counts_even_if_its_body_is_broken() -> None:
    async with ContractServer() as server:
        server.fail_next(status=429, retry_after="7", detail="x" * 200_000)

        error = await _failure(server)

        assert error.status == 429
        assert len(error.detail) <= 500


async def test_a_request_on_a_refused_connection_was_not_sent() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{unused.getsockname()[1]}"

        async with _client(f"http://{place}") as client:
            with pytest.raises(Unreachable) as caught:
                await client.post(PATH, b"{}")

    assert caught.value.message == f"connection refused (POST {PATH} at {place})"
    assert caught.value.detail == ""
    assert not caught.value.sent
    assert caught.value.__context__ is None


async def test_a_request_to_an_unknown_name_was_not_sent() -> None:
    async with _client("http://no-such-host.invalid") as client:
        with pytest.raises(Unreachable) as caught:
            await client.post(PATH, b"{}")

    assert not caught.value.sent


async def test_a_request_after_a_failed_handshake_was_not_sent() -> None:
    async with ContractServer() as server:
        url = server.url.replace("http:", "https:")

        async with _client(url) as client:
            with pytest.raises(Unreachable) as caught:
                await client.post(PATH, b"{}")

        assert not caught.value.sent
        assert server.requests == []


async def test_a_request_that_cannot_connect_within_the_deadline_was_not_sent() -> None:
    # The kernel accepts the connection; no TLS handshake follows.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"

        async with _client(url, deadline_s=2.0) as client:
            with pytest.raises(Unreachable, match="connecting took too long") as caught:
                await client.post(PATH, b"{}")

    assert not caught.value.sent


# What Linux, macOS and the resolvers say where this machine itself ran short: errno(3), getaddrinfo(3).
FAULTS = [
    (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
    (OSError(errno.ENFILE, "Too many open files in system"), "its programs"),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), "no memory"),
    (OSError(errno.ENOBUFS, "No buffer space available"), "no memory left for connections"),
    (OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address"), "no address or port"),
    (OSError(errno.ENOSPC, "No space left on device"), "its disk is full"),
    (MemoryError(), "no memory"),
    (RuntimeError("can't start new thread"), "ulimit -u"),
]


@pytest.mark.parametrize(("raised", "words"), FAULTS, ids=[str(raised) for raised, _ in FAULTS])
async def test_a_shortage_on_this_machine_is_not_an_error_of_the_service(
    raised: Exception, words: str
) -> None:
    class Short(AbstractResolver):
        async def resolve(self, *_: Any, **__: Any) -> list[ResolveResult]:
            raise raised

        async def close(self) -> None:
            pass

    client = HttpClient("http://service.example", clock=SystemClock(), resolver=Short())
    async with client:
        with pytest.raises(MachineFault, match=words) as caught:
            await client.get("ping")

    assert not caught.value.sent


async def test_a_silent_name_server_and_an_unknown_name_are_different_errors() -> None:
    class Offline(AbstractResolver):
        async def resolve(self, *_: Any, **__: Any) -> list[ResolveResult]:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

        async def close(self) -> None:
            pass

    client = HttpClient("http://service.example", clock=SystemClock(), resolver=Offline())
    async with client:
        with pytest.raises(Unreachable, match="is this machine online"):
            await client.get("ping")


async def test_a_lost_connection_does_not_poison_the_next_request() -> None:
    async with ContractServer() as server, _client(server.url) as client:
        server.play("reset")

        with pytest.raises(Transient):
            await client.post(PATH, b"{}")
        reply = await client.get("ping")

        assert reply.json()["message"] == "pong"


async def test_cancelling_a_request_leaves_the_client_usable() -> None:
    async with ContractServer() as server, _client(server.url) as client:
        server.play("hang")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.post, PATH, b"{}")
            await server.wait_received(1)
            tasks.cancel_scope.cancel()

        reply = await client.get("ping")

        assert reply.status == 200
