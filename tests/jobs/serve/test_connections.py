"""Connections that keep the service waiting: limits of time and number, and who is closed first."""

import json
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.http_client import get, post
from tests.jobs.serve.process import Held, asking, connected, rest
from tests.jobs.serve.running import Running, evaluation, service
from tests.patience import PATIENCE_S, in_vain, until

SINGLE = "/singleturn_evaluate_system_prompt"
HALF_HEAD = b"GET /ping HTTP/1.1\r\nhost: x\r\nx-half: "
LAST_HALF = b"1\r\nconnection: close\r\n\r\n"
WHOLE = b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n"
HALF_BODY = b"POST /ping HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"
PATIENT = {"head_s": 3600, "request_s": 3600, "idle_s": 3600}


def is_answered(connection: socket.socket) -> bool:
    """Whether the service answers the ping that was sent on a connection, which stays open."""
    read = bytearray()
    while not read.endswith(b"}"):
        part = connection.recv(65_536)
        if not part:
            return False
        read += part
    return read.startswith(b"HTTP/1.1 200")


def is_turned_away(connection: socket.socket) -> bool:
    """Whether the service closes the connection; it says why to whoever it has read something of."""
    answer = rest(connection)
    return not answer or answer.startswith(b"HTTP/1.1 503")


def closed(running: Running, reason: str) -> int:
    told = get(f"{running.base_url}/metrics").text
    start = f'nightsweep_connections_closed_total{{reason="{reason}"}} '
    [line] = [line for line in told.splitlines() if line.startswith(start)]
    return int(float(line.removeprefix(start)))


def pings(running: Running) -> bool:
    return get(f"{running.base_url}/ping").status_code == 200


@pytest.mark.parametrize("before", [b"", WHOLE])
def test_half_a_head_is_answered_408_in_the_contract_s_shape_and_closed(
    tmp_path: Path, before: bytes
) -> None:
    with (
        service(tmp_path, limits={"head_s": 0.2}) as running,
        connected(running.base_url, before + HALF_HEAD) as half,
    ):
        answer = rest(half)

    head, _, body = answer.rpartition(b"\r\n\r\n")
    assert b"HTTP/1.1 408" in head
    assert json.loads(body)["detail"] == {
        "error": "request_timeout",
        "message": "the head of the request was not whole within 0.2 s",
    }


def test_the_time_of_a_head_does_not_begin_again_with_each_byte(tmp_path: Path) -> None:
    with (
        service(tmp_path, limits={"head_s": 0.3}) as running,
        connected(running.base_url, HALF_HEAD) as half,
    ):
        half.settimeout(0.02)
        answer, end = b"", monotonic() + PATIENCE_S
        while not answer:
            assert monotonic() < end, in_vain("the end of the connection")
            half.sendall(b"x")
            try:
                answer = half.recv(65_536)
            except TimeoutError:
                continue

    assert answer.startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    "limits", [{"head_s": 0.2}, {"connections": 1, **PATIENT}], ids=["time", "room"]
)
def test_a_connection_that_says_nothing_is_closed_without_an_answer(
    tmp_path: Path, limits: dict[str, Any]
) -> None:
    with service(tmp_path, limits=limits) as running, connected(running.base_url) as silent:
        if "connections" in limits:
            assert pings(running)
        assert rest(silent) == b""


@pytest.mark.parametrize("half", [HALF_HEAD, HALF_BODY], ids=["head", "body"])
@pytest.mark.parametrize("limit", ["connections", "connections_per_peer"])
def test_requests_sent_by_halves_shut_nobody_out(tmp_path: Path, half: bytes, limit: str) -> None:
    with (
        service(tmp_path, limits={limit: 8, **PATIENT}) as running,
        ExitStack() as stack,
    ):
        for _ in range(40):
            stack.enter_context(connected(running.base_url, half))
        assert all(pings(running) for _ in range(3))
        assert closed(running, "made_room") >= 40 - 8
        # One is the reader's own.
        assert "nightsweep_connections_open 8.0" in get(f"{running.base_url}/metrics").text


def test_whoever_has_kept_the_service_waiting_for_the_longest_is_closed_first(
    tmp_path: Path,
) -> None:
    with (
        service(tmp_path, limits={"connections": 2, **PATIENT}) as running,
        connected(running.base_url, WHOLE) as idle,
    ):
        # It was there before the others, and is kept: nobody waits for it.
        assert is_answered(idle)
        with (
            connected(running.base_url, HALF_HEAD) as first,
            connected(running.base_url, HALF_HEAD) as second,
        ):
            assert is_turned_away(first)
            idle.sendall(WHOLE)
            assert is_answered(idle)
            second.sendall(LAST_HALF)
            assert rest(second).startswith(b"HTTP/1.1 200")


def test_a_request_that_is_being_answered_is_never_cut_off_to_make_room(tmp_path: Path) -> None:
    held = Held(after=1)
    with (
        service(tmp_path, held, limits={"connections": 1, **PATIENT}) as running,
        asking(running.base_url, running.key, SINGLE, evaluation()) as got,
    ):
        assert held.reached.wait(PATIENCE_S)
        with connected(running.base_url) as one_more:
            refused = rest(one_more)
        held.let_go.set()

    assert refused.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 10" in refused
    assert [answer.status_code for answer in got] == [200]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a second address of this machine")
def test_one_peer_closes_its_own_connections_and_nobody_else_s(tmp_path: Path) -> None:
    with (
        service(tmp_path, limits={"connections_per_peer": 2, **PATIENT}) as running,
        connected(running.base_url, HALF_HEAD, source="127.0.0.2") as other,
        connected(running.base_url, HALF_HEAD) as first,
        connected(running.base_url, HALF_HEAD),
        connected(running.base_url, HALF_HEAD),
    ):
        assert is_turned_away(first)
        other.sendall(LAST_HALF)
        assert rest(other).startswith(b"HTTP/1.1 200")


def test_a_body_that_keeps_coming_may_take_longer_than_one_that_stops(tmp_path: Path) -> None:
    content = json.dumps(evaluation()).encode()
    with service(tmp_path, limits={"request_s": 0.3, "bytes_per_s": 1}) as running:
        head = (
            f"POST {SINGLE} HTTP/1.1\r\nhost: x\r\ncbl-api-key: {running.key}\r\nconnection: close\r\n"
            f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        ).encode()
        with (
            connected(running.base_url, head + content[:-1]) as coming,
            connected(running.base_url, head) as stopped,
        ):
            assert rest(stopped).startswith(b"HTTP/1.1 408")
            coming.sendall(content[-1:])
            assert rest(coming).startswith(b"HTTP/1.1 200")


def test_an_answer_that_nobody_reads_is_given_up(tmp_path: Path) -> None:
    with service(tmp_path, limits={**PATIENT, "request_s": 0.3}) as running:
        with connected(running.base_url) as deaf:
            deaf.settimeout(0.3)
            try:
                while True:
                    deaf.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n" * 100)
            except (TimeoutError, OSError):
                pass
            until(lambda: closed(running, "answer_not_read") == 1, "the end of the connection")
        assert pings(running)


@pytest.mark.parametrize(
    ("sent", "status", "name"),
    [
        (b"HELO there\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (HALF_HEAD + b"x" * 3000, 431, "request_head_too_large"),
    ],
    ids=["no HTTP", "no host", "too large"],
)
def test_what_is_no_request_is_refused_in_the_contract_s_shape(
    tmp_path: Path, sent: bytes, status: int, name: str
) -> None:
    with (
        service(tmp_path, limits={"head_bytes": 2000}) as running,
        connected(running.base_url, sent) as connection,
    ):
        head, _, body = rest(connection).rpartition(b"\r\n\r\n")

    assert head.startswith(f"HTTP/1.1 {status}".encode())
    assert json.loads(body)["detail"]["error"] == name


@pytest.mark.parametrize("host", ["a" * 253, "a..b", "\u00e4..b", "xn--a", "[::1%lo]", "x:99999"])
def test_whatever_host_a_request_names_it_is_answered(shared_service: Running, host: str) -> None:
    for path in ("/ping", "/openapi.json", "/nowhere/"):
        sent = f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        with connected(shared_service.base_url, sent.encode()) as connection:
            assert rest(connection)[:12] in (b"HTTP/1.1 200", b"HTTP/1.1 404")

    headers = {"cbl-api-key": shared_service.key, "host": host.encode()}
    answer = post(f"{shared_service.base_url}{SINGLE}", json=evaluation(), headers=headers)
    assert answer.status_code == 200
