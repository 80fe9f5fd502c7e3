"""The limits on connections as the service has them; tests/engine/serving has what they do."""

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.http_client import connected, get, post, rest
from tests.jobs.serve.running import Running, evaluation, service

SINGLE = "/singleturn_evaluate_system_prompt"
HALF_HEAD = b"GET /ping HTTP/1.1\r\nhost: x\r\nx-half: "
WHOLE = b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n"


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


def test_the_limits_on_connections_are_those_of_the_configuration(tmp_path: Path) -> None:
    with (
        service(tmp_path, limits={"connections": 8, "head_s": 3600}) as running,
        ExitStack() as stack,
    ):
        for _ in range(20):
            stack.enter_context(connected(running.base_url, HALF_HEAD))
        assert pings(running)
        assert closed(running, "made_room") >= 20 - 8
        # One is the reader's own.
        assert "nightsweep_connections_open 8.0" in get(f"{running.base_url}/metrics").text


@pytest.mark.parametrize("host", ["a" * 253, "a..b", "\u00e4..b", "xn--a", "[::1%lo]", "x:99999"])
def test_whatever_host_a_request_names_it_is_answered(shared_service: Running, host: str) -> None:
    for path in ("/ping", "/openapi.json", "/nowhere/"):
        sent = f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        with connected(shared_service.base_url, sent.encode()) as connection:
            assert rest(connection)[:12] in (b"HTTP/1.1 200", b"HTTP/1.1 404")

    headers = {"cbl-api-key": shared_service.key, "host": host.encode()}
    answer = post(f"{shared_service.base_url}{SINGLE}", json=evaluation(), headers=headers)
    assert answer.status_code == 200
