"""The service applies the limits on connections; tests/engine/serving tests the limits themselves."""

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.http_client import connected, get, post, rest
from tests.jobs.serve.running import Running, evaluation, service

SINGLE = "/singleturn_evaluate_system_prompt"
PARTIAL_HEAD = b"GET /ping HTTP/1.1\r\nhost: x\r\nx-half: "
PING = b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n"


def closed_count(running: Running, reason: str) -> int:
    metrics = get(f"{running.base_url}/metrics").text
    start = f'nightsweep_connections_closed_total{{reason="{reason}"}} '
    [line] = [line for line in metrics.splitlines() if line.startswith(start)]
    return int(float(line.removeprefix(start)))


def answers_a_ping(running: Running) -> bool:
    return get(f"{running.base_url}/ping").status_code == 200


@pytest.mark.parametrize("before", [b"", PING])
def test_a_partial_head_is_answered_408_in_the_contract_s_shape_and_closed(
    tmp_path: Path, before: bytes
) -> None:
    with (
        service(tmp_path, limits={"head_s": 0.2}) as running,
        connected(running.base_url, before + PARTIAL_HEAD) as connection,
    ):
        answer = rest(connection)

    head, _, body = answer.rpartition(b"\r\n\r\n")
    assert b"HTTP/1.1 408" in head
    assert json.loads(body)["detail"] == {
        "error": "request_timeout",
        "message": "the head of the request did not arrive within 0.2 s",
    }


def test_the_limits_on_connections_are_those_of_the_configuration(tmp_path: Path) -> None:
    with (
        service(tmp_path, limits={"connections": 8, "head_s": 3600}) as running,
        ExitStack() as stack,
    ):
        for _ in range(20):
            stack.enter_context(connected(running.base_url, PARTIAL_HEAD))
        assert answers_a_ping(running)
        assert closed_count(running, "made_room") >= 20 - 8
        # One of them is the connection that asks.
        assert "nightsweep_connections_open 8.0" in get(f"{running.base_url}/metrics").text


@pytest.mark.parametrize("host", ["a" * 253, "a..b", "\u00e4..b", "xn--a", "[::1%lo]", "x:99999"])
def test_a_request_is_answered_for_any_host_header(shared_service: Running, host: str) -> None:
    for path in ("/ping", "/openapi.json", "/nowhere/"):
        sent = f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        with connected(shared_service.base_url, sent.encode()) as connection:
            assert rest(connection)[:12] in (b"HTTP/1.1 200", b"HTTP/1.1 404")

    headers = {"cbl-api-key": shared_service.key, "host": host.encode()}
    answer = post(f"{shared_service.base_url}{SINGLE}", json=evaluation(), headers=headers)
    assert answer.status_code == 200
