"""Connections that keep a server waiting: their time limits and numbers, and which is closed first."""

import json
import socket
import sys
from contextlib import ExitStack
from time import monotonic
from typing import Any

import pytest

from engine.serving.connections import Closed, _peer, fit_connections
from tests.engine.serving.host import Host, hosted
from tests.http_client import connected, get, rest
from tests.patience import PATIENCE_S, in_vain, until

PARTIAL_HEAD = b"GET /ping HTTP/1.1\r\nhost: x\r\nx-half: "
REST_OF_HEAD = b"1\r\nconnection: close\r\n\r\n"
PING = b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n"
PARTIAL_BODY = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"
PATIENT = {"head_s": 3600, "request_s": 3600, "idle_s": 3600}


def closed(host: Host, reason: Closed) -> int:
    return host.connections.closed[reason]


def answers_a_ping(host: Host) -> bool:
    return get(f"{host.url}/ping").status_code == 200


def is_answered(connection: socket.socket) -> bool:
    """Whether the server answers the ping that was sent on a connection, which stays open."""
    read = bytearray()
    while not read.endswith(b"}"):
        part = connection.recv(65_536)
        if not part:
            return False
        read += part
    return read.startswith(b"HTTP/1.1 200")


def is_turned_away(connection: socket.socket) -> bool:
    """Whether the server closes the connection, and says why if it has read something."""
    answer = rest(connection)
    return not answer or answer.startswith(b"HTTP/1.1 503")


def test_the_time_limit_of_a_head_does_not_restart_with_each_byte() -> None:
    with (
        hosted(head_s=0.3) as host,
        connected(host.url, PARTIAL_HEAD) as partial,
    ):
        partial.settimeout(0.02)
        answer, end = b"", monotonic() + PATIENCE_S
        while not answer:
            assert monotonic() < end, in_vain("the end of the connection")
            partial.sendall(b"x")
            try:
                answer = partial.recv(65_536)
            except TimeoutError:
                continue

    assert answer.startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    "limits", [{"head_s": 0.2}, {"connections": 1, **PATIENT}], ids=["time", "room"]
)
def test_a_connection_that_sends_nothing_is_closed_without_an_answer(
    limits: dict[str, Any],
) -> None:
    with hosted(**limits) as host, connected(host.url) as silent:
        if "connections" in limits:
            assert answers_a_ping(host)
        assert rest(silent) == b""


@pytest.mark.parametrize("partial", [PARTIAL_HEAD, PARTIAL_BODY], ids=["head", "body"])
@pytest.mark.parametrize("limit", ["connections", "connections_per_peer"])
def test_incomplete_requests_do_not_lock_out_others(partial: bytes, limit: str) -> None:
    with (
        hosted(**{limit: 8, **PATIENT}) as host,
        ExitStack() as stack,
    ):
        for _ in range(40):
            stack.enter_context(connected(host.url, partial))
        assert all(answers_a_ping(host) for _ in range(3))
        assert closed(host, Closed.MADE_ROOM) >= 40 - 8
        assert len(host.connections) <= 8


def test_the_connection_that_has_kept_the_server_waiting_longest_is_closed_first() -> None:
    with (
        hosted(connections=2, **PATIENT) as host,
        connected(host.url, PING) as idle,
    ):
        # Older than the others, but kept: the server does not wait for it.
        assert is_answered(idle)
        with (
            connected(host.url, PARTIAL_HEAD) as first,
            connected(host.url, PARTIAL_HEAD) as second,
        ):
            assert is_turned_away(first)
            idle.sendall(PING)
            assert is_answered(idle)
            second.sendall(REST_OF_HEAD)
            assert rest(second).startswith(b"HTTP/1.1 200")


def test_a_request_that_is_being_answered_is_never_closed_to_make_room() -> None:
    waiting = b"GET /wait HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    with hosted(connections=1, **PATIENT) as host, connected(host.url, waiting) as answered:
        assert host.reached.wait(PATIENCE_S)
        with connected(host.url) as one_more:
            refused = rest(one_more)
        host.release()

        assert rest(answered).endswith(b"done")
    assert refused.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 10" in refused


@pytest.mark.skipif(sys.platform != "linux", reason="needs a second address of this machine")
def test_a_peer_over_its_limit_closes_only_its_own_connections() -> None:
    with (
        hosted(connections_per_peer=2, **PATIENT) as host,
        connected(host.url, PARTIAL_HEAD, source="127.0.0.2") as other,
        connected(host.url, PARTIAL_HEAD) as first,
        connected(host.url, PARTIAL_HEAD),
        connected(host.url, PARTIAL_HEAD),
    ):
        assert is_turned_away(first)
        other.sendall(REST_OF_HEAD)
        assert rest(other).startswith(b"HTTP/1.1 200")


def test_a_body_that_keeps_arriving_may_take_longer_than_one_that_stops() -> None:
    content = b"hello"
    head = b"POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 5\r\n\r\n"
    with (
        hosted(request_s=0.3, bytes_per_s=1) as host,
        connected(host.url, head + content[:-1]) as coming,
        connected(host.url, head) as stopped,
    ):
        assert rest(stopped).startswith(b"HTTP/1.1 408")
        coming.sendall(content[-1:])
        assert rest(coming).startswith(b"HTTP/1.1 200")


def test_an_answer_that_is_not_read_is_aborted() -> None:
    with hosted(head_s=3600, idle_s=3600, request_s=0.3) as host:
        with connected(host.url) as deaf:
            deaf.settimeout(0.3)
            try:
                while True:
                    deaf.sendall(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n" * 100)
            except (TimeoutError, OSError):
                pass
            until(lambda: closed(host, Closed.ANSWER_NOT_READ) == 1, "the end of the connection")
        assert answers_a_ping(host)


@pytest.mark.parametrize(
    ("sent", "status", "name"),
    [
        (b"HELO there\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (PARTIAL_HEAD + b"x" * 3000, 431, "request_head_too_large"),
    ],
    ids=["no HTTP", "no host", "too large"],
)
def test_input_that_is_not_http_is_refused_in_the_shape_of_every_error(
    sent: bytes, status: int, name: str
) -> None:
    with (
        hosted(head_bytes=2000) as host,
        connected(host.url, sent) as connection,
    ):
        head, _, body = rest(connection).rpartition(b"\r\n\r\n")

    assert head.startswith(f"HTTP/1.1 {status}".encode())
    assert json.loads(body)["detail"]["error"] == name


def test_a_peer_is_an_address_or_the_network_of_one_customer() -> None:
    assert _peer(("192.0.2.1", 1)) != _peer(("192.0.2.2", 1))
    assert _peer(("2001:db8:0:1::1", 1)) == _peer(("2001:db8:0:1:ffff::2%eth0", 2))
    assert _peer(("2001:db8:0:1::1", 1)) != _peer(("2001:db8:0:2::1", 1))
    assert _peer(("::ffff:192.0.2.1", 1)) == _peer(("192.0.2.1", 1))
    assert _peer(None) == _peer(("", 0))


def test_connections_use_at_most_half_of_the_open_file_limit_and_a_notice_says_so() -> None:
    assert fit_connections(1, setting="limits.connections") == (1, [])

    most, notices = fit_connections(1 << 40, setting="limits.connections")

    if most < 1 << 40:
        [notice] = notices
        assert f"limits.connections is {1 << 40}, but only {most} may be open" in notice
        assert "ulimit -n" in notice
